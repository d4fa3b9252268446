"""What the event system tells of servers."""

from rest_framework import serializers

from events.api import EventMap, SystemEvent, declare, register
from servers.models import Credential, Environment, Server


class ServerEvent(SystemEvent):
    CREATED = "server.created", "Server created"
    UPDATED = "server.updated", "Server updated"
    DELETED = "server.deleted", "Server deleted"
    STATUS_CHANGED = "server.status_changed", "Server status changed"


class CredentialEvent(SystemEvent):
    CREATED = "credential.created", "Credential created"
    UPDATED = "credential.updated", "Credential updated"
    DELETED = "credential.deleted", "Credential deleted"


class EnvironmentEvent(SystemEvent):
    CREATED = "environment.created", "Environment created"
    UPDATED = "environment.updated", "Environment updated"
    DELETED = "environment.deleted", "Environment deleted"


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


class EnvironmentData(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    accept_new_host_keys = serializers.BooleanField()


class EnvironmentChanges(EnvironmentData):
    changes = serializers.DictField(child=serializers.DictField())


declare(
    {
        EnvironmentEvent.CREATED: EnvironmentData,
        EnvironmentEvent.UPDATED: EnvironmentChanges,
        EnvironmentEvent.DELETED: EnvironmentData,
    },
    permission="servers.view_environment",
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


@register(Environment)
class EnvironmentEvents(EventMap):
    created = EnvironmentEvent.CREATED
    updated = EnvironmentEvent.UPDATED
    deleted = EnvironmentEvent.DELETED
    tracked = ("name", "accept_new_host_keys")
