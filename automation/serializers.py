"""Automations and runs on the REST API."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from automation import excerpt, parameters, services
from automation.event_map import LineData, RunData
from automation.lines import STREAMS
from automation.models import Automation, Run, Target
from automation.models.definition import validate_script
from automation.runs import LONGEST_REASON
from servers.models import Environment, Server, validate_tags
from servers.serializers import MANY, NamedRowsField, StrictMixin, told_by_field

SCRIPT: str = "automation.view_automation"  # to read one, also that of a run


def automations() -> QuerySet[Automation]:
    """With the names of what they are linked to, and no more of that."""
    servers: QuerySet[Server] = Server.objects.only("name")
    environments: QuerySet[Environment] = Environment.objects.only("name")
    links = (Prefetch("servers", servers), Prefetch("environments", environments))
    return Automation.objects.prefetch_related(*links)


def runs_in_full() -> QuerySet[Run]:
    """With their targets, and without their secrets."""
    rows = Run.objects.without_secrets().select_related("cancel_requested_by")
    return rows.prefetch_related("targets")


@extend_schema_field({"type": "array", "maxItems": parameters.MOST, "items": {"type": "object"}})
class DefinitionsField(serializers.JSONField):
    """A list of definitions, as `automation.parameters` describes them."""


class AutomationSerializer(StrictMixin, serializers.ModelSerializer):
    """The default targets are those of `servers`, of `environments` and of `tags` together.

    A parameter is an object with a `name`, a `type` (`string`, `integer`, `choice`, `secret`) and,
    where it is wanted, `label`, `required`, `default`; `choices`; `minimum`, `maximum`;
    `max_length`, `pattern`.
    """

    script = serializers.CharField(trim_whitespace=False, validators=[validate_script])
    parameters = DefinitionsField(required=False, validators=[parameters.check_definitions])
    servers = NamedRowsField(
        Server.objects.without_secrets(), required=False, max_length=MANY, help_text="By name."
    )
    environments = NamedRowsField(
        Environment.objects.all(), required=False, max_length=MANY, help_text="By name."
    )
    tags = serializers.ListField(
        child=serializers.CharField(max_length=50), required=False, validators=[validate_tags]
    )

    class Meta:
        model = Automation
        fields = (
            "id",
            "name",
            "description",
            "interpreter",
            "script",
            "parameters",
            "servers",
            "environments",
            "tags",
            "timeout",
            "concurrency",
            "max_failures",
            "enabled",
            "created_at",
            "updated_at",
        )

    def create(self, validated_data: dict[str, Any]) -> Automation:
        links = {name: validated_data.pop(name, ()) for name in services.LINKS}
        automation = Automation(**validated_data)
        with told_by_field():
            services.create(automation, **links)
        return automations().get(pk=automation.pk)

    def update(self, instance: Automation, validated_data: dict[str, Any]) -> Automation:
        with told_by_field():
            services.edit(instance, validated_data)
        return automations().get(pk=instance.pk)


class ReasonSerializer(StrictMixin, serializers.Serializer):
    reason = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_REASON)


class StartSerializer(ReasonSerializer):
    """`parameters` are values by name. Where `servers`, `environments` or `tags` are given, they
    take the place of all default targets.
    """

    parameters = serializers.DictField(required=False)
    servers = NamedRowsField(
        Server.objects.without_secrets(), required=False, max_length=MANY, help_text="By name."
    )
    environments = NamedRowsField(
        Environment.objects.all(), required=False, max_length=MANY, help_text="By name."
    )
    tags = serializers.ListField(
        child=serializers.CharField(max_length=50), required=False, validators=[validate_tags]
    )
    force = serializers.BooleanField(
        required=False, help_text="Also on servers in maintenance, which are skipped otherwise."
    )


class RunSerializer(RunData):
    """A run, as its events tell it."""

    cancel_requested_at = serializers.DateTimeField(allow_null=True)


class TargetSerializer(serializers.ModelSerializer):
    """`server` is the name at the run's beginning; `duration` is in seconds."""

    server = serializers.CharField(source="name")
    server_id = serializers.IntegerField(allow_null=True, help_text="null where it is gone.")
    duration = serializers.FloatField(allow_null=True)

    class Meta:
        model = Target
        fields = (
            "position",
            "server",
            "server_id",
            "status",
            "exit_code",
            "exit_signal",
            "error",
            "started_at",
            "finished_at",
            "duration",
        )


class FullRunSerializer(RunSerializer):
    """Beside what events tell: what it was started with, its targets, and the size of its log.

    Of `parameters`, each secret is `********`, whether it was given or not. `script` is null for
    who may not view automations.
    """

    parameters = serializers.SerializerMethodField()
    interpreter = serializers.CharField()
    script = serializers.SerializerMethodField()
    timeout = serializers.IntegerField(help_text="Seconds.")
    concurrency = serializers.IntegerField()
    max_failures = serializers.IntegerField(allow_null=True)
    cancel_requested_by = serializers.CharField(
        source="cancel_requested_by.username", default=None, allow_null=True
    )
    log_lines = serializers.IntegerField(help_text="The number of the last line.")
    log_bytes = serializers.IntegerField(help_text="Of output that is kept.")
    log_dropped = serializers.IntegerField(help_text="Bytes of output beyond the limit.")
    log_pruned_at = serializers.DateTimeField(allow_null=True)
    targets = TargetSerializer(many=True)

    def get_parameters(self, run: Run) -> dict[str, str | int]:
        return parameters.shown(run.parameters, run.values)

    def get_script(self, run: Run) -> str | None:
        return run.script if self.context["request"].user.has_perm(SCRIPT) else None


class LogQuerySerializer(StrictMixin, serializers.Serializer):
    """What of a log is asked for. As text it is given from its beginning to its end."""

    format = serializers.ChoiceField(choices=["json", "text"], default="json")
    after = serializers.IntegerField(min_value=0, max_value=2**63 - 2, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=excerpt.LARGEST, default=1_000)
    server = serializers.CharField(max_length=100, default="", allow_blank=True)
    stream = serializers.ChoiceField(choices=STREAMS, default="", allow_blank=True)
    search = serializers.CharField(
        max_length=200, default="", allow_blank=True, trim_whitespace=False
    )


class LogSerializer(serializers.Serializer):
    """`cursor` is the next request's `after`. `more` says that there is more already, `complete`
    that there is not, and never will be. `dropped` are bytes of output beyond the limit.
    """

    lines = LineData(many=True)
    cursor = serializers.IntegerField()
    more = serializers.BooleanField()
    complete = serializers.BooleanField()
    dropped = serializers.IntegerField()


class RunFiguresSerializer(serializers.Serializer):
    """Runs under way now, and those that ended in the last 24 hours."""

    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    completed = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    mean_duration = serializers.FloatField(
        allow_null=True, help_text="Seconds, of those that had begun; null without any."
    )
