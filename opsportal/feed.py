"""What happens, as the pages tell it: the last events that a reader may read."""

from __future__ import annotations

from typing import Any, Final

from events.cohorts import Filter
from events.question import Question
from opsportal.reading import Reading
from opsportal.sentences import QUIET

MOST: Final = 30  # events


def types(reading: Reading) -> list[str]:
    """The names of the types that are told of, of those that the reader gets."""
    return [each.name for each in reading.types() if each.name not in QUIET]


def last(reading: Reading, types: list[str]) -> list[dict[str, Any]]:
    """The last events of these types, the newest first."""
    if not types:
        return []
    wanted = Filter(frozenset(types))
    page = reading.page(Question(None, reading.head.position + 1, MOST, wanted))
    return page.events[::-1]
