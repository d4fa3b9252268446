"""A run's log as it is stored: added to in batches, and read by the numbers of its lines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from automation import lines
from automation.event_map import LogEvent
from automation.lines import SYSTEM, Line
from automation.models import LogBatch, Run
from events.api import Draft, emit_many, subject_of

EVENT_BYTES: Final = 131_072  # of lines in one event, about


def append(run: Run, added: Sequence[Line], names: Mapping[int, str]) -> None:
    """Numbers these lines, stores and tells them. The run's row is locked, and is not saved.

    `names` are those of the targets by position.
    """
    if not added:
        return
    first = run.log_lines + 1
    LogBatch.objects.create(run=run, first_seq=first, count=len(added), body=lines.pack(added))
    run.log_lines += len(added)
    run.log_bytes += sum(len(line.raw) for line in added if line.stream != SYSTEM)
    shown = [
        lines.shown(seq, names.get(line.target, ""), line) for seq, line in enumerate(added, first)
    ]
    subject = subject_of(run)
    emit_many(
        Draft(LogEvent.ADDED, {"id": run.pk, "run": run.pk, "lines": group}, subject=subject)
        for group in lines.groups(shown, EVENT_BYTES)
    )


def remark(text: str, target: int = 0) -> Line:
    """What the portal itself has to say, now."""
    return Line(target, SYSTEM, time.time_ns() // 1000, f"{text}\n".encode())


def names_of(run: Run) -> dict[int, str]:
    return dict(run.targets.values_list("position", "name"))


def numbered(run: Run, after: int = 0) -> Iterator[tuple[int, Line]]:
    """The lines after number `after`, with their numbers; a batch at a time is in memory."""
    batches = LogBatch.objects.filter(run=run)
    first = batches.filter(first_seq__lte=after + 1).order_by("-first_seq").first()
    begin = first.first_seq if first else 0
    for batch in batches.filter(first_seq__gte=begin).order_by("first_seq").iterator(10):
        for seq, line in enumerate(lines.unpack(bytes(batch.body)), batch.first_seq):
            if seq > after:
                yield seq, line


def page(run: Run, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
    """At most `limit` lines after number `after`, as events tell them."""
    names = names_of(run)
    found = islice(numbered(run, after), limit)
    return [lines.shown(seq, names.get(line.target, ""), line) for seq, line in found]


def raw(run: Run, target: int | None = None, stream: str | None = None) -> Iterator[bytes]:
    """What was printed, letter for letter: by one target or all, to one stream or both.

    What the portal remarked is left out unless `stream` asks for it.
    """
    for _, line in numbered(run):
        wanted = line.stream == stream if stream else line.stream != SYSTEM
        if wanted and target in (None, line.target):
            yield line.raw
