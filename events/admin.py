"""The log in Django's admin, to be read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime

from events import log
from events.audience import INTERNAL
from events.catalogue import catalogue
from events.models import Event, Subscription
from events.subscription_admin import SubscriptionAdmin
from events.trail import readable_by
from events.wire import format_timestamp

COUNTED: Final = 10_000  # events that the list counts and pages through; filters reach the rest
SEARCHED: Final = 200_000  # the log's last positions, for what has no index
NO_BREAK_SPACE, NO_BREAK_HYPHEN = "\u00a0", "\u2011"
NARROW: Final = ("type", "subject__exact")  # parameters that have one


class BoundedPaginator(Paginator):
    """Counts no further than COUNTED: counting a million rows takes longer than showing a page."""

    @cached_property
    def count(self) -> int:
        events: Any = self.object_list
        return int(events[:COUNTED].count())


class EventList(ChangeList):
    """Events after position `since`.

    Who may read few of them would otherwise have the whole log searched, for each page.
    """

    since = 0

    def get_queryset(self, *arguments: Any, **options: Any) -> QuerySet[Event]:
        events = super().get_queryset(*arguments, **options)
        if not any(self.params.get(name) for name in NARROW):
            self.since = max(log.head().position - SEARCHED, 0)
        return events.filter(position__gt=self.since)


class TypeFilter(admin.SimpleListFilter):
    """From the catalogue, as asking the log for its types would read all of it."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [
            (name, name)
            for name, event_type in sorted(catalogue.types.items())
            if request.user.is_superuser or INTERNAL not in event_type.audience
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):
    """Read only, and only what the user may read: the log never changes."""

    list_display = ("position", "time", "type", "subject_trail", "actor_name")
    list_filter = (TypeFilter, "timestamp")
    search_fields = ("subject__startswith", "actor_username", "request_id__exact")
    search_help_text = "The beginning of a subject, part of a user's name, or a whole request id."
    sortable_by = ("position",)
    ordering = ("-position",)
    paginator = BoundedPaginator
    change_list_template = "events/event_list.html"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they would count every type in the whole log
    fields = ("position", "exact_time", *list_display[2:], "request_id", "audience", "pretty_data")
    readonly_fields = fields

    @admin.display(description="Time")
    def time(self, event: Event) -> str:
        moment = f"{localtime(event.timestamp):%Y-%m-%d %H:%M:%S %Z}"
        return moment.replace(" ", NO_BREAK_SPACE).replace("-", NO_BREAK_HYPHEN)

    @admin.display(description="Timestamp")
    def exact_time(self, event: Event) -> str:
        return format_timestamp(event.timestamp)

    @admin.display(description="Subject")
    def subject_trail(self, event: Event) -> str | SafeString:
        return link(event.subject, subject__exact=event.subject)

    @admin.display(description="Actor")
    def actor_name(self, event: Event) -> str | SafeString:
        return link(event.actor_username, actor_username__exact=event.actor_username)

    @admin.display(description="Data")
    def pretty_data(self, event: Event) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(event.data, indent=2, ensure_ascii=False))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        return readable_by(request.user)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return EventList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        return False


admin.site.register(Subscription, SubscriptionAdmin)


def link(text: str, **query: str) -> str | SafeString:
    """A link to the events of this query, or a dash where there is no text."""
    if not text:
        return "–"
    url = f"{reverse('admin:events_event_changelist')}?{urlencode(query)}"
    return format_html('<a href="{}">{}</a>', url, text)
