"""The start page: how everything is at this moment, kept true by the stream."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import transaction
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.generic import TemplateView

from events.activity import per_minute
from opsportal import charts, feed, sentences
from opsportal.panels import PANELS
from opsportal.reading import Reading

MINUTES: Final = 60  # of the chart


# The queries of its panels are of moments after its cursor, each: events of between are applied
# again, which does no harm. A transaction would take SQLite's one lock for writing.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Overview(LoginRequiredMixin, TemplateView):
    """Panels of the domains that the reader may view, and a feed of what the reader may read."""

    template_name = "opsportal/overview.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        reading = Reading.of(self.request.user)
        types = feed.types(reading)
        allowed = [panel for panel in PANELS if panel.permission in reading.keys]
        return super().get_context_data(**kwargs) | {
            "cursor": reading.head.position,
            "panels": [(panel, panel.read()) for panel in allowed],
            "types": types,
            "is_empty": not (allowed or types),
            "feed": feed.last(reading, types),
            "activity": (activity := _activity(reading, types)),
            "columns": charts.columns(activity["counts"]),
            "telling": sentences.for_scripts(),
            "fed": feed.MOST,
        }


def _activity(reading: Reading, types: list[str]) -> dict[str, Any]:
    start, counts = per_minute(reading.keys, types, MINUTES, reading.head.position)
    return {
        "start": start.timestamp() * 1000,
        "now": timezone.now().timestamp() * 1000,
        "counts": counts,
        "total": sum(counts),
        "peak": max(counts),
    }
