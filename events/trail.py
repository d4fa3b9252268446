"""The trail of an object: who changed what, from what, to what."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.views.main import PAGE_VAR
from django.core.paginator import Paginator
from django.db.models import F, Model, Q, QuerySet, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from events.audience import user_key
from events.catalogue import catalogue
from events.models import Event
from events.rights import rights_of
from events.signals import subject_of
from events.wire import encode_json

if TYPE_CHECKING:
    from django.contrib import admin

    _Base = admin.ModelAdmin
else:
    _Base = object

PAGE_SIZE: Final = 50


def readable_by(user: Any) -> QuerySet[Event]:
    """The placed events whose audience holds a key of this user; for a superuser, all of them."""
    return _readable_by(user, Event.objects.filter(position__isnull=False))


def events_about(instance: Model, user: Any) -> QuerySet[Event]:
    """All that this user may read of an object, in order.

    What was committed just now is last, and has no position yet.
    """
    about = Event.objects.filter(subject=subject_of(instance))
    order = (F("position").asc(nulls_last=True), "pk")
    return _readable_by(user, about).order_by(*order)


def _readable_by(user: Any, events: QuerySet[Event]) -> QuerySet[Event]:
    if user.is_active and user.is_superuser:
        return events
    rights = rights_of([user.pk]).get(user.pk)
    if rights is None:
        return events.none()
    # In its quotes, a key stands in the audience's JSON only where it is an element of it. LIKE
    # would take a key of other letter case for it, on SQLite.
    quoted = [encode_json(key).decode() for key in sorted({*rights, user_key(user)})]
    found = [GreaterThan(StrIndex(F("audience"), Value(key)), 0) for key in quoted]
    return events.filter(Q(*found, _connector=Q.OR))


@dataclass(frozen=True, slots=True)
class Change:
    """A field's values before and after, as text."""

    field: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Step:
    """An event, told to people: `facts` is what its data says beside the changes."""

    event: Event
    label: str
    changes: list[Change]
    facts: list[tuple[str, str]]

    @classmethod
    def of(cls, event: Event) -> Step:
        data = dict(event.data)
        data.pop("id", None)
        changes = [Change(name, shown(old), shown(new)) for name, old, new in take_changes(data)]
        facts = [(name, shown(value)) for name, value in data.items() if value not in ("", None)]
        declared = catalogue.types.get(event.type)
        return cls(event, declared.label if declared else event.type, changes, facts)


def take_changes(data: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Takes out of an event's data what changed: a field's name, old and new value.

    Events may also be published by hand: what has not this form stays where it is.
    """
    for name in [key.removeprefix("old_") for key in data if key.startswith("old_")]:
        if f"new_{name}" in data:
            yield name, data.pop(f"old_{name}"), data.pop(f"new_{name}")
    changes = data.get("changes")
    if isinstance(changes, dict) and all(_is_change(values) for values in changes.values()):
        for name, values in data.pop("changes").items():
            yield name, values["old"], values["new"]


def _is_change(values: Any) -> bool:
    return isinstance(values, dict) and values.keys() == {"old", "new"}


def shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class EventTrailMixin(_Base):
    """For a ModelAdmin: its history page is the object's events that this user may read, but for
    those of the types in `trail_without`.
    """

    trail_without: Collection[str] = ()
    object_history_template = "events/trail.html"

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's own decides who may look, and answers where there is no such object."""
        response: HttpResponse = super().history_view(request, object_id, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            instance = response.context_data["object"]
            response.context_data |= trail(request, instance, self.trail_without)
        return response


def trail(request: HttpRequest, instance: Model, without: Collection[str] = ()) -> dict[str, Any]:
    """A page of what happened to this object, the newest first, as the template's context.

    Events of the types in `without` are left out.
    """
    events = readable_by(request.user).filter(subject=subject_of(instance))
    events = events.exclude(type__in=without)
    page = Paginator(events.order_by("-position"), PAGE_SIZE).get_page(request.GET.get(PAGE_VAR))
    numbers = page.paginator.get_elided_page_range(page.number)
    return {"page": page, "steps": [Step.of(event) for event in page], "numbers": list(numbers)}
