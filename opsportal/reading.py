"""The event log as one reader may see it, at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from django.core.exceptions import PermissionDenied

from events import history, log
from events.audience import user_key
from events.catalogue import EventType, catalogue
from events.history import Page
from events.log import Head
from events.question import Question
from events.rights import rights_of


@dataclass(frozen=True, slots=True)
class Reading:
    """The log's head, and the audience keys that the reader held at some moment after it.

    The head comes first: a page that is made of this goes on with the stream from there, and no
    event after a change of rights is read under those of before it (`history.page`).
    """

    head: Head
    keys: frozenset[str]

    @classmethod
    def of(cls, user: Any) -> Self:
        """Raises PermissionDenied for who is inactive by now."""
        head = log.head()
        rights = rights_of([user.pk]).get(user.pk)
        if rights is None:
            raise PermissionDenied("This user is inactive.")
        return cls(head, rights | {user_key(user)})

    def types(self) -> list[EventType]:
        """The declared types whose events this reader gets, by name."""
        declared = sorted(catalogue.types.values(), key=lambda event_type: event_type.name)
        return [each for each in declared if not self.keys.isdisjoint(each.audience)]

    def page(self, asked: Question) -> Page:
        return history.page(asked, self.keys, self.head)
