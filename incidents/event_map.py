"""What the event system tells of incidents and notifications."""

from rest_framework import serializers

from events.api import EventMap, SystemEvent, declare, register
from incidents.models import Incident


class IncidentEvent(SystemEvent):
    CREATED = "incident.created", "Incident opened"
    UPDATED = "incident.updated", "Incident updated"
    DELETED = "incident.deleted", "Incident deleted"
    STATUS_CHANGED = "incident.status_changed", "Incident status changed"
    COMMENTED = "incident.commented", "Incident commented"


class NotificationEvent(SystemEvent):
    SENT = "notification.sent", "Notification sent"
    FAILED = "notification.failed", "Notification failed"


class IncidentData(serializers.Serializer):
    id = serializers.IntegerField()
    title = serializers.CharField(trim_whitespace=False)
    severity = serializers.ChoiceField(choices=Incident.Severity.choices)
    status = serializers.ChoiceField(choices=Incident.Status.choices)
    assignee = serializers.CharField(source="assignee.username", allow_null=True)


class IncidentChanges(IncidentData):
    changes = serializers.DictField(child=serializers.DictField())


class IncidentStatusChange(serializers.Serializer):
    id = serializers.IntegerField()
    title = serializers.CharField(trim_whitespace=False)
    old_status = serializers.ChoiceField(choices=Incident.Status.choices)
    new_status = serializers.ChoiceField(choices=Incident.Status.choices)
    comment = serializers.CharField(
        source="status_comment", allow_blank=True, trim_whitespace=False
    )


class CommentData(serializers.Serializer):
    """A timeline entry. `html` is the text's Markdown, made safe; `author` is None for a note that
    the portal wrote by itself."""

    id = serializers.IntegerField(help_text="The incident's.")
    comment = serializers.IntegerField()
    author = serializers.CharField(allow_null=True)
    text = serializers.CharField(trim_whitespace=False)
    html = serializers.CharField(trim_whitespace=False, allow_blank=True)


class NotificationData(serializers.Serializer):
    """`channel` is None for the bell of the user that the event is addressed to; `incident` is
    None for a test."""

    id = serializers.IntegerField()
    channel = serializers.CharField(allow_null=True)
    incident = serializers.IntegerField(allow_null=True)
    title = serializers.CharField(trim_whitespace=False)
    attempts = serializers.IntegerField()
    error = serializers.CharField(allow_blank=True, trim_whitespace=False)


declare(
    {
        IncidentEvent.CREATED: IncidentData,
        IncidentEvent.UPDATED: IncidentChanges,
        IncidentEvent.DELETED: IncidentData,
        IncidentEvent.STATUS_CHANGED: IncidentStatusChange,
        IncidentEvent.COMMENTED: CommentData,
    },
    permission="incidents.view_incident",
)
declare(
    {NotificationEvent.SENT: NotificationData, NotificationEvent.FAILED: NotificationData},
    permission="incidents.view_notification",
)


@register(Incident)
class IncidentEvents(EventMap):
    created = IncidentEvent.CREATED
    updated = IncidentEvent.UPDATED
    deleted = IncidentEvent.DELETED
    transitions = {"status": IncidentEvent.STATUS_CHANGED}
    tracked = ("title", "description", "severity", "assignee")
