"""How servers are picked from the list."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from servers import maintenance
from servers.models import Server, validate_tag


class StableOrdering(django_filters.OrderingFilter):
    """Rows that are alike keep their places from page to page, by key."""

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        ordered: QuerySet[Any] = super().filter(qs, value)
        return ordered.order_by(*ordered.query.order_by, "pk") if value else ordered


class ServerFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=Server.Status.choices)
    environment = django_filters.CharFilter(field_name="environment__name")
    tag = django_filters.CharFilter(method="by_tag", validators=[validate_tag])
    search = django_filters.CharFilter(method="by_text")
    maintenance = django_filters.BooleanFilter(method="by_maintenance")
    ordering = StableOrdering(
        fields=["name", "host", "status", "last_tested_at", "last_test_latency"]
    )

    class Meta:
        model = Server
        fields = ["status", "environment", "tag", "search", "maintenance"]

    def by_tag(self, rows: QuerySet[Server], name: str, tag: str) -> QuerySet[Server]:
        """Tags hold no quotes, so a quoted tag stands in the list's text for itself only."""
        text = Cast("tags", TextField())
        return rows.alias(tags_text=text).filter(tags_text__contains=f'"{tag}"')

    def by_text(self, rows: QuerySet[Server], name: str, text: str) -> QuerySet[Server]:
        return rows.filter(Q(name__icontains=text) | Q(host__icontains=text))

    def by_maintenance(self, rows: QuerySet[Server], name: str, wanted: bool) -> QuerySet[Server]:
        calm = maintenance.calm(timezone.now())
        return rows.exclude(calm) if wanted else rows.filter(calm)
