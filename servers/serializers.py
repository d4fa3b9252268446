"""Servers on the REST API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from rest_framework import serializers

from servers import history, services, ssh
from servers.models import Credential, Environment, Server, StatusPeriod, validate_tags

MANY: Final = 5_000  # servers in one call
BIND: Final = "servers.view_credential"  # a shared credential to a server


@contextmanager
def told_by_field() -> Iterator[None]:
    """What a service refuses is an answer of status 400."""
    try:
        yield
    except ValidationError as error:
        raise serializers.ValidationError(serializers.as_serializer_error(error)) from error


class StrictMixin:
    """Refuses fields that the serializer does not declare, by name."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = set(data) - set(self.fields)  # type: ignore[attr-defined]
            if unknown:
                raise serializers.ValidationError(
                    {str(name): ["This field is not known."] for name in sorted(unknown)}
                )
        return super().to_internal_value(data)  # type: ignore[misc]


class NamedField(serializers.SlugRelatedField):
    """Something by its name, which is checked to be text that a database takes."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(serializers.CharField().run_validation(data))


class NamedRowsField(serializers.ListField):
    """Rows by their unique names, looked up in one query; told in the order of their names."""

    child = serializers.CharField(max_length=100)

    def __init__(self, queryset: QuerySet[Any], **options: Any) -> None:
        super().__init__(**options)
        self.queryset = queryset

    def to_internal_value(self, data: Any) -> list[Any]:
        names = super().to_internal_value(data)
        rows = self.queryset.in_bulk(names, field_name="name")
        if unknown := sorted(set(names) - set(rows)):
            kind = self.queryset.model._meta.verbose_name
            raise serializers.ValidationError(f"There is no {kind} {', '.join(unknown)}.")
        return list(rows.values())

    def to_representation(self, data: Any) -> list[str]:
        return sorted(map(str, data.all()))


class CredentialField(NamedField):
    """A credential by its name. For who may not view credentials, there is the present one alone:
    who guesses a name is told the same whether it is right or wrong.
    """

    default_error_messages = {"does_not_exist": "There is no such credential."}

    def to_internal_value(self, data: Any) -> Any:
        found = super().to_internal_value(data)
        present = getattr(self.parent.instance, "shared_credential", None)
        if found != present and not self.context["request"].user.has_perm(BIND):
            self.fail("does_not_exist")
        return found


class NothingSerializer(StrictMixin, serializers.Serializer):
    """The body of an action without input: none, or an empty object."""


class ServerSerializer(StrictMixin, serializers.ModelSerializer):
    """`credential`, the server's own, is a password or a private key in PEM form; it is never
    given out. `shared_credential` names one of the credentials; setting one clears the other.
    """

    environment = NamedField(
        slug_field="name", queryset=Environment.objects.all(), required=False, allow_null=True
    )
    shared_credential = CredentialField(
        slug_field="name",
        queryset=Credential.objects.defer("secret", "passphrase"),
        required=False,
        allow_null=True,
    )
    tags = serializers.ListField(
        child=serializers.CharField(max_length=50), required=False, validators=[validate_tags]
    )
    port = serializers.IntegerField(min_value=1, max_value=65535, default=22)
    credential = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=20_000,
        style={"input_type": "password"},
    )

    class Meta:
        model = Server
        fields = (
            "id",
            "name",
            "host",
            "port",
            "username",
            "credential",
            "shared_credential",
            "environment",
            "tags",
            "check_interval",
            "status",
            "last_tested_at",
            "last_test_message",
            "last_test_latency",
            "maintenance_until",
            "maintenance_reason",
            "created_at",
            "updated_at",
        )
        read_only_fields = (
            "status",
            "last_tested_at",
            "last_test_message",
            "last_test_latency",
            "maintenance_until",
            "maintenance_reason",
        )

    def create(self, validated_data: dict[str, Any]) -> Server:
        server = Server(**validated_data)
        with told_by_field():
            services.create(server)
        return server

    def update(self, instance: Server, validated_data: dict[str, Any]) -> Server:
        with told_by_field():
            services.edit(instance, validated_data)
        return instance


class HostKeySerializer(StrictMixin, serializers.Serializer):
    """The fingerprints of the accepted key and of one that waits to be accepted."""

    accepted = serializers.SerializerMethodField()
    offered = serializers.SerializerMethodField()
    fingerprint = serializers.CharField(write_only=True, max_length=100)

    def get_accepted(self, server: Server) -> str | None:
        return ssh.fingerprint(server.host_key) if server.host_key else None

    def get_offered(self, server: Server) -> str | None:
        return ssh.fingerprint(server.offered_host_key) if server.offered_host_key else None


class TestSerializer(StrictMixin, serializers.Serializer):
    """The body of a connection test."""

    force = serializers.BooleanField(default=False, help_text="Test it in maintenance, too.")


class MaintenanceSerializer(StrictMixin, serializers.Serializer):
    reason = serializers.CharField(max_length=200)
    until = serializers.DateTimeField()


class EnvironmentSerializer(StrictMixin, serializers.ModelSerializer):
    class Meta:
        model = Environment
        fields = ("id", "name", "accept_new_host_keys")


class CredentialSerializer(StrictMixin, serializers.ModelSerializer):
    """`secret` is a password, or a private key in OpenSSH or PEM form, which `passphrase` opens.
    Neither is ever given out. `fingerprint` is that of the key's public half.
    """

    secret = serializers.CharField(
        write_only=True,
        trim_whitespace=False,
        max_length=20_000,
        style={"input_type": "password"},
    )
    passphrase = serializers.CharField(
        write_only=True,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=1_000,
        style={"input_type": "password"},
    )

    class Meta:
        model = Credential
        fields = (
            "id",
            "name",
            "kind",
            "secret",
            "passphrase",
            "fingerprint",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("fingerprint",)

    def create(self, validated_data: dict[str, Any]) -> Credential:
        credential = Credential(**validated_data)
        with told_by_field():
            services.save_credential(credential)
        return credential

    def update(self, instance: Credential, validated_data: dict[str, Any]) -> Credential:
        with told_by_field():
            services.edit_credential(instance, validated_data)
        return instance


class PeriodSerializer(serializers.ModelSerializer):
    """A time in which the server was in one state; `duration` is in seconds, so far."""

    duration = serializers.SerializerMethodField()

    class Meta:
        model = StatusPeriod
        fields = ("state", "message", "started_at", "ended_at", "duration")

    def get_duration(self, period: StatusPeriod) -> float:
        return history.duration(period)


class UptimeSerializer(serializers.Serializer):
    """Seconds up and down, and which part of both it was up; null where neither is known."""

    up = serializers.FloatField()
    down = serializers.FloatField()
    ratio = serializers.FloatField(allow_null=True)


class UptimesSerializer(serializers.Serializer):
    last_24_hours = UptimeSerializer()
    last_30_days = UptimeSerializer()


class BucketSerializer(serializers.Serializer):
    """The checks of a quarter of an hour; latencies are in milliseconds."""

    start = serializers.DateTimeField()
    checks = serializers.IntegerField()
    failed = serializers.IntegerField()
    lowest = serializers.FloatField(allow_null=True)
    average = serializers.FloatField(allow_null=True)
    highest = serializers.FloatField(allow_null=True)


class ManySerializer(StrictMixin, serializers.Serializer):
    servers = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        allow_empty=False,
        max_length=MANY,
    )


class ManyMaintenanceSerializer(ManySerializer):
    """An `until` of null ends it."""

    reason = serializers.CharField(max_length=200, required=False)
    until = serializers.DateTimeField(allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["until"] is not None and not attrs.get("reason"):
            raise serializers.ValidationError({"reason": "Say why."})
        if attrs["until"] is None and attrs.get("reason"):
            raise serializers.ValidationError({"reason": "It ends: a reason is for its beginning."})
        return attrs


class ManyTagsSerializer(ManySerializer):
    add = serializers.ListField(
        child=serializers.CharField(max_length=50), default=list, validators=[validate_tags]
    )
    remove = serializers.ListField(
        child=serializers.CharField(max_length=50), default=list, validators=[validate_tags]
    )


class SkippedSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    reason = serializers.CharField()


class ManyResultSerializer(serializers.Serializer):
    """The servers for which it was done, and those for which it was not."""

    done = serializers.ListField(child=serializers.IntegerField())
    skipped = SkippedSerializer(many=True)
