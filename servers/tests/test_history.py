"""History: periods without gap or overlap, what they add up to, and what the checks measured."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from unittest import mock

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from events.relay import relay
from servers import checks, history, maintenance, services, tasks
from servers.models import Sample, Server, StatusPeriod
from servers.tests.cast import create_server
from servers.tests.outcomes import after_test, outcome, start_test

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """What `timezone.now()` answers, in whole minutes since START."""

    def __init__(self) -> None:
        self.minute = 0

    def __call__(self) -> datetime:
        return START + self.minute * MINUTE


@contextmanager
def stopped_clock() -> Iterator[Clock]:
    clock = Clock()
    with mock.patch.object(timezone, "now", clock):
        yield clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    with stopped_clock() as clock:
        yield clock


def periods(server: Server) -> list[tuple[str, datetime, datetime | None]]:
    """State, beginning and end of each, the first one first."""
    rows = server.periods.order_by("started_at", "pk")
    return list(rows.values_list("state", "started_at", "ended_at"))


def assert_whole(server: Server) -> None:
    """Each period begins where the one before ends, in another state; the last one is open."""
    found = periods(server)
    for (state, start, end), (next_state, next_start, _) in pairwise(found):
        assert end == next_start
        assert end >= start
        assert state != next_state
    assert [end for _, _, end in found if end is None] == [None]
    assert found[-1][2] is None


# Against a model: the state in each minute.

ACTS = ("success", "failed", "testing", "edit", "maintain", "end", "ends by itself")


class Model:
    """A server's states, minute by minute, and how an act changes the present one."""

    def __init__(self) -> None:
        self.status, self.shown, self.maintained_until = "unknown", "unknown", 0
        self.minutes: list[str] = []

    def act(self, act: str, now: int) -> None:
        match act:
            case "success" | "failed" | "testing":
                self.status = act
            case "edit":
                self.status = "unknown"
            case "maintain":
                self.maintained_until = now + 30
            case "end":
                self.maintained_until = 0
            case "ends by itself" if self.maintained_until <= now:
                self.maintained_until = 0
        if self.maintained_until:
            self.shown = "maintenance"
        elif self.status == "testing" and self.shown == "maintenance":
            self.shown = "unknown"
        elif self.status != "testing":
            self.shown = self.status


def do(act: str, server: Server) -> None:
    match act:
        case "success" | "failed":
            test_id = server.test_id or uuid.uuid4()
            Server.objects.filter(pk=server.pk).update(test_id=test_id)
            checks.record_outcome(server.pk, test_id, outcome(act == "success"))
        case "testing":
            checks.request_test(server, None, force=True)
        case "edit":
            services.edit(server, {"port": server.port + 1})
        case "maintain":
            maintenance.begin(server, "Disk", timezone.now() + 30 * MINUTE)
        case "end":
            maintenance.end(server)
        case "ends by itself":
            maintenance.end_those_over()
    server.refresh_from_db()


@example([("maintain", 1), ("testing", 1), ("end", 1)], 9)
@given(
    script=st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 40)), max_size=25),
    window=st.integers(1, 400),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_periods_and_uptimes_agree_with_the_state_of_each_minute(
    db: None, script: list[tuple[str, int]], window: int
) -> None:
    with stopped_clock() as clock, transaction.atomic():
        server = Server(name="web-01", host="10.0.0.5", username="ops")
        services.create(server)
        model = Model()
        for act, minutes in script:
            do(act, server)
            model.act(act, clock.minute)
            model.minutes += minutes * [model.shown]
            clock.minute += minutes
        assert_whole(server)
        told = [s for s, start, end in periods(server) for _ in range(lasted(start, end, clock))]
        assert told == model.minutes
        last = model.minutes[-window:]
        uptime = history.uptimes([server.pk], window * MINUTE)[server.pk]
        assert uptime.up == 60 * last.count("success")
        assert uptime.down == 60 * last.count("failed")
        assert_spans(model.minutes, clock, window)
        transaction.set_rollback(True)


