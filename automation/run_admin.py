"""Runs in the admin: to be looked at, cancelled and retried."""

from __future__ import annotations

import re
from typing import Any, Final

from django.contrib import admin, messages
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from automation import log, parameters, runs
from automation.admin_forms import ReasonForm
from automation.event_map import LogEvent
from automation.models import Run, Target
from automation.models.run import UNFINISHED
from automation.serializers import SCRIPT
from events.api import EventTrailMixin
from servers.confirmation import CONFIRMED, AskingActions, Question
from servers.encryption import DecryptionError

SHOWN_TARGETS: Final = 100
SHOWN_LINES: Final = 40  # the last ones of the log
SHOWN_TEXT: Final = 500  # characters of a line

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
# As pictures: what a terminal obeys, and what would turn a line round.
_CONTROLS: Final = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) != "\t"}
    | {0x7F: 0x2421}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
)


def visible(text: str) -> str:
    """A line's beginning without colours, and its other control characters as pictures."""
    text = _COLOURS.sub("", text)
    more = "…" if len(text) > SHOWN_TEXT else ""
    return text[:SHOWN_TEXT].translate(_CONTROLS) + more


def summary(run: Run) -> str:
    """Its targets in numbers: 3 of 5 succeeded, 1 failed, 1 running."""
    counts = dict(run.counts)
    total, succeeded = counts.pop("total", 0), counts.pop("succeeded", 0)
    others = [f", {count} {status.replace('_', ' ')}" for status, count in counts.items() if count]
    return f"{succeeded} of {total} succeeded{''.join(others)}"


def outcome(target: Target) -> str:
    """How it went, in a few words."""
    code = "" if target.exit_code is None else f", exit code {target.exit_code}"
    by_signal = f", signal {target.exit_signal}" if target.exit_signal else ""
    error = f": {visible(target.error)}" if target.error else ""
    return f"{target.get_status_display()}{code}{by_signal}{error}"


CANCEL: Final = Question(
    "cancel",
    "Cancel these runs?",
    "What has not begun does not begin. What runs is stopped, and each run says what it could not"
    " stop.",
    "Cancel the runs",
    facts={"Status": lambda run: run.get_status_display(), "Targets": summary},
    keep="Keep them running",
)
RETRY: Final = Question(
    "retry",
    "Retry these runs?",
    "Each is run once more as it was then, on those targets alone that it was not done on.",
    "Retry them",
    ReasonForm,
    {"Status": lambda run: run.get_status_display(), "Targets": summary},
)


class RunAdmin(EventTrailMixin, AskingActions):
    trail_without = (LogEvent.ADDED.value,)
    list_display = ("number", "name", "status", "targets", "starter", "created_at", "took")
    list_display_links = ("number", "name")
    list_filter = ("status", "created_at")
    search_fields = ("name", "started_by_name", "reason")
    show_full_result_count = False
    actions = ("cancel", "retry")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "automation",
                    "status",
                    "error",
                    "targets",
                    "starter",
                    "reason",
                    "forced",
                    "retry_of",
                    "created_at",
                    "started_at",
                    "finished_at",
                    "took",
                    "cancel_requested_at",
                    "cancel_requested_by",
                )
            },
        ),
        ("Log", {"fields": ("log_tail",)}),
        ("Targets", {"fields": ("outcomes",)}),
        (
            "What was run",
            {
                "fields": (
                    "interpreter",
                    "script",
                    "given",
                    "timeout",
                    "concurrency",
                    "max_failures",
                    "worker",
                    "heartbeat_at",
                )
            },
        ),
    )

    class Media:
        css = {"all": ["opsportal/admin.css"]}

    @admin.display(description="Run", ordering="pk")
    def number(self, run: Run) -> str:
        return f"#{run.pk}"

    @admin.display(description="Targets")
    def targets(self, run: Run) -> str:
        return summary(run)

    @admin.display(description="Started by", ordering="started_by_name")
    def starter(self, run: Run) -> str:
        return run.started_by_name or "–"

    @admin.display(description="Duration")
    def took(self, run: Run) -> str:
        return "–" if run.duration is None else f"{run.duration:.1f} s"

    @admin.display(description="Parameters")
    def given(self, run: Run) -> str:
        shown = parameters.shown(run.parameters, run.values)
        rows = [(name, visible(str(value))) for name, value in shown.items()]
        return format_html_join("", "<div>{}: {}</div>", rows) or "–"

    @admin.display(description="Targets")
    def outcomes(self, run: Run) -> str:
        """Those that it was not done on come first."""
        done = When(status=Target.Status.SUCCEEDED, then=Value(1))
        rank = Case(done, default=Value(0), output_field=IntegerField())
        rows = run.targets.order_by(rank, "position")[:SHOWN_TARGETS]
        lines = format_html_join(
            "", "<div>{}: {}</div>", [(visible(row.name), outcome(row)) for row in rows]
        )
        left = run.counts.get("total", 0) - SHOWN_TARGETS
        return format_html("{}<div>and {} more</div>", lines, left) if left > 0 else lines

    @admin.display(description="Last lines")
    def log_tail(self, run: Run) -> str:
        found = log.page(run, max(run.log_lines - SHOWN_LINES, 0), SHOWN_LINES)
        lines = format_html_join(
            "\n",
            "{} {}: {}",
            [(visible(line["server"]), line["stream"], visible(line["text"])) for line in found],
        )
        whole = f"{reverse('run-log', args=[run.pk])}?format=text"
        text = '<pre class="log">{}</pre><a href="{}">All that was printed, as text</a>{}'
        dropped = f" ({run.log_dropped:,} bytes more were not kept)" if run.log_dropped else ""
        return format_html(text, lines, whole, dropped) if found else "–"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        rows = Run.objects.without_secrets().order_by("-pk")
        return rows.select_related("automation", "retry_of", "cancel_requested_by").defer(
            "retry_of__secrets"
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without the script for whoever may not view automations."""
        fieldsets = super().get_fieldsets(request, obj)
        if request.user.has_perm(SCRIPT):
            return fieldsets
        return [
            (title, {"fields": [name for name in options["fields"] if name != "script"]})
            for title, options in fieldsets
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for _, options in self.fieldsets for name in options["fields"]]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("automation.cancel_run")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("automation.run_automation")

    @admin.action(description="Cancel …", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse | None:
        def cancel(rows: list[Run], form: dict[str, Any]) -> None:
            done = 0
            for row in rows:
                try:
                    runs.cancel(row, request.user)
                    done += 1
                except runs.Refused as error:
                    self.message_user(request, str(error), messages.WARNING)
            self.tell(request, f"Runs cancelled, or being stopped: {done}.", done)

        # What is over once it is confirmed, is named.
        wanted = queryset if CONFIRMED in request.POST else queryset.filter(status__in=UNFINISHED)
        return self.ask(request, wanted, CANCEL, cancel)

    @admin.action(description="Retry what was not done …", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse | None:
        def retry(rows: list[Run], form: dict[str, Any]) -> None:
            done = 0
            for row in rows:
                try:
                    runs.retry_failed(row, request.user, form["reason"])
                    done += 1
                except runs.Refused as error:
                    self.message_user(request, f"{row}: {error}", messages.WARNING)
                except DecryptionError:
                    text = f"{row}: its secrets cannot be read: start it anew."
                    self.message_user(request, text, messages.WARNING)
            self.tell(request, f"Runs queued: {done}.", done)

        return self.ask(request, queryset.exclude(status__in=UNFINISHED), RETRY, retry)
