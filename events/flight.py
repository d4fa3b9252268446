"""Single flight: of all who ask for one thing at once, one computes it and the rest wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from events.lease import Lease, Outcome, release_connections

logger = logging.getLogger(__name__)


class Role(StrEnum):
    """What one of them did: computed, waited for who computes, or found what was computed."""

    LEADER = "leader"
    FOLLOWER = "follower"
    CACHED = "cached"


class Flight:
    """A computation under way in this process; at `until` it has had its time."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self._future: Future[Outcome] = Future()

    def land(self, outcome: Outcome) -> None:
        self._future.set_result(outcome)

    def wait(self, deadline: float) -> Outcome | None:
        """Its outcome, or None where there is none at the deadline, or when its time is over."""
        try:
            return self._future.result(max(min(self.until, deadline) - time.monotonic(), 0))
        except TimeoutError:
            return None


class SingleFlight:
    """Shares computations by key, in the process by a future, between processes by a lease.

    A value is kept for `ttl` seconds after it was computed. A computation has `lock` seconds, then
    another one takes its place. Nobody waits for longer than twice that, nor with a database
    connection. What is shared may be read by many threads, and must not be changed.
    """

    def __init__(self, ttl: int, lock: int) -> None:
        self.ttl = ttl
        self.lock = lock
        self._flights: dict[str, Flight] = {}
        self._guard = threading.Lock()

    def share(self, key: str, compute: Callable[[], Any]) -> tuple[Any, Role]:
        """The value, and how it was come by. A value of None is not for others.

        Raises what `compute` raises, here or where it was waited for; but for that never: without
        a cache, or where the waiting took too long, it computes.
        """
        deadline = time.monotonic() + 2 * self.lock
        while time.monotonic() < deadline:
            flight, is_new = self._board(key)
            if is_new:
                return self._lead(key, flight, compute, deadline)
            release_connections()
            outcome = flight.wait(deadline)
            if outcome is not None:
                return settle(outcome, Role.FOLLOWER, compute)
        return compute(), Role.LEADER

    def _board(self, key: str) -> tuple[Flight, bool]:
        with self._guard:
            flight = self._flights.get(key)
            if flight is not None and time.monotonic() < flight.until:
                return flight, False
            flight = self._flights[key] = Flight(self.lock)
            return flight, True

    def _lead(
        self, key: str, flight: Flight, compute: Callable[[], Any], deadline: float
    ) -> tuple[Any, Role]:
        lease = Lease(key, self.lock, self.ttl)
        outcome = Outcome(lease.token)
        try:
            role, found = self._find(lease, deadline)
            if found is not None:
                outcome = found
                return settle(found, role, compute)
            outcome = run(compute, lease)
        finally:
            self._land(key, flight, outcome)
        return settle(outcome, Role.LEADER, lambda: outcome.value)

    def _find(self, lease: Lease, deadline: float) -> tuple[Role, Outcome | None]:
        """What another process has computed, or does now; None where it is this one's turn."""
        with tolerated():
            if (kept := lease.kept()) is not None:
                return Role.CACHED, kept
            return Role.FOLLOWER, lease.obtain(deadline)
        return Role.LEADER, None

    def _land(self, key: str, flight: Flight, outcome: Outcome) -> None:
        """Whoever comes from here on begins anew, before anybody can act on this outcome."""
        with self._guard:
            if self._flights.get(key) is flight:
                del self._flights[key]
        flight.land(outcome)


def run(compute: Callable[[], Any], lease: Lease) -> Outcome:
    """Computes, and tells the other processes."""
    outcome = Outcome(lease.token)
    try:
        outcome = Outcome(lease.token, compute())
    except Exception as error:
        outcome = Outcome(lease.token, error=error, cause=error.__cause__)
    finally:
        with tolerated():  # an error, say, that cannot be pickled: they will meet it themselves
            lease.publish(outcome)
        with tolerated():
            lease.release()
    return outcome


def settle(outcome: Outcome, role: Role, compute: Callable[[], Any]) -> tuple[Any, Role]:
    """What somebody else's outcome is to this one."""
    if outcome.error is not None:
        outcome.error.__cause__ = outcome.cause
        raise outcome.error.with_traceback(None)  # or it would grow with each who raises it
    if outcome.value is None:
        return compute(), Role.LEADER
    return outcome.value, role


@contextmanager
def tolerated() -> Iterator[None]:
    """Clients of caches raise errors of their own; none is worth the request."""
    try:
        yield
    except Exception as error:
        logger.warning("Not shared between processes, as the cache failed: %r", error)
