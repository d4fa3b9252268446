"""How incidents and notifications are picked from their lists."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import BigIntegerField, Case, IntegerField, Q, QuerySet, Value, When

from incidents.models import Incident, Notification
from servers.filters import StableOrdering

# 0 for the worst, as their names stand in no such order.
SEVERITY_RANK = Case(
    *(When(severity=name, then=Value(rank)) for rank, name in enumerate(Incident.Severity.values)),
    output_field=IntegerField(),
)


class IncidentOrdering(StableOrdering):
    """Also by severity, from the worst on."""

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return super().filter(qs.alias(severity_rank=SEVERITY_RANK), value)


class IncidentFilter(django_filters.FilterSet):
    # Not distinct, as by default: such rows cannot be locked, and none comes twice.
    status = django_filters.MultipleChoiceFilter(choices=Incident.Status.choices, distinct=False)
    severity = django_filters.MultipleChoiceFilter(
        choices=Incident.Severity.choices, distinct=False
    )
    assignee = django_filters.CharFilter(field_name="assignee__username")
    server = django_filters.CharFilter(method="by_server")
    search = django_filters.CharFilter(method="by_text")
    ordering = IncidentOrdering(
        fields={
            "created_at": "created_at",
            "updated_at": "updated_at",
            "title": "title",
            "status": "status",
            "severity_rank": "severity",
        }
    )

    class Meta:
        model = Incident
        fields = ["status", "severity", "assignee", "server", "search"]

    def by_server(self, rows: QuerySet[Incident], name: str, text: str) -> QuerySet[Incident]:
        named = Q(affected__server__name=text) | Q(affected__server=None, affected__name=text)
        return rows.filter(pk__in=Incident.objects.filter(named).values("pk"))

    def by_text(self, rows: QuerySet[Incident], name: str, text: str) -> QuerySet[Incident]:
        return rows.filter(Q(title__icontains=text) | Q(description__icontains=text))


class NotificationFilter(django_filters.FilterSet):
    state = django_filters.ChoiceFilter(choices=Notification.State.choices)
    channel = django_filters.CharFilter(field_name="channel_name")
    incident = django_filters.NumberFilter(min_value=0, max_value=BigIntegerField.MAX_BIGINT)
    mine = django_filters.BooleanFilter(method="by_user")
    unread = django_filters.BooleanFilter(field_name="read_at", lookup_expr="isnull")

    class Meta:
        model = Notification
        fields = ["state", "channel", "incident", "mine", "unread"]

    def by_user(self, rows: QuerySet[Notification], name: str, own: bool) -> QuerySet[Notification]:
        user = self.request.user
        return rows.filter(user=user) if own else rows.exclude(user=user)
