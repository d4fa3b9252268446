"""Servers on the REST API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from servers import ssh
from servers.models import Environment, Server, validate_tags


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


class EnvironmentField(serializers.SlugRelatedField):
    """An environment by its name, which is checked to be text that a database takes."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(serializers.CharField().run_validation(data))


class NothingSerializer(StrictMixin, serializers.Serializer):
    """The body of an action without input: none, or an empty object."""


class ServerSerializer(StrictMixin, serializers.ModelSerializer):
    """`credential` is a password or a private key in PEM form; it is never given out."""

    environment = EnvironmentField(
        slug_field="name", queryset=Environment.objects.all(), required=False, allow_null=True
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
            "environment",
            "tags",
            "status",
            "last_tested_at",
            "last_test_message",
            "last_test_latency",
            "created_at",
            "updated_at",
        )
        read_only_fields = (
            "status",
            "last_tested_at",
            "last_test_message",
            "last_test_latency",
        )


class HostKeySerializer(StrictMixin, serializers.Serializer):
    """The fingerprints of the accepted key and of one that waits to be accepted."""

    accepted = serializers.SerializerMethodField()
    offered = serializers.SerializerMethodField()
    fingerprint = serializers.CharField(write_only=True, max_length=100)

    def get_accepted(self, server: Server) -> str | None:
        return ssh.fingerprint(server.host_key) if server.host_key else None

    def get_offered(self, server: Server) -> str | None:
        return ssh.fingerprint(server.offered_host_key) if server.offered_host_key else None