def assert_spans(minutes: list[str], clock: Clock, window: int) -> None:
    """The uptimes of spans of seven minutes, against the state of each minute."""
    first = clock.minute - window
    spans = history.fleet_uptimes(clock() - window * MINUTE, 7 * MINUTE, -(-window // 7))
    for number, uptime in enumerate(spans):
        start, end = (max(first + 7 * each, 0) for each in (number, number + 1))
        assert uptime.up == 60 * minutes[start:end].count("success")
        assert uptime.down == 60 * minutes[start:end].count("failed")


def lasted(start: datetime, end: datetime | None, clock: Clock) -> int:
    """In minutes."""
    return ((end or clock()) - start) // MINUTE


# By example.


def test_a_period_says_why_it_began(server: Server) -> None:
    after_test(server, success=False, message="Refused.")
    after_test(server, success=False, message="Timed out.")
    maintenance.begin(server, "New disk", timezone.now() + MINUTE)
    assert [(period.state, period.message) for period in server.periods.all()] == [
        ("maintenance", "New disk"),
        ("failed", "Refused."),
    ]


def test_maintenance_that_ends_during_a_test_ends_in_what_nobody_knows(server: Server) -> None:
    after_test(server)
    maintenance.begin(server, "New disk", timezone.now() + MINUTE)
    assert checks.request_test(server, None, force=True)
    assert [period.state for period in server.periods.filter(ended_at=None)] == ["maintenance"]
    maintenance.end(server)
    assert [period.state for period in server.periods.filter(ended_at=None)] == ["unknown"]


def test_the_present_period_lasts_until_now(server: Server, clock: Clock) -> None:
    after_test(server)
    clock.minute = 7
    [period] = server.periods.all()
    assert (period.ended_at, history.duration(period)) == (None, 420)


def test_a_clock_that_is_behind_makes_no_overlap(server: Server, clock: Clock) -> None:
    clock.minute = 5
    after_test(server)
    clock.minute = 2
    after_test(server, success=False)
    assert_whole(server)
    assert history.uptimes([server.pk], 60 * MINUTE)[server.pk].down == 0


def test_an_uptime_is_of_the_time_in_which_the_state_was_known(
    server: Server, clock: Clock
) -> None:
    after_test(server, success=False)
    clock.minute = 10
    maintenance.begin(server, "Disk", clock() + 60 * MINUTE)
    clock.minute = 40
    maintenance.end(server)
    after_test(server)
    clock.minute = 70
    uptime = history.uptimes([server.pk], 24 * 60 * MINUTE)[server.pk]
    assert (uptime.up, uptime.down, uptime.ratio) == (30 * 60, 10 * 60, 0.75)
    # Of a period that began before the window, what lies in it.
    assert history.uptimes([server.pk], 65 * MINUTE)[server.pk].down == 5 * 60


def test_where_nothing_is_known_there_is_no_uptime(server: Server, clock: Clock) -> None:
    maintenance.begin(server, "Disk", clock() + 60 * MINUTE)
    clock.minute = 30
    for window in history.WINDOWS.values():
        assert history.uptimes([server.pk], window)[server.pk].ratio is None


def test_uptimes_are_of_the_servers_that_were_asked_for_in_one_query(
    server: Server, clock: Clock, django_assert_num_queries: Callable[..., object]
) -> None:
    down, other = create_server("web-02"), create_server("web-03")
    for row in (server, other):
        after_test(row)
    after_test(down, success=False)
    clock.minute = 10
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        uptimes = history.uptimes([server.pk, down.pk], 60 * MINUTE)
    assert {key: uptime.ratio for key, uptime in uptimes.items()} == {server.pk: 1, down.pk: 0}


# Samples.


def sample(server: Server, at: datetime, latency: float | None) -> None:
    Sample.objects.create(server=server, at=at, latency=latency)


def test_a_latency_series_gathers_the_checks_of_equal_times(server: Server, clock: Clock) -> None:
    clock.minute = 96
    for minute, latency in ((0.5, 10.0), (0.9, 30.0), (0.2, None), (95.5, 5.0), (96, None)):
        sample(server, START + minute * MINUTE, latency)
    sample(server, START, 1000.0)  # just too old
    sample(create_server("web-02"), START + 50 * MINUTE, 1000.0)
    series = history.latency_series(server, 96 * MINUTE)
    assert [bucket.start for bucket in series] == [START + minute * MINUTE for minute in range(96)]
    first, *between, last = series
    assert (first.checks, first.failed) == (3, 1)
    assert (first.lowest, first.average, first.highest) == (10.0, 20.0, 30.0)
    assert (last.checks, last.failed, last.average) == (2, 1, 5.0)
    assert {(bucket.checks, bucket.average) for bucket in between} == {(0, None)}


def test_each_outcome_leaves_a_sample(server: Server) -> None:
    after_test(server)
    after_test(server, success=False)
    assert [row.latency for row in Sample.objects.order_by("at", "pk")] == [12.5, None]


def test_samples_are_kept_for_a_week_and_periods_for_ever(server: Server) -> None:
    long_ago = timezone.now() - history.SAMPLES_KEPT
    StatusPeriod.objects.create(server=server, state="success", started_at=long_ago - MINUTE)
    sample(server, long_ago - MINUTE, 1.0)
    sample(server, long_ago + MINUTE, 2.0)
    tasks.prune_samples()
    assert [row.latency for row in Sample.objects.all()] == [2.0]
    assert StatusPeriod.objects.count() == 1


# At once.


def test_the_database_takes_no_second_open_period(server: Server) -> None:
    after_test(server)
    with pytest.raises(IntegrityError), transaction.atomic():
        StatusPeriod.objects.create(server=server, state="failed", started_at=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_outcomes_and_maintenance_at_once_lose_nothing(server: Server) -> None:
    rounds = 12
    barrier = threading.Barrier(3, timeout=20)
    results: list[bool] = []

    def test_over_and_over(success: bool) -> None:
        barrier.wait()
        for _ in range(rounds):
            test_id = uuid.uuid4()
            Server.objects.filter(pk=server.pk).update(test_id=test_id)
            results.append(checks.record_outcome(server.pk, test_id, outcome(success)))
        connection.close()

    def maintain() -> None:
        row = Server.objects.get()
        barrier.wait()
        for _ in range(rounds):
            maintenance.begin(row, "Disk", timezone.now() + MINUTE)
            maintenance.end(row)
        connection.close()

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(test_over_and_over, success) for success in (True, False)]
        running.append(pool.submit(maintain))
    for future in running:
        future.result()
    relay.stop()
    # An outcome of a test that another one has replaced counts for nothing, and leaves nothing.
    assert Sample.objects.count() == sum(results)
    assert_whole(server)
    server.refresh_from_db()
    assert periods(server)[-1][0] == server.status


@pytest.mark.django_db(transaction=True)
def test_of_two_results_of_one_test_at_once_one_counts(server: Server) -> None:
    test_id = start_test(server)
    barrier = threading.Barrier(2, timeout=20)

    def record(success: bool) -> bool:
        barrier.wait()
        try:
            return checks.record_outcome(server.pk, test_id, outcome(success))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        counted = [future.result() for future in [pool.submit(record, s) for s in (True, False)]]
    relay.stop()
    assert sorted(counted) == [False, True]
    assert Sample.objects.count() == 1
    assert_whole(server)
