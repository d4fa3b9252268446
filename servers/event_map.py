"""What the event system tells of servers."""

from rest_framework import serializers

from events.api import EventMap, SystemEvent, declare, register
from servers.models import Credential, Server


class ServerEvent(SystemEvent):
    CREATED = "server.created", "Server created"
    UPDATED = "server.updated", "Server updated"
    DELETED = "server.deleted", "Server deleted"
    STATUS_CHANGED = "server.status_changed", "Server status changed"


class CredentialEvent(SystemEvent):
    CREATED = "credential.created", "Credential created"
    UPDATED = "credential.updated", "Credential updated"
    DELETED = "credential.deleted", "Credential deleted"


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


class CredentialData(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField(trim_whitespace=False)
    kind = serializers.ChoiceField(choices=Credential.Kind.choices)


class CredentialChanges(CredentialData):
    changes = serializers.DictField(child=serializers.DictField())


declare(
    {
        CredentialEvent.CREATED: CredentialData,
        CredentialEvent.UPDATED: CredentialChanges,
        CredentialEvent.DELETED: CredentialData,
    },
    permission="servers.view_credential",
)


@register(Server)
class ServerEvents(EventMap):
    created = ServerEvent.CREATED
    updated = ServerEvent.UPDATED
    deleted = ServerEvent.DELETED
    transitions = {"status": ServerEvent.STATUS_CHANGED}
    tracked = (
        "name",
        "host",
        "port",
        "username",
        "shared_credential",
        "environment",
        "tags",
        "check_interval",
        "host_key",
        "maintenance_until",
        "maintenance_reason",
    )
    masked = ("credential",)


@register(Credential)
class CredentialEvents(EventMap):
    created = CredentialEvent.CREATED
    updated = CredentialEvent.UPDATED
    deleted = CredentialEvent.DELETED
    tracked = ("name", "kind", "fingerprint")
    masked = ("secret", "passphrase")
