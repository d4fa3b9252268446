"""What a request for the log's history asks, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from events import wire
from events.access import Refused
from events.cohorts import Filter
from events.parameters import parse_query, parse_subject, parse_types

NAMES: Final = {"after", "before", "types", "subject", "actor", "limit"}
LARGEST: Final = 500  # events in one answer
LONGEST_ACTOR: Final = 150  # characters, as the log's column


@dataclass(frozen=True, slots=True)
class Question:
    """At most `limit` events after a position, or the last ones before one.

    Without either, from the oldest one that is kept. `actor` is the name of whoever acted; empty is
    anybody.
    """

    after: int | None
    before: int | None
    limit: int
    filter: Filter
    actor: str = ""

    @classmethod
    def of(cls, query_string: str) -> Question:
        """Raises Refused: 400, which names the parameter."""
        query = parse_query(query_string, NAMES)
        if "after" in query and "before" in query:
            raise Refused(400, "after, before: only one of them can be given.")
        return cls(
            _position("after", query),
            _position("before", query),
            _limit(query.get("limit", str(LARGEST))),
            Filter(parse_types(query.get("types", "")), parse_subject(query.get("subject", ""))),
            parse_actor(query.get("actor", "")),
        )


def parse_actor(text: str) -> str:
    """Raises Refused where no actor can be called so. A command's name may hold any signs."""
    if len(text) > LONGEST_ACTOR or not text.isprintable():
        raise Refused(400, f"actor: must be a name of at most {LONGEST_ACTOR} characters.")
    return text


def _position(name: str, query: dict[str, str]) -> int | None:
    if name not in query:
        return None
    position = wire.parse_position(query[name])
    if position is None:
        raise Refused(400, f"{name}: must be a decimal integer.")
    return position


def _limit(text: str) -> int:
    limit = wire.parse_position(text)
    if limit is None or not 1 <= limit <= LARGEST:
        raise Refused(400, f"limit: must be an integer from 1 to {LARGEST}.")
    return limit
