"""The right to compute something, in the cache that the processes share.

Django's caches count in whole seconds, and so does this.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any, Final

from django.core.cache import cache
from django.db import connections

SHORTEST_PAUSE: Final = 0.02  # seconds between two looks at the cache, growing
LONGEST_PAUSE: Final = 0.2  # to this
REMAINS: Final = 5  # seconds for which an outcome that is not kept can be found by who waits for it


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a computation ended: with a value, an error, or neither, where nobody may share it.

    An error's `cause` is kept beside it, as it gets lost where an error is pickled.
    """

    token: str
    value: Any = None
    error: Exception | None = None
    cause: BaseException | None = None


class Lease:
    """One process' share in what a key stands for: to compute it, or to wait for who does.

    It ends after `seconds`, and nothing renews it. So who died is replaced, and who hangs is too,
    which a thread that renews would keep in place; and there is no such thread. Every method
    raises what the cache's client raises.
    """

    def __init__(self, key: str, seconds: int, ttl: int) -> None:
        self.token = uuid.uuid4().hex
        self.seconds = seconds
        self.ttl = ttl
        self._lock_key = f"{key}:lock"
        self._outcome_key = f"{key}:outcome"
        self._earlier = ""
        self._until = 0.0  # by this process' clock; it is not held from then on

    def kept(self) -> Outcome | None:
        """The value of before that may still be used."""
        outcome = self._read()
        if outcome is not None:
            self._earlier = outcome.token
        return outcome if self._is_kept(outcome) else None

    def obtain(self, deadline: float) -> Outcome | None:
        """Waits for the lease, and returns None; or for the outcome of who holds it.

        An outcome that was there when `kept` was called is not one that was waited for. None, and
        no lease, at the deadline of the monotonic clock.
        """
        pause = SHORTEST_PAUSE
        while True:
            taken = self._take()
            # Read after the lock, which its holder gives back after publishing.
            outcome = self._read()
            if self._is_kept(outcome) or (outcome and outcome.token != self._earlier):
                self.release()
                return outcome
            if taken or time.monotonic() >= deadline:
                return None
            release_connections()
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def publish(self, outcome: Outcome) -> None:
        """For those who wait; nothing where the lease is over, as there may be a newer outcome."""
        if self._is_held():
            cache.set(self._outcome_key, outcome, self.ttl if self._is_kept(outcome) else REMAINS)

    def release(self) -> None:
        """Gives the lease back, if it is still this one's."""
        if self._is_held() and cache.get(self._lock_key) == self.token:
            cache.delete(self._lock_key)
        self._until = 0.0

    def _take(self) -> bool:
        asked_at = time.monotonic()
        taken = cache.add(self._lock_key, self.token, self.seconds)
        if taken:
            self._until = asked_at + self.seconds
        return taken

    def _read(self) -> Outcome | None:
        outcome: Outcome | None = cache.get(self._outcome_key)
        return outcome

    def _is_held(self) -> bool:
        return time.monotonic() < self._until

    def _is_kept(self, outcome: Outcome | None) -> bool:
        return bool(self.ttl) and outcome is not None and outcome.value is not None


def release_connections() -> None:
    """Gives the thread's database connections back; one in a transaction is not ours to end."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
