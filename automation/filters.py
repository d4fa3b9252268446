"""How automations and runs are picked from their lists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import django_filters
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import BigIntegerField, Q, QuerySet, TextField
from django.db.models.functions import Cast

from automation.models import Automation, Run
from servers.filters import StableOrdering
from servers.models import validate_tag

# A day from the ends of the calendar, any moment can be told in UTC.
MOMENTS: Final = [
    MinValueValidator(datetime(1, 1, 2, tzinfo=UTC)),
    MaxValueValidator(datetime(9999, 12, 30, tzinfo=UTC)),
]


class AutomationFilter(django_filters.FilterSet):
    enabled = django_filters.BooleanFilter()
    tag = django_filters.CharFilter(method="by_tag", validators=[validate_tag])
    search = django_filters.CharFilter(method="by_text")
    ordering = StableOrdering(fields=["name", "created_at", "updated_at"])

    class Meta:
        model = Automation
        fields = ["enabled", "tag", "search"]

    def by_tag(self, rows: QuerySet[Automation], name: str, tag: str) -> QuerySet[Automation]:
        """Tags hold no quotes, so a quoted tag stands in the list's text for itself only."""
        text = Cast("tags", TextField())
        return rows.alias(tags_text=text).filter(tags_text__contains=f'"{tag}"')

    def by_text(self, rows: QuerySet[Automation], name: str, text: str) -> QuerySet[Automation]:
        return rows.filter(Q(name__icontains=text) | Q(description__icontains=text))


class MomentFilter(django_filters.IsoDateTimeFilter):
    """A moment in UTC: PostgreSQL takes no displacement of 16 hours or more."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, validators=MOMENTS, **options)

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        found: QuerySet[Any] = super().filter(qs, value and value.astimezone(UTC))
        return found


class RunFilter(django_filters.FilterSet):
    """By the names that a run keeps, whatever became of what they name."""

    status = django_filters.MultipleChoiceFilter(choices=Run.Status.choices, distinct=False)
    automation = django_filters.CharFilter(field_name="name")
    automation_id = django_filters.NumberFilter(min_value=0, max_value=BigIntegerField.MAX_BIGINT)
    started_by = django_filters.CharFilter(field_name="started_by_name")
    server = django_filters.CharFilter(method="by_server")
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")
    ordering = StableOrdering(
        fields={
            "created_at": "created_at",
            "started_at": "started_at",
            "finished_at": "finished_at",
            "name": "automation",
            "status": "status",
        }
    )

    class Meta:
        model = Run
        fields = ["status", "automation", "automation_id", "started_by", "server"]

    def by_server(self, rows: QuerySet[Run], name: str, text: str) -> QuerySet[Run]:
        """By its present name, too."""
        named: Any = Q(targets__name=text) | Q(targets__server__name=text)
        return rows.filter(pk__in=Run.objects.filter(named).order_by().values("pk"))
