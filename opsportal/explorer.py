"""The event log as a page: what comes, and back through what was."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from django.contrib.auth.mixins import LoginRequiredMixin
from django.db import transaction
from django.http import QueryDict
from django.utils.decorators import method_decorator
from django.views.generic import TemplateView

from events import wire
from events.access import Refused
from events.catalogue import EventType, catalogue
from events.cohorts import Filter
from events.history import Page
from events.parameters import parse_subject, parse_types
from events.question import Question, parse_actor
from opsportal import sentences
from opsportal.reading import Reading

ROWS: Final = 100  # of a page of history
TURNS: Final = 5  # at a page that holds nothing yet: each is a look at so many thousand events


@dataclass(slots=True)
class Asked:
    """The page's query, as far as it is good; `errors` tells of the rest, by field.

    Without `before`, the page shows the last events and goes on with those that come.
    """

    types: frozenset[str]
    subject: str
    actor: str
    before: int | None
    errors: dict[str, str]

    @classmethod
    def of(cls, query: QueryDict) -> Asked:
        errors: dict[str, str] = {}
        parsers = {"types": parse_types, "subject": parse_subject, "actor": parse_actor}
        texts = {name: ",".join(query.getlist(name)).strip() for name in parsers}
        found: dict[str, Any] = {}
        for name, parse in parsers.items():
            try:
                found[name] = parse(texts[name])
            except Refused as error:
                errors[name] = error.detail.partition(": ")[2]
                found[name] = parse("")
        return cls(**found, before=wire.parse_position(query.get("before", "")), errors=errors)

    def page(self, reading: Reading) -> Page:
        """The last events before the position, or before what is still to come.

        Where few events pass the filter, one look finds none: it is taken again further back.
        """
        before = reading.head.position + 1 if self.before is None else self.before
        wanted = Filter(self.types, self.subject)
        found: list[dict[str, Any]] = []
        for _ in range(TURNS):
            page = reading.page(Question(None, before, ROWS - len(found), wanted, self.actor))
            found = page.events + found
            before = page.cursor
            if len(found) == ROWS or not page.more:
                break
        return Page(found, page.cursor, page.more)


@dataclass(frozen=True, slots=True)
class Branch:
    """The types of one kind: `name` is that of them all, as `server.*`."""

    name: str
    types: list[EventType]


def tree(types: list[EventType]) -> list[Branch]:
    """By the first word of their names, in which order they must be."""
    groups = groupby(types, key=lambda event_type: event_type.name.partition(".")[0])
    return [Branch(f"{root}.*", list(members)) for root, members in groups]


def followed(types: Collection[str]) -> list[str]:
    """The declared types that a stream with this filter may carry, but for the internal ones.

    Also those that go to others by default: an event may be addressed to this reader alone.
    """
    wanted = Filter(frozenset(types))
    return sorted(
        name for name in catalogue.types.keys() - catalogue.internal() if wanted.names(name)
    )


# No reader may hold SQLite's one lock for writing; and history is read without a transaction.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Explorer(LoginRequiredMixin, TemplateView):
    """Everybody's: which events it shows is decided event by event, as the stream does."""

    template_name = "opsportal/events.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        asked = Asked.of(self.request.GET)
        reading = Reading.of(self.request.user)
        page = Page([], 0) if asked.errors else asked.page(reading)
        types = reading.types()
        known = {name for branch in tree(types) for name in (branch.name, *_names(branch))}
        return super().get_context_data(**kwargs) | {
            "cursor": reading.head.position,
            "asked": asked,
            "chosen": sorted(asked.types),
            "events": page.events[::-1],
            "older": page.cursor if page.more else None,
            "tree": tree(types),
            "others": sorted(asked.types - known),
            "needed": [each.name for each in types if Filter(asked.types).names(each.name)],
            "followed": followed(asked.types),
            "telling": sentences.for_scripts(),
        }


def _names(branch: Branch) -> list[str]:
    return [event_type.name for event_type in branch.types]
