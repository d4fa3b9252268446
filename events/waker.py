"""The waker: one thread a process that tells whoever runs subscriptions that one has work.

The relay hands it what it placed. It gathers for a moment, so that a burst is one wake, and it
takes the blame when a broker is down: the relay never waits. One that is called once for many
events is woken as seldom as it is called.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Mapping
from math import inf
from typing import Final

from django.db import close_old_connections, connections
from django.dispatch import Signal

from events.catalogue import catalogue

logger = logging.getLogger(__name__)

INTERVAL: Final = 0.1  # seconds between rounds, in which wakes are gathered
RETRY_DELAY: Final = 1.0  # seconds until wakes that failed are tried again
EXIT_TIMEOUT: Final = 2.0  # seconds that a process which ends waits for its last wakes

# name: of a subscription. position: the lowest of the events it has been woken for. A receiver
# that raises is called again; what is lost with the process, a regular look must find.
subscription_woken = Signal()


class Waker:
    """Call `wake()`; the thread starts with the first call, and anew in a child after a fork."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._sender: Sender | None = None

    def wake(self, positions: Mapping[str, int]) -> None:
        """Takes the lowest new position of each subscription, by name. Returns at once."""
        if not positions:
            return
        with self._lock:
            if self._sender is None or not self._sender.is_alive():
                self._sender = Sender()
                self._sender.start()
            self._sender.take(positions)

    def stop(self) -> None:
        """Lets the thread send what it holds, for EXIT_TIMEOUT at most; the next wake's is new."""
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.finish()
            sender.join(EXIT_TIMEOUT)


class Sender(threading.Thread):
    """One life of the waker. What it holds is its own, so that none that hangs meets the next."""

    def __init__(self) -> None:
        super().__init__(name="waker", daemon=True)
        self._changed = threading.Condition()
        self._pending: dict[str, int] = {}
        self._sent_at: dict[str, float] = {}
        self._failing = False
        self._finishing = False

    def take(self, positions: Mapping[str, int]) -> None:
        with self._changed:
            for name, position in positions.items():
                self._pending[name] = min(position, self._pending.get(name, position))
            self._changed.notify()

    def finish(self) -> None:
        """Asks for a last round."""
        with self._changed:
            self._finishing = True
            self._changed.notify()

    def run(self) -> None:
        try:
            finishing = False
            while not finishing:
                with self._changed:
                    self._changed.wait_for(lambda: self._pending or self._finishing)
                    finishing = self._finishing
                    due = {name: self._pending.pop(name) for name in self._due()}
                failed = self._send(due) if due else {}
                self.take(failed)
                with self._changed:
                    pause = RETRY_DELAY if failed else INTERVAL
                    self._changed.wait_for(lambda: self._finishing, pause)
        finally:
            connections.close_all()

    def _due(self) -> list[str]:
        """All that are pending, but for those that were woken a moment ago and need no more."""
        now = time.monotonic()
        sent_at = {} if self._finishing else self._sent_at
        return [name for name in self._pending if now >= sent_at.get(name, -inf) + pause(name)]

    def _send(self, positions: Mapping[str, int]) -> dict[str, int]:
        """Those that could not be sent."""
        failed: dict[str, int] = {}
        for name, position in positions.items():
            try:
                subscription_woken.send(sender=Waker, name=name, position=position)
                self._sent_at[name] = time.monotonic()
            except Exception as error:  # whatever a broker's client raises
                failed[name] = position
                self._report(error)
        self._failing = bool(failed)
        close_old_connections()  # receivers may run in this thread
        return failed

    def _report(self, error: Exception) -> None:
        """Once for each time that it begins to fail, and not once a second."""
        if not self._failing:
            self._failing = True
            logger.warning("Subscriptions cannot be woken, trying again: %r", error)


def pause(name: str) -> float:
    """Seconds between two wakes of this subscription, at the least."""
    subscriber = catalogue.subscribers.get(name)
    return subscriber.every if subscriber else 0.0


waker = Waker()
# Not every process that wakes has a relay, whose own end would be before: last in, first out.
atexit.register(waker.stop)
