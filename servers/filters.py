"""How servers are picked from the list."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from servers.models import Server, validate_tag


class ServerFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=Server.Status.choices)
    environment = django_filters.CharFilter(field_name="environment__name")
    tag = django_filters.CharFilter(method="by_tag", validators=[validate_tag])
    search = django_filters.CharFilter(method="by_text")
    ordering = django_filters.OrderingFilter(
        fields=["name", "host", "status", "last_tested_at", "last_test_latency"]
    )

    class Meta:
        model = Server
        fields = ["status", "environment", "tag", "search"]

    def by_tag(self, rows: QuerySet[Server], name: str, tag: str) -> QuerySet[Server]:
        """Tags hold no quotes, so a quoted tag stands in the list's text for itself only."""
        text = Cast("tags", TextField())
        return rows.alias(tags_text=text).filter(tags_text__contains=f'"{tag}"')

    def by_text(self, rows: QuerySet[Server], name: str, text: str) -> QuerySet[Server]:
        return rows.filter(Q(name__icontains=text) | Q(host__icontains=text))
