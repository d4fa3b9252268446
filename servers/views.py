"""The servers' pages."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.core.paginator import Paginator
from django.db.models import BooleanField, ExpressionWrapper, Prefetch, Q, QuerySet
from django.utils import timezone
from django.views.generic import DetailView, ListView

from events.api import event_cursor, trail
from servers import checks, history
from servers.chart import Chart
from servers.event_map import ServerEvent
from servers.filters import ServerFilter
from servers.forms import LENGTHS
from servers.models import Environment, Server, StatusPeriod

PERIODS: Final = 20  # on a page
BULK_RIGHTS: Final = ["servers.test_server", "servers.maintain_server", "servers.change_server"]


def with_present_state(rows: QuerySet[Server]) -> QuerySet[Server]:
    """Each server's `present` is a list of its open period, in one query for all."""
    periods = StatusPeriod.objects.filter(ended_at=None)
    return rows.prefetch_related(Prefetch("periods", periods, to_attr="present"))


class ServerList(LoginRequiredMixin, PermissionRequiredMixin, ListView):
    """The live table. Its cursor is read before its rows, so the stream joins without a gap."""

    permission_required = "servers.view_server"
    template_name = "servers/list.html"
    context_object_name = "servers"
    paginate_by = 100

    def get_queryset(self) -> QuerySet[Server]:
        self.cursor = event_cursor()
        rows = Server.objects.without_secrets().select_related("environment")
        self.filters = ServerFilter(self.request.GET, queryset=with_present_state(rows))
        return self.filters.qs if self.filters.is_valid() else rows.none()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return context | {
            "cursor": self.cursor,
            "filters": self.filters,
            "statuses": Server.Status.choices,
            "environments": Environment.objects.values_list("name", flat=True),
            "lengths": LENGTHS,
            "may_choose": any(self.request.user.has_perm(name) for name in BULK_RIGHTS),
        }


class ServerDetail(LoginRequiredMixin, PermissionRequiredMixin, DetailView):
    """One server, how it has been, and who changed what; kept true by its events."""

    permission_required = "servers.view_server"
    template_name = "servers/detail.html"
    context_object_name = "server"

    def get_queryset(self) -> QuerySet[Server]:
        self.cursor = event_cursor()
        rows = Server.objects.without_secrets()
        rows = rows.select_related("environment", "shared_credential")
        has_own = ExpressionWrapper(~Q(credential=""), BooleanField())
        return with_present_state(rows).annotate(has_own_credential=has_own)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        server: Server = self.object
        periods = Paginator(server.periods.all(), PERIODS).get_page(self.request.GET.get("states"))
        day, month = history.WINDOWS.values()
        return super().get_context_data(**kwargs) | {
            "cursor": self.cursor,
            "now": timezone.now(),
            "interval": checks.interval(server),
            "default_interval": checks.interval(Server()),
            "period": server.present[0] if server.present else None,  # type: ignore[attr-defined]
            "periods": periods,
            "uptimes": [
                ("24 hours", history.uptimes([server.pk], day)[server.pk]),
                ("30 days", history.uptimes([server.pk], month)[server.pk]),
            ],
            "chart": Chart.of(history.latency_series(server, day)),
            "trail": trail(self.request, server, without=[ServerEvent.STATUS_CHANGED]),
            "statuses": Server.Status.choices,
            "states": StatusPeriod.State.choices,
            "lengths": LENGTHS,
        }
