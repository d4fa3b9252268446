"""What `make faults` goes by: that it would see an event lost, doubled, reordered or leaked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from faults import verdict
from faults.cast import Person
from faults.journal import Journal, Note, Status, read
from faults.reading import Reader, Receipt
from faults.verdict import Harm, Row, Timeline

pytestmark = pytest.mark.stack("embedded")  # pure

OUTSIDER = 9
NAMES = ["a1-viewers-1", "a1-everyone-2", "b1-outsider-1", "a1-viewers-3"]
KEYS = ["servers.view_server", "everyone", "user:9", "servers.view_server"]
LOG = [
    Row(position, "server.created", "", frozenset({key}), name, 10.0 + position)
    for position, (name, key) in enumerate(zip(NAMES, KEYS, strict=True), start=1)
]
NOTES = {name: Note(Status.COMMITTED, 10.0) for name in NAMES}


def harms_in_log(rows: list[Row], notes: dict[str, Note] = NOTES) -> list[Harm]:
    return [finding.harm for finding in verdict.check_log(rows, notes)]


def test_a_log_that_has_all_once_and_in_order_is_well() -> None:
    assert harms_in_log(LOG) == []


@pytest.mark.parametrize(
    ("name", "harm"),
    [("", Harm.LOST), (NAMES[0], Harm.LOST), ("a1-viewers-9", Harm.LOST)],
    ids=["empty", "another's", "unknown"],
)
def test_an_acknowledged_event_that_is_not_in_the_log_is_lost(name: str, harm: Harm) -> None:
    assert harm in harms_in_log([*LOG[:3], replace(LOG[3], name=name)])


def test_an_event_that_was_written_twice_is_doubled() -> None:
    assert harms_in_log([*LOG, replace(LOG[3], position=5)]) == [Harm.DOUBLED]


def test_a_gap_and_a_writers_later_event_before_an_earlier_one_are_disorder() -> None:
    gap = [*LOG[:2], *[replace(row, position=row.position + 1) for row in LOG[2:]]]
    assert harms_in_log(gap) == [Harm.DISORDERED]
    swapped = [replace(LOG[3], position=1), *LOG[1:3], replace(LOG[0], position=4)]
    assert set(harms_in_log(swapped)) == {Harm.DISORDERED}


@pytest.mark.parametrize(
    ("status", "harms"),
    [
        (Status.OPEN, [Harm.PHANTOM]),
        (Status.REFUSED, [Harm.PHANTOM]),
        (Status.COMMITTING, []),
    ],
)
def test_an_event_of_what_was_not_committed_is_a_phantom(status: Status, harms: list[Harm]) -> None:
    notes = NOTES | {NAMES[0]: Note(status, 10.0)}
    assert harms_in_log(LOG, notes) == harms
    assert harms_in_log([replace(LOG[0], name=""), *LOG[1:]], notes) == []  # nor is it missed


def test_servers_are_what_the_log_tells_of() -> None:
    row = Row(1, "server.created", "servers.server/7", frozenset(), "a1-viewers-1", 11.0)
    renamed = replace(row, position=2, type="server.updated", name="a1-viewers-2")
    gone = replace(row, position=3, type="server.deleted", name="")

    def is_told(rows: list[Row], names: dict[str, str]) -> bool:
        return not list(verdict.check_state(rows, names, 20.0))

    assert is_told([row, renamed], {"servers.server/7": "a1-viewers-2"})
    assert is_told([row, renamed, gone], {})
    assert not is_told([row], {"servers.server/7": "a1-viewers-2"})
    assert not is_told([row], {})
    assert not is_told([row, gone], {"servers.server/7": "a1-viewers-1"})
    assert not is_told([], {"servers.server/7": "a1-viewers-1"})


def viewer(*positions: int) -> Reader:
    keys = frozenset({"servers.view_server", "everyone", "user:5"})
    reader = Reader("viewer", Person("viewer", "", keys, 5))
    reader.receipts = [Receipt(p, NAMES[p - 1], 20.0 + n) for n, p in enumerate(positions)]
    return reader


@pytest.mark.parametrize(
    ("positions", "harms"),
    [
        ([1, 2, 4], []),
        ([1, 4], [Harm.LOST]),
        ([1, 2, 2, 4], [Harm.DOUBLED]),
        ([1, 4, 2], [Harm.DISORDERED]),
        ([1, 2, 3, 4], [Harm.LEAKED]),
    ],
)
def test_a_reader_gets_what_it_may_see_once_and_in_order(
    positions: list[int], harms: list[Harm]
) -> None:
    findings = verdict.check_reader(viewer(*positions), LOG, 0, OUTSIDER)
    assert [finding.harm for finding in findings] == harms


def test_a_log_that_names_the_wrong_audience_leaks() -> None:
    """The portal's own word is not taken for whom an event is for."""
    rows = [*LOG[:2], replace(LOG[2], audience=frozenset({"everyone"})), LOG[3]]
    findings = verdict.check_reader(viewer(1, 2, 3, 4), rows, 0, OUTSIDER)
    assert [finding.harm for finding in findings] == [Harm.LEAKED]


def test_a_reset_is_a_loss() -> None:
    reader = viewer(1, 2, 4)
    reader.resets = [(21.0, "retention")]
    findings = verdict.check_reader(reader, LOG, 0, OUTSIDER)
    assert [finding.harm for finding in findings] == [Harm.LOST]


@pytest.mark.parametrize(
    ("received", "leaks"),
    [(2, True), (4, False), (6, True)],
    ids=["before the grant", "granted", "revoked"],
)
def test_somebody_without_the_right_gets_nothing_after_it_was_taken(
    received: int, leaks: bool
) -> None:
    """Granted at position 3, which was begun at 13, and revoked at position 5."""
    kinds = ["", "server", "access", "server", "access", "server"]
    rows = [
        Row(
            position,
            f"{kind}.created" if kind == "server" else "access.changed",
            "",
            frozenset({"servers.view_server" if kind == "server" else "internal"}),
            f"a1-viewers-{position}" if kind == "server" else "user:5",
            10.0 + position,
        )
        for position, kind in enumerate(kinds, start=1)
        if kind
    ]
    reader = Reader("wavering", Person("wavering", "", frozenset({"everyone", "user:5"}), 5))
    at = 10.1 + received
    reader.receipts = [Receipt(received, f"a1-viewers-{received}", at)]
    notes = {"rights1-grant-1": Note(Status.COMMITTED, 12.9)}
    findings = list(verdict.check_wavering(reader, rows, notes, OUTSIDER))
    assert [finding.harm for finding in findings] == [Harm.LEAKED] * leaks


def test_a_killed_writers_notes_say_how_far_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a1.journal")
    journal.note(Status.OPEN, ["a1-viewers-1", "a1-viewers-2"])
    journal.note(Status.COMMITTING, ["a1-viewers-1"])
    notes = read(tmp_path.glob("*.journal"))
    assert notes["a1-viewers-1"].status is Status.COMMITTING
    assert notes["a1-viewers-2"].status is Status.OPEN
    assert notes["a1-viewers-1"].begun == notes["a1-viewers-2"].begun


def test_interruptions_are_told_by_fault() -> None:
    timeline = Timeline()
    timeline.begin(0.0, ("none",))
    timeline.begin(21.5, ("kill web", "kill Redis"))
    reader = viewer(1, 2)
    reader.receipts.append(Receipt(4, NAMES[3], 25.0))
    longest: Callable[[str], float] = verdict.interruptions([reader], timeline).__getitem__
    assert longest("none") == 1.0
    assert longest("kill web") == longest("kill Redis") == 4.0
