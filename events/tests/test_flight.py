"""One computes and the rest wait: threads as they are, processes as two `SingleFlight`s."""

from __future__ import annotations

import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction

from events.flight import Role, SingleFlight, settle
from events.lease import Lease, Outcome, release_connections
from tests.services import free_port, wait_until

TIMEOUT = 30.0  # seconds that must not go by


class Broken(Exception):
    """What a computation raises."""


class Computation:
    """Counts its calls; each ends when the gate is opened."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.gate = threading.Event()
        self._calls: list[int] = []

    @property
    def calls(self) -> int:
        return len(self._calls)

    def __call__(self) -> Any:
        self._calls.append(threading.get_ident())
        assert self.gate.wait(TIMEOUT)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def begun(self) -> bool:
        return self.calls > 0


def ready(result: Any = None) -> Computation:
    """One that ends at once."""
    computation = Computation(result)
    computation.gate.set()
    return computation


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that have found somebody to wait for."""
    threads: set[int] = set()

    def note() -> None:
        threads.add(threading.get_ident())
        release_connections()

    monkeypatch.setattr("events.flight.release_connections", note)
    monkeypatch.setattr("events.lease.release_connections", note)
    return threads


@pytest.fixture
def background() -> Iterator[Callable[..., Future[Any]]]:
    """Calls in threads of their own."""
    with ThreadPoolExecutor(50) as executor:
        yield executor.submit


Background = Callable[..., Future[Any]]


def results(futures: list[Future[Any]]) -> list[Any]:
    return [future.result(TIMEOUT) for future in futures]


def test_one_computes_and_the_rest_get_its_value(
    key: str, waiting: set[int], background: Background
) -> None:
    flight, computation = SingleFlight(ttl=0, lock=10), Computation({"a": 1})
    futures = [background(flight.share, key, computation) for _ in range(20)]
    wait_until(lambda: len(waiting) == 19, TIMEOUT, "all but one wait")
    computation.gate.set()
    found = results(futures)
    assert computation.calls == 1
    assert [value for value, _ in found] == [{"a": 1}] * 20
    assert sorted(role for _, role in found) == [Role.FOLLOWER] * 19 + [Role.LEADER]


def test_between_processes_one_computes_too(
    key: str, waiting: set[int], background: Background
) -> None:
    here, there = SingleFlight(ttl=0, lock=10), SingleFlight(ttl=0, lock=10)
    computation = Computation({"a": 1})
    futures = [background(flight.share, key, computation) for flight in [here, there] * 5]
    wait_until(lambda: len(waiting) == 9, TIMEOUT, "all but one wait")
    computation.gate.set()
    found = results(futures)
    assert computation.calls == 1
    assert [value for value, _ in found] == [{"a": 1}] * 10
    assert sorted(role for _, role in found) == [Role.FOLLOWER] * 9 + [Role.LEADER]


def test_different_keys_do_not_wait_for_each_other(key: str, background: Background) -> None:
    flight, slow = SingleFlight(ttl=0, lock=10), Computation(1)
    first = background(flight.share, key, slow)
    wait_until(slow.begun, TIMEOUT, "it began")
    assert flight.share(f"{key}-other", ready(2)) == (2, Role.LEADER)
    slow.gate.set()
    assert first.result(TIMEOUT) == (1, Role.LEADER)


def test_without_a_ttl_nothing_is_kept(key: str) -> None:
    here, there = SingleFlight(ttl=0, lock=10), SingleFlight(ttl=0, lock=10)
    for number, flight in enumerate([here, here, there, here], 1):
        assert flight.share(key, ready(number)) == (number, Role.LEADER)


def test_a_value_is_kept_for_its_ttl(key: str) -> None:
    here, there = SingleFlight(ttl=60, lock=10), SingleFlight(ttl=60, lock=10)
    assert here.share(key, ready(1)) == (1, Role.LEADER)
    assert here.share(key, ready(2)) == (1, Role.CACHED)
    assert there.share(key, ready(3)) == (1, Role.CACHED)


