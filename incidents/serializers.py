"""Incidents and notifications on the REST API."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied

from incidents import channels, markdown, services
from incidents.models import Incident, Notification, NotificationChannel
from incidents.models.notification import validate_occasions
from servers.models import Environment, Server
from servers.serializers import NamedField, NamedRowsField, StrictMixin, told_by_field


class UserField(serializers.SlugRelatedField):
    """An active user by their name, which is checked to be text that a database takes.

    Also the present assignee, who may have been active only once: what was read can be sent back.
    """

    def __init__(self, **options: Any) -> None:
        if not options.get("read_only"):
            options["queryset"] = get_user_model().objects.all()
        super().__init__(slug_field="username", **options)

    def get_queryset(self) -> Any:
        held = getattr(self.parent.instance, "assignee_id", None)
        users: Any = super().get_queryset()
        return users.filter(Q(is_active=True) | Q(pk=held))

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(serializers.CharField().run_validation(data))


class IncidentSerializer(StrictMixin, serializers.ModelSerializer):
    reporter = UserField(read_only=True, allow_null=True)
    assignee = UserField(required=False, allow_null=True)
    servers = NamedRowsField(
        Server.objects.without_secrets(), source="affected", required=False, max_length=500
    )
    description = serializers.CharField(
        required=False, allow_blank=True, trim_whitespace=False, max_length=markdown.LONGEST
    )
    time_to_acknowledge = serializers.SerializerMethodField()
    time_to_resolve = serializers.SerializerMethodField()
    allowed_transitions = serializers.SerializerMethodField()

    class Meta:
        model = Incident
        fields = (
            "id",
            "title",
            "description",
            "severity",
            "status",
            "reporter",
            "assignee",
            "servers",
            "automatic",
            "created_at",
            "acknowledged_at",
            "resolved_at",
            "closed_at",
            "reopened_at",
            "updated_at",
            "time_to_acknowledge",
            "time_to_resolve",
            "allowed_transitions",
        )
        read_only_fields = (
            "status",
            "automatic",
            "acknowledged_at",
            "resolved_at",
            "closed_at",
            "reopened_at",
        )

    def get_time_to_acknowledge(self, incident: Incident) -> float | None:
        """Seconds, from its opening, or its reopening."""
        return _seconds(incident, incident.acknowledged_at)

    def get_time_to_resolve(self, incident: Incident) -> float | None:
        """Seconds, from its opening, or its reopening."""
        return _seconds(incident, incident.resolved_at)

    def get_allowed_transitions(self, incident: Incident) -> list[str]:
        """The statuses that you may bring it to now."""
        return services.allowed_for(incident, self.context["request"].user)

    def validate_assignee(self, assignee: Any) -> Any:
        """To assign is a right of its own."""
        held = self.instance.assignee if isinstance(self.instance, Incident) else None
        user = self.context["request"].user
        if assignee != held and not user.has_perm("incidents.assign_incident"):
            raise PermissionDenied
        return assignee

    def create(self, validated_data: dict[str, Any]) -> Incident:
        servers = validated_data.pop("affected", [])
        incident = Incident(reporter=self.context["request"].user, **validated_data)
        with told_by_field():
            services.create(incident, servers)
        return incident

    def update(self, instance: Incident, validated_data: dict[str, Any]) -> Incident:
        servers = validated_data.pop("affected", None)
        with told_by_field():
            services.edit(instance, validated_data, servers)
        return instance


def _seconds(incident: Incident, end: Any) -> float | None:
    return None if end is None else (end - incident.opened_at).total_seconds()


class TransitionSerializer(StrictMixin, serializers.Serializer):
    to = serializers.ChoiceField(choices=Incident.Status.choices)
    comment = serializers.CharField(required=False, allow_blank=True, max_length=markdown.LONGEST)


class AssignSerializer(StrictMixin, serializers.Serializer):
    assignee = UserField(allow_null=True)


class CommentSerializer(StrictMixin, serializers.Serializer):
    text = serializers.CharField(max_length=markdown.LONGEST)


class EntryActorSerializer(serializers.Serializer):
    id = serializers.IntegerField(allow_null=True)
    username = serializers.CharField()


class EntrySerializer(serializers.Serializer):
    """An event about the incident; `id` is its position, null where it has none any more."""

    id = serializers.IntegerField(allow_null=True)
    type = serializers.CharField()
    timestamp = serializers.CharField()
    subject = serializers.CharField()
    actor = EntryActorSerializer(allow_null=True)
    data = serializers.DictField()  # type: ignore[assignment]


class ChannelSerializer(StrictMixin, serializers.ModelSerializer):
    """`url` and `secret` are never given out; `label` is what of the URL may be shown. A webhook
    without a secret gets a new one, which the answer tells once."""

    made_secret = ""

    url = serializers.CharField(write_only=True, max_length=2_000, style={"input_type": "password"})
    secret = serializers.CharField(
        write_only=True, required=False, max_length=200, style={"input_type": "password"}
    )
    events = serializers.ListField(
        child=serializers.CharField(max_length=100),
        required=False,
        validators=[validate_occasions],
    )
    environments = NamedField(
        slug_field="name", queryset=Environment.objects.all(), many=True, required=False
    )

    class Meta:
        model = NotificationChannel
        fields = (
            "id",
            "name",
            "kind",
            "url",
            "secret",
            "label",
            "events",
            "minimum_severity",
            "environments",
            "enabled",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("label",)

    def check_url(self) -> channels.Checked | None:
        """Of data that is valid; returns what of it is good. Raises ValidationError."""
        if "url" not in self.validated_data:
            return None
        url = self.validated_data["url"]
        kind = self.validated_data.get("kind", self.instance and self.instance.kind)
        with told_by_field():
            channels.check_url(kind, url)
        return kind, url

    def create(self, validated_data: dict[str, Any]) -> NotificationChannel:
        environments = validated_data.pop("environments", [])
        channel = NotificationChannel(**validated_data)
        with told_by_field():
            self.made_secret = channels.save(channel, checked=self.context.get("checked"))
        channel.environments.set(environments)
        return channel

    def update(
        self, instance: NotificationChannel, validated_data: dict[str, Any]
    ) -> NotificationChannel:
        environments = validated_data.pop("environments", None)
        changed = {
            name
            for name, value in validated_data.items()
            if name in channels.SECRETS or getattr(instance, name) != value
        }
        for name in changed:
            setattr(instance, name, validated_data[name])
        with told_by_field():
            self.made_secret = channels.save(instance, changed, self.context.get("checked"))
        if environments is not None:
            instance.environments.set(environments)
        return instance

    def to_representation(self, instance: NotificationChannel) -> dict[str, Any]:
        told = {"secret": self.made_secret} if self.made_secret else {}
        return super().to_representation(instance) | told


class NotificationSerializer(serializers.ModelSerializer):
    """`channel` is null for your bell, `incident` for a test."""

    channel = serializers.CharField(source="channel_name", allow_null=True)

    class Meta:
        model = Notification
        fields = (
            "id",
            "channel",
            "incident",
            "event_type",
            "title",
            "body",
            "state",
            "attempts",
            "next_attempt_at",
            "last_error",
            "created_at",
            "sent_at",
            "read_at",
        )

    def to_representation(self, instance: Notification) -> dict[str, Any]:
        data = super().to_representation(instance)
        return data | {"channel": data["channel"] or None}


class FiguresSerializer(serializers.Serializer):
    """Times are means in seconds, of what was acknowledged or resolved in the period; null where
    nothing was."""

    open = serializers.IntegerField(help_text="Open or acknowledged.")
    unacknowledged = serializers.IntegerField()
    open_by_severity = serializers.DictField(child=serializers.IntegerField())
    opened = serializers.IntegerField(help_text="In the period.")
    resolved = serializers.IntegerField(help_text="In the period.")
    mean_time_to_acknowledge = serializers.FloatField(allow_null=True)
    mean_time_to_resolve = serializers.FloatField(allow_null=True)
