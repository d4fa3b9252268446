"""What a fault run has done to the events: log, notes and receipts compared. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from faults.cast import AUDIENCES, key_of
from faults.journal import Note, Status
from faults.reading import Reader


class Harm(StrEnum):
    LOST = "lost"
    DOUBLED = "doubled"
    DISORDERED = "disordered"
    LEAKED = "leaked"
    PHANTOM = "phantom"  # an event of what was never committed


class Finding(NamedTuple):
    """One harm, about when it was done, in Unix time, and what to look at."""

    harm: Harm
    at: float
    text: str


@dataclass(frozen=True)
class Row:
    """An event in the log. `name` is that of its writer, or ""; `at` when it was emitted."""

    position: int
    type: str
    subject: str
    audience: frozenset[str]
    name: str
    at: float


class Timeline:
    """Which faults were the last at a moment."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.kinds: list[tuple[str, ...]] = []

    def begin(self, at: float, kinds: tuple[str, ...]) -> None:
        self.times.append(at)
        self.kinds.append(kinds)

    def at(self, moment: float) -> tuple[str, ...]:
        return self.kinds[max(0, bisect_right(self.times, moment) - 1)]


def check_log(rows: Sequence[Row], notes: Mapping[str, Note]) -> Iterator[Finding]:
    """Every acknowledged event is there once, in its writer's order, and none that was undone."""
    for before, row in pairwise(rows):
        if row.position != before.position + 1:
            text = f"the log goes from position {before.position} to {row.position}"
            yield Finding(Harm.DISORDERED, row.at, text)
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.name:
            found[row.name].append(row)
    for name, note in notes.items():
        if not is_event(name):
            continue
        times = len(found[name])
        if note.status is Status.COMMITTED and not times:
            yield Finding(Harm.LOST, note.begun, f"{name} was committed, and is not in the log")
        if note.status in (Status.OPEN, Status.REFUSED) and times:
            at = found[name][0].position
            yield Finding(Harm.PHANTOM, note.begun, f"{name} is {note.status}, and at {at}")
        if times > 1:
            places = [row.position for row in found[name]]
            yield Finding(Harm.DOUBLED, note.begun, f"{name} is in the log at {places}")
    yield from _check_writers(rows, notes)


def _check_writers(rows: Sequence[Row], notes: Mapping[str, Note]) -> Iterator[Finding]:
    """A writer waits for each answer, so what was acknowledged follows its numbers."""
    latest: dict[str, int] = {}
    for row in rows:
        note = notes.get(row.name)
        if note is not None and note.status is Status.COMMITTED:
            writer, _, number = row.name.split("-")
            if int(number) < latest.get(writer, 0):
                text = f"{row.name} is at {row.position}, after number {latest[writer]}"
                yield Finding(Harm.DISORDERED, row.at, text)
            latest[writer] = max(int(number), latest.get(writer, 0))


def is_event(name: str) -> bool:
    return name.split("-")[1] in AUDIENCES


def check_state(rows: Sequence[Row], names: Mapping[str, str], now: float) -> Iterator[Finding]:
    """The servers that there are, by subject, are those that the log tells of."""
    told: dict[str, str] = {}
    for row in rows:
        if row.subject.startswith("servers.server/"):
            if row.type == "server.deleted":
                told.pop(row.subject, None)
            elif row.name:
                told[row.subject] = row.name
    for subject in told.keys() - names.keys():
        text = f"{subject} is not there, and the log has not told of its end"
        yield Finding(Harm.LOST, now, text)
    for subject, name in names.items():
        if told.get(subject) != name:
            text = f"{subject} is called {name}, and the log says {told.get(subject)}"
            yield Finding(Harm.LOST, now, text)


def check_reader(reader: Reader, rows: Sequence[Row], start: int, outsider: int) -> list[Finding]:
    """It got what it may see of the log after `start`, once and in order, and nothing else."""
    keys = reader.person.keys
    findings = [
        Finding(Harm.LOST, at, f"{reader.name}: stream.reset, {reason}")
        for at, reason in reader.resets
    ]
    visible = {
        row.position: row
        for row in rows
        if row.position > start and row.audience & keys and reader.subject in ("", row.subject)
    }
    findings += _check_order(reader)
    got = {receipt.position for receipt in reader.receipts}
    for position in sorted(visible.keys() - got):
        row = visible[position]
        text = f"{reader.name}: {position} is missing, {row.type} {row.name}".rstrip()
        findings.append(Finding(Harm.LOST, row.at, text))
    for receipt in reader.receipts:
        audience = receipt.name.split("-")[1] if receipt.name else ""
        meant = not audience or key_of(audience, outsider) in keys
        if not meant or receipt.position not in visible:
            text = f"{reader.name}: got {receipt.position} {receipt.name}".rstrip()
            findings.append(Finding(Harm.LEAKED, receipt.at, text))
    return findings


def _check_order(reader: Reader) -> Iterator[Finding]:
    seen: set[int] = set()
    last = 0
    for position, _, at in reader.receipts:
        if position in seen:
            yield Finding(Harm.DOUBLED, at, f"{reader.name}: {position} came again")
        elif position < last:
            yield Finding(Harm.DISORDERED, at, f"{reader.name}: {position} came after {last}")
        seen.add(position)
        last = max(last, position)


def check_wavering(
    reader: Reader, rows: Sequence[Row], notes: Mapping[str, Note], outsider: int
) -> Iterator[Finding]:
    """Somebody whose right to see servers is given and taken away, beginning without.

    Nothing of theirs that lies after a revocation comes before the next grant was begun. What came
    in time is not asked for: rights of the moment of delivery count.
    """
    yield from _check_order(reader)
    for at, reason in reader.resets:
        yield Finding(Harm.LOST, at, f"{reader.name}: stream.reset, {reason}")
    grants = sorted(note.begun for name, note in notes.items() if "-grant-" in name)
    key = f"user:{reader.person.id}"
    changes = [row for row in rows if row.type == "access.changed" and row.name == key]
    own = reader.person.keys
    audiences = {row.position: row.audience for row in rows}
    for position, name, at in reader.receipts:
        before = [row for row in changes if row.position < position]
        may_see_servers = len(before) % 2 == 1 or any(
            (before[-1].at if before else 0) <= grant <= at for grant in grants
        )
        keys = own | ({"servers.view_server"} if may_see_servers else set())
        audience = name.split("-")[1] if name else ""
        meant = not audience or key_of(audience, outsider) in keys
        if not meant or not audiences.get(position, frozenset()) & keys:
            text = f"{reader.name}: got {position} {name} without the right"
            yield Finding(Harm.LEAKED, at, text)


def interruptions(readers: Iterable[Reader], timeline: Timeline) -> dict[str, float]:
    """By fault: the longest time, in seconds, in which a reader of many events got none."""
    longest: dict[str, float] = defaultdict(float)
    for reader in readers:
        if reader.steady:
            for before, after in pairwise(reader.receipts):
                for kind in timeline.at((before.at + after.at) / 2):
                    longest[kind] = max(longest[kind], after.at - before.at)
    return longest
