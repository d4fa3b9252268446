"""What a request asks for of a run's log, and the part of it that is the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from automation import lines, log
from automation.lines import Line
from automation.models import Run

LARGEST: Final = 5_000  # lines in one excerpt
BYTES: Final = 1_048_576  # of lines, about
EXAMINED: Final = 50_000  # lines for one excerpt: more are left for the next


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines as events tell them. `cursor` is the number of the last one that was looked at, and
    `more` says that the log goes on beyond it.
    """

    lines: list[dict[str, Any]]
    cursor: int
    more: bool


@dataclass(frozen=True, slots=True)
class Question:
    """At most `limit` lines after number `after`: of one target, by its position, of one stream,
    with a text in them in whatever case. Empty is any.
    """

    after: int = 0
    limit: int = 1_000
    target: int | None = None
    stream: str = ""
    search: str = ""


def excerpt(run: Run, asked: Question) -> Excerpt:
    """What of it is there, up to what the run's row says at least; bounded in lines and bytes.

    Where a filter is not met by many lines, it may hold fewer than `limit`, or none, and `more`.
    """
    names = log.names_of(run)
    found: list[dict[str, Any]] = []
    matches = _matching(asked)
    cursor, room, examined = asked.after, BYTES, 0
    for seq, line in islice(log.numbered(run, asked.after), EXAMINED):
        cursor, examined = seq, examined + 1
        if matches(line):
            found.append(lines.shown(seq, names.get(line.target, ""), line))
            room -= len(line.raw)
        if len(found) == asked.limit or room <= 0:
            break
    else:
        if examined < EXAMINED:
            cursor = max(cursor, run.log_lines)  # also where the lines are kept no more
    return Excerpt(found, cursor, cursor < run.log_lines)


def _matching(asked: Question) -> Callable[[Line], bool]:
    search = asked.search.casefold()

    def matches(line: Line) -> bool:
        return (
            asked.target in (None, line.target)
            and asked.stream in ("", line.stream)
            and (not search or search in line.raw.decode(errors="replace").casefold())
        )

    return matches
