"""The relay: one background thread a process that places committed events and publishes them.

Many commits share one sequencing transaction: the thread takes whatever has been committed by
the time it looks.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Coroutine
from typing import Any, Final

from django.db import connection

from events import layer, log, metrics, wire
from events.subscriptions import add_missing_rows, first_wanted
from events.waker import waker

logger = logging.getLogger(__name__)

PUBLISH_TIMEOUT: Final = 1.0  # seconds until a layer that does not answer counts as failed
LAYER_PAUSE: Final = 2.0  # seconds for which a layer that failed is left alone
EXIT_TIMEOUT: Final = 2.0  # seconds a process that ends waits for its last events
RETRY_DELAY: Final = 0.2  # seconds before the database is tried again


class Relay:
    """Call `ring()` after a commit; the thread starts with the first call.

    A process that forks has no thread in the child, so the child begins anew.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._layer_retry_at = 0.0
        self._start_lock = threading.Lock()
        self._rung = threading.Event()
        self._rounds = threading.Condition()
        self._begun = self._placed = 0  # numbers of rounds
        self._stopping = False
        self._has_rows = False  # every subscription registered here, as far as is known
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ring(self) -> None:
        """Asks for a look at the log. Returns at once and never fails."""
        self._rung.set()
        if self._thread is None or not self._thread.is_alive():
            with self._start_lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
                    self._thread.start()
                    atexit.register(self.stop)

    def placed(self, timeout: float) -> bool:
        """Waits until everything that was committed before this call has its position.

        Rings, too. False where that took longer than `timeout` seconds, as without a database.
        """
        with self._rounds:
            awaited = self._begun + 1  # one under way may have looked before the commit
            self.ring()
            return self._rounds.wait_for(lambda: self._placed >= awaited, timeout)

    def stop(self) -> None:
        """Lets the thread finish what was rung for, for EXIT_TIMEOUT at most."""
        thread, self._stopping = self._thread, True
        self._rung.set()
        if thread is not None:
            thread.join(EXIT_TIMEOUT)
        self._thread, self._stopping = None, False
        waker.stop()  # after the thread, whose last events may have woken it

    def publish_on(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Publishes on this loop from now on, or on the relay's own where it is None.

        An in-memory layer belongs to the loop of its receivers and is not safe from any other.
        """
        self._loop = loop

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            try:
                stopping = False
                while not stopping:
                    self._rung.wait()
                    self._rung.clear()
                    stopping = self._stopping  # read before the last look at the log
                    self._relay_pending(runner)
            finally:
                connection.close()

    def _relay_pending(self, runner: asyncio.Runner) -> None:
        """Places and publishes what is pending. What fails is tried again."""
        try:
            while records := self._place():
                count_placed(records)
                waker.wake(first_wanted(records))
                self._publish(runner, records)
                if len(records) < log.BATCH:
                    break  # what has been committed since then rings
        except Exception:  # the thread must outlive whatever it meets
            logger.exception("Events cannot be placed; trying again")
            connection.close()
            if not self._stopping:
                threading.Event().wait(RETRY_DELAY)
                self._rung.set()

    def _place(self) -> list[log.Record]:
        """One round: a full batch may have left something for the next."""
        with self._rounds:
            self._begun += 1
            number = self._begun
        self._add_rows()
        records = log.sequence()
        if len(records) < log.BATCH:
            with self._rounds:
                self._placed = max(number, self._placed)
                self._rounds.notify_all()
        return records

    def _add_rows(self) -> None:
        """Before anything is placed, as a later row may begin after what it is woken for."""
        if not self._has_rows:
            add_missing_rows()
            self._has_rows = True

    def _publish(self, runner: asyncio.Runner, records: list[log.Record]) -> None:
        """A layer that fails loses nothing: every hub reads the log.

        It is then left alone for a while, because placing must not wait for it each time.
        """
        if time.monotonic() < self._layer_retry_at:
            return
        try:
            self._complete(runner, asyncio.wait_for(layer.publish(records), PUBLISH_TIMEOUT))
            metrics.relayed.add(len(records))
        except Exception as error:
            metrics.layer_failures.add(of="publish")
            self._layer_retry_at = time.monotonic() + LAYER_PAUSE
            logger.warning("The channel layer failed, the log heals it: %r", error)

    def _complete(self, runner: asyncio.Runner, work: Coroutine[Any, Any, None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            runner.run(work)
        else:
            asyncio.run_coroutine_threadsafe(work, loop).result(PUBLISH_TIMEOUT + 1)


def count_placed(records: list[log.Record]) -> None:
    now = time.time()
    metrics.sequenced.add(len(records))
    for record in records:
        metrics.relay_lag.observe(now - wire.parse_timestamp(record.event["timestamp"]))


relay = Relay()
