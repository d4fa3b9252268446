"""The counters above the incidents' list, each of which leads to what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.http import urlencode

from incidents.models import Incident
from incidents.models.incident import UNRESOLVED
from incidents.stats import stats


@dataclass(frozen=True, slots=True)
class Figure:
    """`name` is what `incidents/stats/` calls it, and `query` the list's."""

    name: str
    label: str
    number: int
    query: str
    severity: str = ""


def figures() -> list[Figure]:
    found = stats()
    unresolved = {"status": [*UNRESOLVED]}
    return [
        Figure("open", "unresolved", found["open"], query_of(unresolved)),
        Figure(
            "unacknowledged",
            "unacknowledged",
            found["unacknowledged"],
            query_of({"status": Incident.Status.OPEN}),
        ),
        *(
            Figure(
                severity,
                Incident.Severity(severity).label,
                number,
                query_of(unresolved | {"severity": severity}),
                severity,
            )
            for severity, number in found["open_by_severity"].items()
        ),
    ]


def mine(user: Any) -> str:
    """The query of what this user has to do."""
    return query_of({"assignee": user.get_username(), "status": [*UNRESOLVED]})


def query_of(filters: dict[str, Any]) -> str:
    return urlencode(filters, doseq=True)
