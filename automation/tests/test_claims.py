"""A run is carried by one worker, and written by nobody else."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from automation import claims, lines, log, reaper, records, runs
from automation.lines import Line
from automation.models import Run
from automation.recorder import Batch, Change
from automation.tests.making import create_run, types
from events.relay import relay
from servers.models import Server
from servers.tests.cast import create_server, recorded_events

WORKER = "host:1"


def taken(*servers: Server, **values: Any) -> Run:
    run = create_run(*servers or (create_server(),), **values)
    [run] = claims.take(1, WORKER)
    return run


def output(*texts: str, number: int = 1, changes: tuple[Change, ...] = ()) -> Batch:
    added = [Line(1, lines.STDOUT, 0, f"{text}\n".encode()) for text in texts]
    return Batch(number, added, list(changes))


def told(run: Run) -> list[str]:
    return [line["text"] for line in log.page(run)]


def forget(run: Run, seconds: float = 60) -> None:
    """As if its worker had given no sign of life for so long."""
    at = timezone.now() - timedelta(seconds=seconds)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=at)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What these return, or raise, that begin together, each with a connection of its own."""
    barrier = threading.Barrier(len(works))

    def do(work: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return work()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        results = list(pool.map(do, works))
    relay.stop()
    return results


@pytest.mark.django_db
def test_a_run_is_taken_with_a_claim_and_told(server: Server) -> None:
    create_run(server)
    with recorded_events() as events:
        [run] = claims.take(5, WORKER)
    assert types(events) == ["automation.started"]
    stored = Run.objects.get()
    assert (stored.status, stored.claim, stored.worker) == ("running", run.claim, WORKER)
    assert stored.heartbeat_at
    assert claims.take(5, WORKER) == []


@pytest.mark.django_db
def test_the_oldest_are_taken_first_and_no_more_than_there_is_room_for(server: Server) -> None:
    first, second, _ = (create_run(server) for _ in range(3))
    assert claims.take(2, WORKER) == [first, second]


@pytest.mark.django_db(transaction=True)
def test_two_workers_take_no_run_twice_and_leave_none(server: Server) -> None:
    wanted = {create_run(server).pk for _ in range(6)}
    a, b = at_once(lambda: claims.take(6, "a"), lambda: claims.take(6, "b"))
    left = claims.take(6, "c")  # what one had locked and the other passed by
    found = [run.pk for run in [*a, *b, *left]]
    assert sorted(found) == sorted(wanted)


@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_a_worker_at_once_leave_a_run_that_ends(server: Server) -> None:
    for _ in range(5):
        run = create_run(server)
        cancelled, [*found] = at_once(partial(runs.cancel, run, None), take_one)
        stored = Run.objects.get(pk=run.pk)
        assert not isinstance(cancelled, Exception)
        if found:
            assert (stored.status, bool(stored.cancel_requested_at)) == ("running", True)
            assert stored.claim
            assert claims.pulse([stored.claim], beat=False)[stored.claim] is not None
            records.finish(stored.pk, stored.claim, "cancelled")
        else:
            assert stored.status == "cancelled"


def take_one() -> list[Run]:
    return claims.take(1, WORKER)


@pytest.mark.django_db
def test_what_is_written_is_numbered_counted_and_told(server: Server) -> None:
    run = taken(server)
    change = Change(1, {"status": "succeeded", "exit_code": 0})
    with recorded_events() as events:
        records.write(run.pk, run.claim, output("a", "b", changes=(change,)))
    assert types(events) == ["log.added", "automation.target_changed"]
    assert events[1].data["counts"]["succeeded"] == 1
    assert (events[1].data["id"], events[1].data["server"]) == (run.pk, "web-01")
    run = Run.objects.get()
    assert (run.log_lines, run.log_bytes, run.counts["succeeded"]) == (2, 4, 1)
    assert told(run) == ["a", "b"]


@pytest.mark.django_db
def test_a_batch_whose_answer_was_lost_is_not_written_twice(server: Server) -> None:
    run = taken(server)
    for number in (1, 1, 2, 1, 2):
        records.write(run.pk, run.claim, output(f"batch {number}", number=number))
    assert told(run) == ["batch 1", "batch 2"]


@pytest.mark.django_db
@pytest.mark.parametrize("claim", [None, uuid.uuid4()])
def test_nothing_is_written_without_the_claim(server: Server, claim: uuid.UUID | None) -> None:
    run = taken(server)
    with recorded_events() as events:
        with pytest.raises(claims.ClaimLost):
            records.write(run.pk, claim, output("x"))
        with pytest.raises(claims.ClaimLost):
            records.finish(run.pk, claim, "skipped")
    assert events == []
    assert Run.objects.get().status == "running"
    assert claims.pulse([claim] if claim else [], beat=True) == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ended", "left", "status", "error"),
    [
        (["succeeded", "succeeded"], "skipped", "completed", ""),
        (["succeeded", "failed"], "skipped", "failed", "Failed on web-02 of 2."),
        (
            ["timed_out", "pending"],
            "skipped",
            "failed",
            "Failed on web-01 of 2. Skipped on web-02 of 2.",
        ),
        (["succeeded", "pending"], "cancelled", "cancelled", ""),
        (["failed", "cancelled"], "cancelled", "cancelled", ""),
    ],
)
def test_what_a_run_is_at_its_end(ended: list[str], left: str, status: str, error: str) -> None:
    run = taken(create_server("web-01"), create_server("web-02"))
    for target, each in zip(run.targets.all(), ended, strict=True):
        target.status = each
        target.save()
    with recorded_events() as events:
        records.finish(run.pk, run.claim, left)
    run = Run.objects.get()
    assert (run.status, run.error) == (status, error)
    assert run.duration is not None
    assert types(events)[-1] == f"automation.{status}"
    assert events[-1].data["counts"] == run.counts
    assert len(events) == 1 + ended.count("pending")


