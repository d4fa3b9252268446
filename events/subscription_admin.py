"""Subscriptions in Django's admin: how far each has come, and the way out of parking."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import F, QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from events.catalogue import catalogue
from events.models import Event, LogHead, Subscription
from events.subscriptions import wanted_after
from events.upkeep import resume, skip

SEEN: Final = "seen"  # in the confirmation's form: what was shown to who confirms


class SubscriptionAdmin(admin.ModelAdmin):
    """Read only but for its actions: a stored form would move the cursor back."""

    list_display = ("name", "cursor", "lag", "failures", "parked_at", "retry_at", "last_error")
    ordering = ("name",)
    fields = list_display
    readonly_fields = list_display
    actions = ("resume", "skip_next_event")

    @admin.display(description="Lag", ordering="lag")
    def lag(self, subscription: Any) -> int:
        """Positions from the cursor to the log's head, wanted or not."""
        return int(subscription.lag)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        head = Coalesce(Subquery(LogHead.objects.filter(pk=1).values("position")), 0)
        rows: QuerySet[Subscription] = super().get_queryset(request)
        return rows.annotate(lag=Greatest(head - F("cursor"), 0))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Subscription | None = None) -> bool:
        """For the actions; a single subscription's page is to be looked at."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Subscription | None = None) -> bool:
        return False

    @admin.action(description="Resume: try the next event again", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> None:
        # One that goes on is left alone: its handler may hold the row for long.
        names = list(queryset.filter(failures__gt=0).values_list("name", flat=True))
        if not names:
            self.message_user(request, "None of them is held up.", messages.WARNING)
            return
        for name in names:
            resume(name)
        self.message_user(request, f"Resumed: {', '.join(names)}.", messages.SUCCESS)

    @admin.action(
        description="Skip the next event, which is then never handled, and resume",
        permissions=["change"],
    )
    def skip_next_event(
        self, request: HttpRequest, queryset: QuerySet[Subscription]
    ) -> HttpResponse | None:
        """Asks first. What changed since it asked is not skipped: nobody has seen it."""
        names = list(queryset.values_list("name", flat=True))
        with transaction.atomic():
            parked = locked_while_parked(names)
            if parked and SEEN not in request.POST:
                return self._ask(request, parked)
            seen = request.POST.getlist(SEEN)
            skipped = [row.name for row in parked if place_of(row) in seen and skip(row.name)]
        self._report(request, skipped, len(parked))
        return None

    def _ask(self, request: HttpRequest, parked: list[Subscription]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Skip events for good?",
            "opts": self.opts,
            "rows": [(row, next_event(row), place_of(row)) for row in parked],
            "seen_name": SEEN,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "events/skip_confirmation.html", context)

    def _report(self, request: HttpRequest, skipped: list[str], parked: int) -> None:
        if not parked:
            text = "Only what is parked, and still registered, can skip an event."
            self.message_user(request, text, messages.WARNING)
        if skipped:
            text = f"Skipped an event and resumed: {', '.join(skipped)}."
            self.message_user(request, text, messages.SUCCESS)
        if len(skipped) < parked:
            text = "What has changed since you were asked was left alone."
            self.message_user(request, text, messages.WARNING)


def locked_while_parked(names: list[str]) -> list[Subscription]:
    """Those that can skip an event. Others are not locked: their handlers may be at work."""
    parked = Subscription.objects.filter(name__in=names, parked_at__isnull=False)
    rows = parked.select_for_update().order_by("name")
    return [row for row in rows if row.name in catalogue.subscribers]


def place_of(row: Subscription) -> str:
    """What a confirmation is about: this subscription, stopped here."""
    return f"{row.cursor} {row.name}"


def next_event(row: Subscription) -> Event | None:
    return wanted_after(catalogue.subscribers[row.name], row.cursor).first()
