"""The incidents' pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.core.paginator import Paginator
from django.db.models import Count, Max, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import mark_safe
from django.views.generic import DetailView, ListView, TemplateView

from events.api import event_cursor
from incidents import markdown, services
from incidents.board import columns
from incidents.entries import DEEDS, Entry
from incidents.figures import figures, mine
from incidents.filters import IncidentFilter
from incidents.forms import assignable_users
from incidents.models import Comment, Incident
from incidents.timeline import NewestFirst, Timeline

ENTRIES: Final = 50  # of a timeline, on a page
VIEW: Final = "incidents.view_incident"
ASSIGN: Final = "incidents.assign_incident"
VERBS: Final = {
    Incident.Status.ACKNOWLEDGED.value: "Acknowledge",
    Incident.Status.RESOLVED.value: "Resolve",
    Incident.Status.CLOSED.value: "Close",
    Incident.Status.OPEN.value: "Reopen",
}


def for_rows(rows: QuerySet[Incident]) -> QuerySet[Incident]:
    """With what rows and cards show: `comment_count`, and `last_comment`, the newest one's key."""
    said = Comment.objects.filter(incident=OuterRef("pk")).order_by().values("incident")
    figures = said.annotate(number=Count("pk"), last=Max("pk"))
    rows = rows.select_related("assignee").prefetch_related("affected").defer("description")
    return rows.annotate(
        comment_count=Coalesce(Subquery(figures.values("number")), 0),
        last_comment=Coalesce(Subquery(figures.values("last")), 0),
    )


def words(request: HttpRequest) -> dict[str, Any]:
    """What the pages call statuses and severities. `moves` is where this user may bring an incident
    from each status, and `verbs` what that is called."""
    moves = services.moves_of(request.user)
    offered = {to for targets in moves.values() for to in targets}
    return {
        "statuses": Incident.Status.choices,
        "severities": Incident.Severity.choices,
        "moves": moves,
        "verbs": [(to, verb) for to, verb in VERBS.items() if to in offered],
    }


class IncidentList(LoginRequiredMixin, PermissionRequiredMixin, ListView):
    """The live table. Its cursor is read before its rows, so the stream joins without a gap."""

    permission_required = VIEW
    template_name = "incidents/list.html"
    context_object_name = "incidents"
    paginate_by = 50

    def get_queryset(self) -> QuerySet[Incident]:
        self.cursor = event_cursor()
        rows = for_rows(Incident.objects.all())
        self.filters = IncidentFilter(self.request.GET, queryset=rows)
        return self.filters.qs if self.filters.is_valid() else rows.none()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query = self.request.GET
        context = super().get_context_data(**kwargs) | words(self.request)
        return context | {
            "cursor": self.cursor,
            "filters": self.filters,
            "chosen": query.getlist("status") + query.getlist("severity"),
            "filtered": any(query.get(name) for name in IncidentFilter.Meta.fields),
            "figures": figures(),
            "mine": mine(self.request.user),
            "assignees": assignees(),
            "may_choose": bool(context["verbs"]) or self.request.user.has_perm(ASSIGN),
        }


def assignees() -> QuerySet[Any, str]:
    """The names of those who have any incident."""
    users = get_user_model().objects.filter(incidents_assigned__isnull=False)
    return users.order_by("username").values_list("username", flat=True).distinct()


class IncidentDetail(LoginRequiredMixin, PermissionRequiredMixin, DetailView):
    """One incident, what is known of it and all that happened to it; kept true by its events."""

    permission_required = VIEW
    template_name = "incidents/detail.html"
    context_object_name = "incident"

    def get_queryset(self) -> QuerySet[Incident]:
        self.cursor = event_cursor()
        return Incident.objects.select_related("assignee", "reporter").prefetch_related("affected")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        incident: Incident = self.object
        entries: Any = NewestFirst(Timeline(incident, self.request.user))
        page = Paginator(entries, ENTRIES).get_page(self.request.GET.get("entries"))
        return super().get_context_data(**kwargs) | {
            **words(self.request),
            "cursor": self.cursor,
            "since": since(incident),
            "page": page,
            "entries": [Entry.of(event) for event in page],
            "deeds": DEEDS,
            "description": mark_safe(markdown.render(incident.description)),
            "assignable": assignable_users() if self.request.user.has_perm(ASSIGN) else [],
        }


def since(incident: Incident) -> datetime:
    """When its present status began."""
    times = {
        Incident.Status.ACKNOWLEDGED: incident.acknowledged_at,
        Incident.Status.RESOLVED: incident.resolved_at,
        Incident.Status.CLOSED: incident.closed_at,
    }
    return times.get(Incident.Status(incident.status)) or incident.opened_at


class Board(LoginRequiredMixin, PermissionRequiredMixin, TemplateView):
    """What is to be done, by how far it is; its cards move by their events."""

    permission_required = VIEW
    template_name = "incidents/board.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        cursor = event_cursor()
        context = super().get_context_data(**kwargs) | words(self.request)
        return context | {
            "cursor": cursor,
            "columns": columns(for_rows(Incident.objects.all())),
            "blank": Incident(pk=0),  # whose card the script fills in for a new one
        }
