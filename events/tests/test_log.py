"""Positions: without gaps, in commit order, whoever places them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from events import log
from events.bus import Draft, emit_many, prepare
from events.log import Entry
from events.models import Event, LogHead
from events.tests.conftest import NoteEvent
from events.tests.streaming import parse
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def write(*texts: str) -> None:
    """Appends without ringing the relay: here the test places events itself."""
    Event.objects.bulk_create([prepare(Draft(NoteEvent.WRITTEN, {"text": t})) for t in texts])


def positions() -> list[int | None]:
    return list(Event.objects.order_by("pk").values_list("position", flat=True))


def test_events_get_consecutive_positions_in_the_order_of_their_ids() -> None:
    write("a", "b", "c")
    assert [entry.position for entry in log.sequence()] == [1, 2, 3]
    write("d")
    assert [entry.position for entry in log.sequence()] == [4]
    assert positions() == [1, 2, 3, 4]
    assert log.head() == log.Head(position=4, floor=1)


def test_sequencing_nothing_changes_nothing() -> None:
    assert log.sequence() == []
    assert log.head() == log.Head(0, 1)


def test_a_batch_is_limited_and_the_rest_follows() -> None:
    write(*"abcde")
    assert [entry.position for entry in log.sequence(limit=2)] == [1, 2]
    assert [entry.position for entry in log.sequence(limit=9)] == [3, 4, 5]


def test_events_of_an_open_transaction_are_not_placed_and_leave_no_gap() -> None:
    """The one that began first commits last: its id is the lowest, its position the highest."""
    begun, may_commit = threading.Event(), threading.Event()

    def slow_writer() -> None:
        try:
            with transaction.atomic():
                write("slow")
                begun.set()
                may_commit.wait(30)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(slow_writer)
        assert begun.wait(30)
        if connection.vendor == "sqlite":  # has one writer at a time: quick must wait
            may_commit.set()
            writer.result()
        write("quick")
        log.sequence()
        may_commit.set()
        writer.result()
    log.sequence()
    texts = [parse(entry.frame)["data"]["text"] for entry in log.read(0, upto=10)]
    assert texts == (["slow", "quick"] if connection.vendor == "sqlite" else ["quick", "slow"])


def test_many_sequencers_at_once_place_each_event_once() -> None:
    def work(number: int) -> list[int]:
        placed = []
        try:
            for turn in range(10):
                write(f"{number}.{turn}")
                placed += [entry.position for entry in log.sequence()]
        finally:
            connection.close()
        return placed

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    placed = sorted(position for result in results for position in result)
    assert placed == list(range(1, 41))
    assert sorted(position or 0 for position in positions()) == placed


@pytest.mark.stack("scaled")
def test_who_waits_for_a_turn_keeps_no_version_of_a_row_from_being_cleared_away() -> None:
    """A snapshot would. A connection's first look at the table takes one, later ones do not."""
    ready, held = threading.Event(), threading.Event()

    def waiting() -> list[tuple[Any, Any]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT backend_xmin, backend_xid FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            found: list[tuple[Any, Any]] = cursor.fetchall()
        return found

    def wait_and_place() -> list[int]:
        try:
            log.sequence()
            write("later")
            ready.set()
            held.wait(30)
            return [record.position for record in log.sequence()]
        finally:
            connection.close()

    write("first")
    with ThreadPoolExecutor(1) as pool:
        sequencer = pool.submit(wait_and_place)
        assert ready.wait(30)
        with transaction.atomic():
            log.hold_head()
            held.set()
            assert wait_until(waiting, 30, "the sequencer waits") == [(None, None)]
        assert sequencer.result() == [2]


def test_a_sequencer_that_fails_half_way_leaves_everything_pending(monkeypatch: Any) -> None:
    write("a")
    with monkeypatch.context() as patch:
        patch.setattr(log, "public", None)
        with pytest.raises(TypeError):
            log.sequence()
    assert positions() == [None]
    assert [entry.position for entry in log.sequence()] == [1]


@pytest.mark.stack("scaled")
def test_a_sequencer_that_hangs_holds_up_nobody_for_long(monkeypatch: Any) -> None:
    """As one whose process is stopped, or whose machine is gone, with the head's lock."""
    monkeypatch.setattr(log, "LONGEST_PAUSE", 0.2)
    hanging, may_go = threading.Event(), threading.Event()
    public = log.public

    def hang(row: Event) -> Any:
        if threading.current_thread() is not threading.main_thread():
            hanging.set()
            may_go.wait(10)
        return public(row)

    def hung() -> None:
        try:
            log.sequence()
        finally:
            connection.close()

    monkeypatch.setattr(log, "public", hang)
    write("a")
    with ThreadPoolExecutor(1) as pool:
        sequencer = pool.submit(hung)
        assert hanging.wait(30)
        assert [record.position for record in log.sequence()] == [1]
        may_go.set()
        with pytest.raises(DatabaseError, match="idle-in-transaction"):
            sequencer.result()
    assert positions() == [1]
    assert log.head().position == 1


def test_what_a_crashed_process_left_is_placed_by_the_next() -> None:
    write("left behind")
    emit_many([Draft(NoteEvent.WRITTEN, {"text": "next"})])
    log.sequence()
    assert not log.has_pending()
    assert log.head().position == 2


def test_reading_is_bounded_on_both_sides() -> None:
    write(*"abcde")
    log.sequence()
    read = log.read(1, upto=4)
    assert [entry.position for entry in read] == [2, 3, 4]
    assert [entry.position for entry in log.read(0, upto=5, limit=2)] == [1, 2]


def test_the_tail_is_what_is_kept_of_the_end() -> None:
    write(*"abcde")
    log.sequence()
    assert [entry.position for entry in log.tail(2)] == [4, 5]
    LogHead.objects.update(floor=4)
    assert [entry.position for entry in log.tail(10)] == [4, 5]


def test_replayed_bytes_are_the_bytes_sent_live() -> None:
    """Also key order: a database's own JSON type would sort."""
    prepare(Draft(NoteEvent.WRITTEN, {"text": "z\u2028ü\\", "number": 1})).save()
    (record,) = log.sequence()
    live = Entry.of(record.audience, record.event).frame
    assert log.read(0, upto=1)[0].frame == live
    assert b'{"text":"z\xe2\x80\xa8\xc3\xbc\\\\","number":1}' in live


def test_a_hole_in_the_log_is_no_part_of_its_tail() -> None:
    write(*"abcde")
    log.sequence()
    Event.objects.filter(position=3).delete()
    assert [entry.position for entry in log.tail(10)] == [4, 5]