def test_a_value_is_not_kept_for_longer(key: str) -> None:
    flight = SingleFlight(ttl=1, lock=10)
    assert flight.share(key, ready(1)) == (1, Role.LEADER)
    wait_until(lambda: flight.share(key, ready(2)) == (2, Role.LEADER), TIMEOUT, "it is forgotten")


@pytest.mark.parametrize("ttl", [0, 60])
def test_an_error_reaches_those_who_wait_and_nobody_after_them(
    ttl: int, key: str, waiting: set[int], background: Background
) -> None:
    here, there = SingleFlight(ttl, lock=10), SingleFlight(ttl, lock=10)
    error = Broken("no luck", 7)
    error.__cause__ = LookupError("for a reason")
    computation = Computation(error)
    futures = [background(flight.share, key, computation) for flight in [here, there] * 5]
    wait_until(lambda: len(waiting) == 9, TIMEOUT, "all but one wait")
    computation.gate.set()
    errors = [future.exception(TIMEOUT) for future in futures]
    assert computation.calls == 1
    assert [(type(error), error.args) for error in errors if error] == [
        (Broken, ("no luck", 7))
    ] * 10
    assert [repr(error.__cause__) for error in errors if error] == [
        "LookupError('for a reason')"
    ] * 10
    assert there.share(key, ready(1)) == (1, Role.LEADER)


def test_what_is_not_for_others_each_computes(
    key: str, waiting: set[int], background: Background
) -> None:
    here, there = SingleFlight(ttl=60, lock=10), SingleFlight(ttl=60, lock=10)
    computation = Computation(None)
    futures = [background(flight.share, key, computation) for flight in [here, there] * 3]
    wait_until(lambda: len(waiting) == 5, TIMEOUT, "all but one wait")
    computation.gate.set()
    assert results(futures) == [(None, Role.LEADER)] * 6
    assert computation.calls == 6
    assert here.share(key, ready(1)) == (1, Role.LEADER)


def test_a_leader_who_died_is_replaced(key: str) -> None:
    assert Lease(key, 1, 0).obtain(time.monotonic()) is None  # and it is never heard of again
    assert SingleFlight(ttl=0, lock=60).share(key, ready(1)) == (1, Role.LEADER)
    assert cache.get(f"{key}:lock") is None  # it had taken over, and given back


def test_a_leader_who_hangs_is_replaced_and_ends_as_nobodys_leader(
    key: str, waiting: set[int], background: Background
) -> None:
    here, there = SingleFlight(ttl=60, lock=3), SingleFlight(ttl=60, lock=3)
    stuck, fresh = Computation("old"), ready("new")
    first = background(here.share, key, stuck)
    wait_until(stuck.begun, TIMEOUT, "it began")
    others = [background(flight.share, key, fresh) for flight in [here, there] * 3]
    found = results(others)
    assert fresh.calls == 1
    assert [value for value, _ in found] == ["new"] * 6
    stuck.gate.set()
    assert first.result(TIMEOUT) == ("old", Role.LEADER)
    assert here.share(key, ready("newer")) == ("new", Role.CACHED)


def test_a_lease_that_is_over_neither_publishes_nor_ends_that_of_another(key: str) -> None:
    late, next_one = Lease(key, 1, 0), Lease(key, 60, 0)
    assert late.obtain(time.monotonic()) is None
    assert next_one.obtain(time.monotonic() + TIMEOUT) is None
    late.publish(Outcome(late.token, "late"))
    late.release()
    assert cache.get(f"{key}:outcome") is None
    assert cache.get(f"{key}:lock") == next_one.token


def test_waiting_has_an_end(key: str) -> None:
    """As where a computation takes longer than it may, time and again, in other processes."""
    other = Lease(key, 60, 0)
    assert other.obtain(time.monotonic()) is None
    assert SingleFlight(ttl=0, lock=1).share(key, ready(1)) == (1, Role.LEADER)
    assert cache.get(f"{key}:lock") == other.token


