"""Reading the log for one reader who is far behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from events import log
from events.cohorts import CHUNK_BYTES
from events.log import Entry

STEP: Final = 16  # whole events read in one query: one may hold a megabyte


def read(after: int, *, upto: int, wanted: Callable[[Entry], bool]) -> list[Entry]:
    """Entries at the positions in (after, upto], in order, from the floor on.

    They are log.BATCH at most, and end with the one that makes the wanted ones' frames CHUNK_BYTES
    or more. Those that are not `wanted` are passed over without their data, and have no frame.
    Nothing is returned where the log's oldest events went away meanwhile.
    """
    outlines = list(_outlines(after, upto))
    positions = [outline.position for outline in outlines if wanted(outline)]
    whole: dict[int, Entry] = {}
    size = 0
    while positions and size < CHUNK_BYTES:
        step, positions = positions[:STEP], positions[STEP:]
        found = _whole(step)
        if len(found) < len(step):
            return []
        whole |= {entry.position: entry for entry in found}
        size += sum(len(entry.frame) for entry in found)
    end = positions[0] if positions else upto + 1  # the first that is wanted and was not read
    return [whole.get(each.position, each) for each in outlines if each.position < end]


def _whole(positions: Sequence[int]) -> list[Entry]:
    rows = log.kept(positions[0] - 1, positions[-1]).filter(position__in=positions)
    return [Entry.of(row.audience, log.public(row)) for row in rows]


def _outlines(after: int, upto: int) -> Iterator[Entry]:
    """What decides on who gets an event, without the event."""
    rows: Any = log.kept(after, upto).values_list("position", "audience", "type", "subject")
    for position, audience, type_, subject in rows[: log.BATCH]:
        yield Entry(position, frozenset(audience), type_, subject, b"")
