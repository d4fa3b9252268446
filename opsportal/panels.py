"""What each domain shows on the overview, to whoever may view it.

A panel is two templates and a script by its name: `panels/<name>_tiles.html` and
`panels/<name>_lists.html` among the templates, and `panels/<name>.js` among the static files, which
keeps both true by the events that it follows (following.js).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db.models import Case, IntegerField, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from automation.models import Run
from automation.models.run import UNFINISHED
from automation.stats import stats as automation_stats
from automation.views import for_rows
from incidents.models import Incident
from incidents.models.incident import UNRESOLVED
from incidents.stats import stats as incidents_stats
from opsportal import charts
from servers import history
from servers.models import Server, StatusPeriod
from servers.stats import stats as servers_stats

State = StatusPeriod.State

ROWS: Final = 100  # of a list; the page shows a few, and moves up others as these go
SHOWN: Final = 8
OUTCOMES: Final = (Run.Status.COMPLETED, Run.Status.FAILED, Run.Status.CANCELLED)
SPANS: Final = 24  # of the fleet's uptime
SPAN: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Panel:
    """`read` is asked for what the templates show, after the page's cursor was read."""

    name: str
    permission: str
    read: Callable[[], dict[str, Any]]

    @property
    def tiles(self) -> str:
        return f"opsportal/panels/{self.name}_tiles.html"

    @property
    def lists(self) -> str:
        return f"opsportal/panels/{self.name}_lists.html"

    @property
    def script(self) -> str:
        return f"opsportal/panels/{self.name}.js"


def _incidents() -> dict[str, Any]:
    stats = incidents_stats()
    unresolved = Incident.objects.filter(status__in=UNRESOLVED).select_related("assignee")
    ranks = [
        When(severity=severity, then=Value(rank))
        for rank, severity in enumerate(Incident.Severity.values)
    ]
    rows = unresolved.annotate(
        rank=Case(*ranks, output_field=IntegerField()),
        since=Coalesce("reopened_at", "created_at"),
    )
    counts = stats["open_by_severity"]
    return {
        "stats": stats,
        "by_severity": [(key, label, counts[key]) for key, label in Incident.Severity.choices],
        "rows": rows.order_by("rank", "-since", "-pk")[:ROWS],
        "more": max(stats["open"] - SHOWN, 0),
        "labels": {
            "severity": dict(Incident.Severity.choices),
            "status": dict(Incident.Status.choices),
        },
    }


def _servers() -> dict[str, Any]:
    stats = servers_stats()
    states = _present_states()
    now = timezone.now()
    uptimes = history.fleet_uptimes(now - SPANS * SPAN, SPAN, SPANS)
    up, down = sum(each.up for each in uptimes), sum(each.down for each in uptimes)
    counts = stats["by_status"]
    return {
        "stats": stats,
        "by_status": [(key, label, counts[key]) for key, label in Server.Status.choices],
        "states": states,
        "rows": _failing()[:ROWS],
        "more": max(len(states[State.FAILED]) - SHOWN, 0),
        "uptime": history.Uptime(up, down),
        "losses": charts.losses(uptimes),
        "spans": {
            "end": now.timestamp() * 1000,
            "length": SPAN.total_seconds() * 1000,
            "seconds": [[each.up, each.down] for each in uptimes],
        },
    }


def _present_states() -> dict[str, list[int]]:
    """The servers in each state, by key."""
    found: dict[str, list[int]] = defaultdict(list, {state: [] for state in State.values})
    rows = StatusPeriod.objects.filter(ended_at=None).order_by("server")
    for key, state in rows.values_list("server", "state"):
        found[state].append(key)
    return dict(found)


def _failing() -> Any:
    """The open periods of servers that fail, the last to begin first; their secrets stay unread."""
    rows = StatusPeriod.objects.filter(ended_at=None, state=State.FAILED)
    fields = ("started_at", "server__name", "server__last_test_message")
    return rows.select_related("server").only(*fields).order_by("-started_at", "-pk")


def _automation() -> dict[str, Any]:
    stats = automation_stats()
    rows = for_rows(Run.objects.filter(status__in=UNFINISHED))
    since = Coalesce("started_at", "created_at")
    return {
        "stats": stats,
        "outcomes": [(each.value, each.label, stats[each.value]) for each in OUTCOMES],
        "ended": sum(stats[each.value] for each in OUTCOMES),
        # By their names, what runs comes before what is queued, backwards.
        "rows": rows.annotate(since=since).order_by("-status", "-pk")[:ROWS],
        "more": max(stats["running"] + stats["queued"] - SHOWN, 0),
        "statuses": Run.Status.choices,
    }


PANELS: Final = [
    Panel("incidents", "incidents.view_incident", _incidents),
    Panel("servers", "servers.view_server", _servers),
    Panel("automation", "automation.view_run", _automation),
]