def test_without_its_cache_a_process_computes_and_still_shares(
    key: str, waiting: set[int], background: Background, settings: Any
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{free_port()}/0",
        }
    }
    flight, computation = SingleFlight(ttl=60, lock=10), Computation(1)
    futures = [background(flight.share, key, computation) for _ in range(5)]
    wait_until(lambda: len(waiting) == 4, TIMEOUT, "all but one wait")
    computation.gate.set()
    assert sorted(role for _, role in results(futures)) == [Role.FOLLOWER] * 4 + [Role.LEADER]
    assert computation.calls == 1
    with pytest.raises(Broken):
        flight.share(key, ready(Broken()))


@pytest.mark.parametrize("result", [lambda: 1, threading.Lock()], ids=["a function", "a lock"])
def test_what_cannot_be_pickled_stays_in_its_process(
    result: Any, key: str, waiting: set[int], background: Background
) -> None:
    here, there = SingleFlight(ttl=60, lock=10), SingleFlight(ttl=60, lock=10)
    computation = Computation(result)
    first = background(here.share, key, computation)
    wait_until(computation.begun, TIMEOUT, "it began")
    second = background(there.share, key, ready("own"))
    wait_until(lambda: len(waiting) == 1, TIMEOUT, "the other process waits")
    computation.gate.set()
    assert first.result(TIMEOUT) == (result, Role.LEADER)
    assert second.result(TIMEOUT) == ("own", Role.LEADER)


def test_a_leader_that_is_told_to_end_leaves_nobody_waiting(
    key: str, waiting: set[int], background: Background
) -> None:
    gate = threading.Event()

    def end() -> None:
        assert gate.wait(TIMEOUT)
        raise SystemExit

    flight = SingleFlight(ttl=60, lock=60)
    first = background(flight.share, key, end)
    wait_until(lambda: cache.get(f"{key}:lock"), TIMEOUT, "it began")
    second = background(flight.share, key, ready(1))
    wait_until(lambda: len(waiting) == 1, TIMEOUT, "the other waits")
    gate.set()
    assert isinstance(first.exception(TIMEOUT), SystemExit)
    assert second.result(TIMEOUT) == (1, Role.LEADER)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_remote", [False, True], ids=["in a process", "between processes"])
def test_who_waits_holds_no_connection(
    is_remote: bool, key: str, waiting: set[int], background: Background
) -> None:
    here = SingleFlight(ttl=0, lock=10)
    there = SingleFlight(ttl=0, lock=10) if is_remote else here
    computation = Computation(1)
    first = background(here.share, key, computation)
    wait_until(computation.begun, TIMEOUT, "it began")

    def follow() -> Any:
        connection.ensure_connection()
        found = there.share(key, computation)
        return found, connection.connection

    second = background(follow)
    wait_until(lambda: len(waiting) == 1, TIMEOUT, "the other waits")
    computation.gate.set()
    assert second.result(TIMEOUT) == ((1, Role.FOLLOWER), None)
    assert first.result(TIMEOUT) == (1, Role.LEADER)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_outlives_the_waiting(
    key: str, waiting: set[int], background: Background
) -> None:
    flight, computation = SingleFlight(ttl=0, lock=10), Computation(1)
    first = background(flight.share, key, computation)
    wait_until(computation.begun, TIMEOUT, "it began")

    def follow() -> Any:
        try:
            with transaction.atomic():
                found = flight.share(key, computation)
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            return found
        finally:
            connection.close()

    second = background(follow)
    wait_until(lambda: len(waiting) == 1, TIMEOUT, "the other waits")
    computation.gate.set()
    assert second.result(TIMEOUT) == (1, Role.FOLLOWER)
    assert first.result(TIMEOUT) == (1, Role.LEADER)


def test_an_error_does_not_grow_with_each_who_meets_it() -> None:
    error = Broken()
    for _ in range(50):
        with pytest.raises(Broken):
            settle(Outcome("token", error=error), Role.FOLLOWER, lambda: None)
    assert len(traceback.extract_tb(error.__traceback__)) < 5
