"""What the event system tells of servers."""

from rest_framework import serializers

from events.api import EventMap, SystemEvent, declare, register
from servers.models import Server


class ServerEvent(SystemEvent):
    CREATED = "server.created", "Server created"
    UPDATED = "server.updated", "Server updated"
    DELETED = "server.deleted", "Server deleted"
    STATUS_CHANGED = "server.status_changed", "Server status changed"


class ServerData(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField(allow_blank=True, trim_whitespace=False)
    host = serializers.CharField(allow_blank=True, trim_whitespace=False)
    status = serializers.ChoiceField(choices=Server.Status.choices)


class ServerChanges(ServerData):
    changes = serializers.DictField(child=serializers.DictField())


class ServerStatusChange(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField(allow_blank=True, trim_whitespace=False)
    old_status = serializers.ChoiceField(choices=Server.Status.choices)
    new_status = serializers.ChoiceField(choices=Server.Status.choices)
    message = serializers.CharField(
        source="last_test_message", allow_blank=True, trim_whitespace=False
    )


declare(
    {
        ServerEvent.CREATED: ServerData,
        ServerEvent.UPDATED: ServerChanges,
        ServerEvent.DELETED: ServerData,
        ServerEvent.STATUS_CHANGED: ServerStatusChange,
    },
    permission="servers.view_server",
)


@register(Server)
class ServerEvents(EventMap):
    created = ServerEvent.CREATED
    updated = ServerEvent.UPDATED
    deleted = ServerEvent.DELETED
    transitions = {"status": ServerEvent.STATUS_CHANGED}
    tracked = ("name", "host", "port", "username", "environment", "tags", "host_key")
    masked = ("credential",)
