"""The staff's view of every process and its streams."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.mixins import LoginRequiredMixin, UserPassesTestMixin
from django.db import transaction
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.generic import TemplateView
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events.models import ProcessReport
from events.reports import INTERVAL, recent

SILENT_AFTER: Final = 3 * INTERVAL  # seconds without a report
REFRESH: Final = INTERVAL  # seconds between two answers to the page


class Ring(serializers.Serializer):
    """The events that a process holds in memory: those after position `start`, up to `end`."""

    start = serializers.IntegerField(allow_null=True)
    end = serializers.IntegerField(allow_null=True)
    events = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField(allow_null=True)
    oldest = serializers.DateTimeField(allow_null=True)


class UserStreams(serializers.Serializer):
    username = serializers.CharField()
    streams = serializers.IntegerField()


class HubState(serializers.Serializer):
    """What a process of another version does not tell of is null."""

    streams = serializers.IntegerField(allow_null=True)
    users = serializers.IntegerField(allow_null=True)
    by_user = serializers.ListField(
        child=UserStreams(),
        allow_null=True,
        help_text="The 50 users with most streams, the most first.",
    )
    head = serializers.IntegerField(
        allow_null=True, help_text="The log's last position that the process knows."
    )
    lag = serializers.IntegerField(
        allow_null=True, help_text="Events in the log that the process lacks."
    )
    ring = Ring(allow_null=True)
    repaired_at = serializers.DateTimeField(
        allow_null=True, help_text="When events that did not arrive were last read from the log."
    )
    draining = serializers.BooleanField(allow_null=True)


class Process(serializers.Serializer):
    """A process's last report, `age` seconds old. Only web processes have a hub, and streams."""

    process = serializers.CharField()
    kind = serializers.CharField(source="report.kind")
    state = serializers.SerializerMethodField()
    started_at = serializers.DateTimeField()
    reported_at = serializers.DateTimeField()
    age = serializers.SerializerMethodField()
    hub = HubState(source="report.hub", allow_null=True)

    def get_age(self, row: ProcessReport) -> float:
        return max((timezone.now() - row.reported_at).total_seconds(), 0.0)

    @extend_schema_field(serializers.ChoiceField(["running", "draining", "silent"]))
    def get_state(self, row: ProcessReport) -> str:
        if self.get_age(row) > SILENT_AFTER:
            return "silent"
        hub = row.report["hub"]
        return "draining" if hub is not None and hub.get("draining") else "running"


def processes() -> list[dict[str, Any]]:
    """What `Process` declares, of every process that reports; web processes before workers."""
    rows = sorted(recent(), key=lambda row: str(row.report["kind"]))
    return list(Process(rows, many=True).data)


# Asked every few seconds: a transaction would take SQLite's one lock for writing each time.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Processes(APIView):
    """What every process last told of itself and its streams."""

    permission_classes = (IsAdminUser,)

    @extend_schema(responses=Process(many=True), operation_id="events_processes_list")
    def get(self, request: Request) -> Response:
        return Response(processes())


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Monitor(LoginRequiredMixin, UserPassesTestMixin, TemplateView):
    """The same as a page, which keeps itself up to date."""

    template_name = "opsportal/streams.html"

    def test_func(self) -> bool:
        return bool(self.request.user.is_staff)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = {"processes": processes(), "refresh": REFRESH}
        return super().get_context_data(**kwargs) | context