@pytest.mark.django_db
def test_a_lost_workers_run_fails_with_its_reason_and_keeps_its_log() -> None:
    run = taken(create_server("web-01"), create_server("web-02"))
    records.write(run.pk, run.claim, output("so far", changes=(Change(1, {"status": "running"}),)))
    forget(run)
    with recorded_events() as events:
        assert reaper.reap() == 1
        assert reaper.reap() == 0
    run = Run.objects.get()
    assert (run.status, run.error) == ("failed", "The worker host:1 was lost.")
    assert told(run) == [
        "so far",
        "The worker host:1 was lost. What it had begun may still run on web-01.",
    ]
    statuses = dict(run.targets.values_list("name", "status"))
    assert statuses == {"web-01": "failed", "web-02": "skipped"}
    assert run.targets.first().error == "The worker host:1 was lost."  # type: ignore[union-attr]
    assert types(events) == ["log.added", *["automation.target_changed"] * 2, "automation.failed"]


@pytest.mark.django_db
def test_who_shows_signs_of_life_is_left_alone(server: Server) -> None:
    run = taken(server)
    forget(run, 20)
    assert reaper.reap() == 0
    forget(run)
    claims.pulse([run.claim], beat=True)  # type: ignore[list-item]
    assert reaper.reap() == 0
    create_run(server)  # nobody is to show any for what is queued
    assert reaper.reap() == 0


@pytest.mark.django_db
def test_a_worker_that_comes_back_after_it_was_given_up_writes_nothing(server: Server) -> None:
    run = taken(server)
    forget(run)
    reaper.reap()
    before = told(run)
    with recorded_events() as events:
        with pytest.raises(claims.ClaimLost):
            records.write(run.pk, run.claim, output("I am back"))
        with pytest.raises(claims.ClaimLost):
            records.finish(run.pk, run.claim, "skipped")
        assert claims.pulse([run.claim], beat=True) == {}  # type: ignore[list-item]
    assert events == []
    assert told(run) == before


@pytest.mark.django_db(transaction=True)
def test_many_who_look_at_once_fail_a_run_once(server: Server) -> None:
    run = taken(server)
    forget(run)
    assert sorted(at_once(*[reaper.reap] * 4)) == [0, 0, 0, 1]
    assert len(told(run)) == 1


@pytest.mark.django_db(transaction=True)
def test_lines_of_many_writers_have_no_gap_and_no_number_twice(server: Server) -> None:
    """The worker, and whoever cancels."""
    run = taken(server)

    def work() -> None:
        for number in range(1, 9):
            records.write(run.pk, run.claim, output("a", "b", "c", number=number))

    assert at_once(work, lambda: runs.cancel(run, None) and None) == [None, None]
    run = Run.objects.get()
    assert [seq for seq, _ in log.numbered(run)] == list(range(1, 26))
    assert run.log_lines == 25
    assert run.cancel_requested_at
