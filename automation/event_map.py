"""What the event system tells of automations, their runs and their logs."""

from __future__ import annotations

import re
from typing import Any, Final

from rest_framework import serializers

from automation.lines import STREAMS
from automation.models import Run, Target
from events.api import SystemEvent, declare

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_LINE: Final = frozenset({"seq", "server", "stream", "text", "timestamp"})
_PARTIAL: Final = frozenset({"partial"})


class AutomationEvent(SystemEvent):
    QUEUED = "automation.queued", "Run queued"
    STARTED = "automation.started", "Run started"
    CANCELLING = "automation.cancelling", "Run is being cancelled"
    COMPLETED = "automation.completed", "Run completed"
    FAILED = "automation.failed", "Run failed"
    CANCELLED = "automation.cancelled", "Run cancelled"
    TARGET_CHANGED = "automation.target_changed", "Run's target changed"
    DEFINITION_CHANGED = "automation.definition_changed", "Automation changed"


class LogEvent(SystemEvent):
    ADDED = "log.added", "Lines logged"


class RunData(serializers.Serializer):
    """A run, by which a list can show it. `duration` is in seconds."""

    id = serializers.IntegerField()
    automation = serializers.CharField(source="name", trim_whitespace=False)
    automation_id = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(choices=Run.Status.choices)
    counts = serializers.DictField(child=serializers.IntegerField())
    duration = serializers.FloatField(allow_null=True)
    error = serializers.CharField(allow_blank=True, trim_whitespace=False)
    started_by = serializers.CharField(source="started_by_name", allow_blank=True)
    reason = serializers.CharField(allow_blank=True, trim_whitespace=False)
    retry_of = serializers.IntegerField(source="retry_of_id", allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class TargetData(serializers.Serializer):
    """A target of the run `id`; `counts` are the run's."""

    id = serializers.IntegerField(source="run_id", help_text="The run's.")
    position = serializers.IntegerField()
    server = serializers.CharField(source="name", trim_whitespace=False)
    status = serializers.ChoiceField(choices=Target.Status.choices)
    exit_code = serializers.IntegerField(allow_null=True)
    exit_signal = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True, trim_whitespace=False)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    counts = serializers.DictField(child=serializers.IntegerField())


class DefinitionChange(serializers.Serializer):
    """`changes` are of the fields of an automation that was edited; of its script, a digest."""

    id = serializers.IntegerField()
    name = serializers.CharField(trim_whitespace=False)
    change = serializers.ChoiceField(choices=["created", "updated", "deleted"])
    changes = serializers.DictField(child=serializers.DictField(), required=False)


class LineData(serializers.Serializer):
    """`partial` is there, and true, where the line does not end with this."""

    seq = serializers.IntegerField(min_value=1)
    server = serializers.CharField(allow_blank=True, trim_whitespace=False)
    stream = serializers.ChoiceField(choices=STREAMS)
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)
    timestamp = serializers.DateTimeField()
    partial = serializers.BooleanField(required=False)  # type: ignore[assignment]


class LinesField(serializers.ListField):
    """Of LineData, but checked by itself: a run may print 200,000 lines in a few seconds, and a
    serializer takes a tenth of a millisecond for each."""

    child = LineData()

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list) or not all(map(is_line, data)):
            raise serializers.ValidationError("This must be a list of lines of a log.")
        return data

    def to_representation(self, data: list[Any]) -> list[Any]:
        return data


def is_line(line: Any) -> bool:
    """Whether this is what `lines.shown` makes. Plain, as it is asked of each."""
    if type(line) is not dict or line.keys() - _PARTIAL != _LINE:
        return False
    seq, moment = line["seq"], line["timestamp"]
    return (
        type(seq) is int
        and seq > 0
        and type(line["server"]) is str
        and type(line["text"]) is str
        and line["stream"] in STREAMS
        and type(moment) is str
        and _TIMESTAMP.fullmatch(moment) is not None
        and type(line.get("partial", True)) is bool
    )


class LogData(serializers.Serializer):
    """Lines of a run, in the order of their `seq`, which has no gaps."""

    id = serializers.IntegerField(help_text="The run's.")
    run = serializers.IntegerField(help_text="The same.")
    lines = LinesField()


declare(
    {
        AutomationEvent.QUEUED: RunData,
        AutomationEvent.STARTED: RunData,
        AutomationEvent.CANCELLING: RunData,
        AutomationEvent.COMPLETED: RunData,
        AutomationEvent.FAILED: RunData,
        AutomationEvent.CANCELLED: RunData,
        AutomationEvent.TARGET_CHANGED: TargetData,
        LogEvent.ADDED: LogData,
    },
    permission="automation.view_run",
)
declare(
    {AutomationEvent.DEFINITION_CHANGED: DefinitionChange},
    permission="automation.view_automation",
)
