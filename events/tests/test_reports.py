"""What a process tells of itself, as another one reads it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from events import hub as hubs
from events import reports
from events.bus import Draft, emit_many
from events.cohorts import Filter
from events.hub import Hub, get_hub
from events.log import Entry
from events.models import ProcessReport
from events.reports import LIFETIME, USERS, Reporter, recent, reporter
from events.ring import Ring
from events.tests.conftest import NoteEvent
from events.tests.streaming import streaming
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@sync_to_async
def told() -> dict[str, Any]:
    """The only report of a process; empty before there is one."""
    row = ProcessReport.objects.first()
    return row.report if row is not None else {}


@sync_to_async
def write(*texts: str) -> None:
    emit_many([Draft(NoteEvent.WRITTEN, {"text": text}) for text in texts])


async def until_told(condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while not (report := await told()) or not condition(report):
            await asyncio.sleep(0.01)
    return report


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "INTERVAL", 0.02)


@pytest.fixture
def only_when_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "INTERVAL", 3600.0)


@pytest_asyncio.fixture
async def reporting(quick: None, reader: User, outsider: User) -> AsyncIterator[Hub]:
    """A hub that reports all the time."""
    started = await get_hub()
    yield started
    await started.stop()
    hubs._hubs.clear()


@pytest.fixture
def worker() -> Iterator[Reporter]:
    yield reporter
    reporter.stop()


@contextmanager
def no_table_of_reports() -> Iterator[None]:
    """The database refuses every report, and nothing else."""

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename("events_processreport", "elsewhere")
    try:
        yield
    finally:
        rename("elsewhere", "events_processreport")


def row(process: str, age: timedelta = timedelta(), **report: Any) -> ProcessReport:
    moment = timezone.now() - age
    return ProcessReport.objects.create(  # type: ignore[misc]
        process=process, started_at=moment, reported_at=moment, report=report
    )


def first_report() -> ProcessReport:
    wait_until(ProcessReport.objects.exists, 20, "a report")
    return ProcessReport.objects.get()


@pytest.mark.asyncio
async def test_a_hub_tells_of_its_streams_and_of_what_it_holds(
    reporting: Hub, reader: User, outsider: User
) -> None:
    await write("a", "b")
    async with streaming(reader), streaming(reader), streaming(outsider):
        report = await until_told(
            lambda report: report["hub"]["streams"] == 3 and report["hub"]["ring"]["end"] == 2
        )
    hub = report["hub"]
    assert report["kind"] == "web"
    assert hub["users"] == 2
    assert hub["by_user"] == [
        {"username": "reader", "streams": 2},
        {"username": "outsider", "streams": 1},
    ]
    assert (hub["head"], hub["lag"], hub["draining"]) == (2, 0, False)
    ring = hub["ring"]
    assert (ring["start"], ring["events"], ring["bytes"]) == (0, 2, reporting.ring.bytes)
    assert ring["oldest"].endswith("Z")
    assert report["metrics"]["streams_opened"][""] >= 3


@pytest.mark.asyncio
async def test_no_more_users_are_named_than_the_most_active(
    hub: Hub, reader: User, transactional_db: Any
) -> None:
    users = [User(username=f"user-{number}") for number in range(USERS + 5)]
    await sync_to_async(User.objects.bulk_create)(users)
    for user in [*users, users[-1]]:
        hub.open(0, user.pk, Filter())
    named = await sync_to_async(reports.streams_by_user)(hub)
    assert len(named) == USERS
    assert named[0] == {"username": f"user-{USERS + 4}", "streams": 2}
    assert reports.describe(hub)["users"] == USERS + 5


@pytest.mark.asyncio
async def test_what_the_hub_lacks_of_the_log_is_its_lag(hub: Hub) -> None:
    hub.head = 7
    state = reports.describe(hub)
    assert (state["head"], state["lag"]) == (7, 7)


def entry(position: int) -> Entry:
    event = {"id": position, "type": "note.written", "timestamp": str(position), "subject": ""}
    return Entry.of(["everyone"], event)


def test_a_report_of_a_ring_that_is_trimmed_meanwhile_agrees_with_itself() -> None:
    """Here the loop appends before each line of the reading, as it may from its own thread."""
    ring = Ring(8, 1_000_000, 0)

    def append(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code is not reports.span.__code__:
            return None
        ring.append(entry(ring.end + 1))
        return append

    usual = sys.gettrace()
    sys.settrace(append)
    try:
        told = [reports.span(ring) for _ in range(50)]
    finally:
        sys.settrace(usual)
    assert ring.end > 100
    for state in told:
        assert state["end"] - state["start"] == state["events"] <= 8
        assert state["oldest"] == str(state["start"] + 1)


@pytest.mark.asyncio
async def test_a_process_that_drains_says_so_at_once(
    only_when_rung: None, hub: Hub, reader: User
) -> None:
    await until_told(lambda report: not report["hub"]["draining"])
    async with streaming(reader):
        draining = asyncio.create_task(hub.drain(3600))
        try:
            await until_told(lambda report: report["hub"]["draining"])
        finally:
            draining.cancel()


@pytest.mark.asyncio
async def test_a_process_that_ends_in_order_leaves_no_report(quick: None, reader: User) -> None:
    hub = await get_hub()
    await until_told(bool)
    await hub.stop()
    hubs._hubs.clear()
    assert await told() == {}
    assert "reports" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.asyncio
async def test_a_database_that_takes_no_reports_disturbs_no_stream(
    reporting: Hub, reader: User, caplog: pytest.LogCaptureFixture
) -> None:
    await until_told(bool)
    broken = no_table_of_reports()
    async with streaming(reader) as client:
        await sync_to_async(broken.__enter__)()
        try:
            async with asyncio.timeout(20):
                while "could not report itself" not in caplog.text:
                    await asyncio.sleep(0.01)
            await write("a")
            await client.until_texts("a")
        finally:
            await sync_to_async(broken.__exit__)(None, None, None)
        # And it goes on by itself.
        await until_told(lambda report: report["hub"]["ring"]["end"] == 1)


def test_a_process_that_was_killed_is_forgotten(quick: None, worker: Reporter) -> None:
    row("dead", LIFETIME + timedelta(seconds=1))
    row("alive", LIFETIME - timedelta(seconds=30))
    worker.start("worker")
    wait_until(lambda: not ProcessReport.objects.filter(process="dead"), 20, "its row is gone")
    assert ProcessReport.objects.filter(process="alive").exists()


@pytest.mark.parametrize("hours", [1, -1])
def test_a_host_whose_clock_is_wrong_takes_nobody_away(
    quick: None, worker: Reporter, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    row("alive")
    row("dead", LIFETIME + timedelta(seconds=1))
    shifted = timezone.now() + timedelta(hours=hours)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: shifted)
        worker.start("worker")
        wait_until(lambda: not ProcessReport.objects.filter(process="dead"), 20, "a whole report")
        assert {report.process for report in recent()} == {"alive", worker.process}
    own = ProcessReport.objects.get(process=worker.process)
    assert abs(timezone.now() - own.reported_at) < LIFETIME


def test_what_is_too_old_is_shown_nowhere() -> None:
    row("dead", LIFETIME + timedelta(seconds=1))
    row("alive", LIFETIME - timedelta(seconds=30))
    assert [report.process for report in recent()] == ["alive"]


def test_a_worker_has_no_hub(quick: None, worker: Reporter) -> None:
    worker.start("worker")
    found = first_report()
    assert found.process == worker.process
    assert found.process.split(":")[1] == str(os.getpid())
    assert found.report["kind"] == "worker"
    assert found.report["hub"] is None


def test_a_report_takes_the_place_of_the_last_one(quick: None, worker: Reporter) -> None:
    worker.start("worker")
    first = first_report()

    def is_newer() -> bool:
        return ProcessReport.objects.get().reported_at > first.reported_at

    wait_until(is_newer, 20, "another report in the same row")


def test_two_starts_are_one_report(only_when_rung: None, worker: Reporter) -> None:
    """A worker without child processes is told twice that it is ready."""
    worker.start("worker")
    worker.start("worker")
    assert [thread.name for thread in threading.enumerate()].count("reports") == 1


def test_nobody_reports_who_was_not_started(only_when_rung: None) -> None:
    reporter.ring()
    reporter.stop()
    assert not ProcessReport.objects.exists()
