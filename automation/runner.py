"""A worker process's runs: one thread, one event loop, as many runs as it may carry.

The database is the queue. Tasks only ring: no run holds one of Celery's threads for its length.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db import close_old_connections

from automation import claims
from automation.execution import Cause, Execution
from automation.remote import START, STOP

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOK: Final = 1.0  # seconds between two looks whether a run is to be cancelled
LOOKS_A_BEAT: Final = 4  # looks between two signs of life
WRITERS: Final = 4  # threads that write what runs bring
# Seconds that runs take, at the most, once they were told to end: a script that is just being
# begun, and two attempts to end it, the second by another login.
LEAVE: Final = START + 2 * STOP + 15.0


class Runner:
    """Call `wake()` where runs may wait; the thread starts with the first call.

    A process that forks has no thread in the child, so the child begins anew.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a signal may come while this thread has it
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung = asyncio.Event()
        self._executions: dict[uuid.UUID, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    def wake(self) -> None:
        """Asks for a look at the queue. Returns at once."""
        with self._lock:
            if self._draining:
                return
            if self._thread is None or not self._thread.is_alive():
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(ready,), name="runner", daemon=True
                )
                self._thread.start()
                ready.wait()
        self._call(self._rung.set)

    def drain(self) -> None:
        """Begins no more runs; those under way have AUTOMATION_DRAIN_SECONDS to end by themselves.

        Returns at once.
        """
        with self._lock:
            self._draining = True
        self._call(self._rung.set)

    def stop(self) -> None:
        """Drains, and waits for the end of all runs."""
        self.drain()
        if self._thread is not None:
            self._thread.join(settings.AUTOMATION_DRAIN_SECONDS + LEAVE)

    def _call(self, function: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(function)

    def _run(self, ready: threading.Event) -> None:
        try:
            with (
                ThreadPoolExecutor(WRITERS, "runner-write") as self._writers,
                # Of its own: signs of life wait for nobody's log.
                ThreadPoolExecutor(1, "runner-pulse") as self._pulse,
                asyncio.Runner() as runner,
            ):
                self._loop = runner.get_loop()
                self._rung = asyncio.Event()
                ready.set()
                runner.run(self._main())
        finally:
            ready.set()  # where it could not begin: nobody is to wait for it

    async def _main(self) -> None:
        beating = asyncio.create_task(self._beat())
        while not self._draining:
            await self._rung.wait()
            self._rung.clear()
            await self._take()
        await self._leave()
        beating.cancel()

    async def _take(self) -> None:
        """Begins what waits, if there is room. What fails now, the next ring tries again."""
        room = settings.AUTOMATION_MAX_RUNS - len(self._executions)
        if room <= 0 or self._draining:
            return
        name = f"{socket.gethostname()}:{os.getpid()}"
        try:
            runs = await self._in_thread(claims.take, room, name)
        except Exception:  # the thread must outlive whatever it meets
            logger.exception("No runs can be begun")
            return
        for run in runs:
            assert run.claim
            execution = self._executions[run.claim] = Execution(run, self._in_thread)
            task = asyncio.create_task(self._carry(run.claim, execution))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, claim: uuid.UUID, execution: Execution) -> None:
        try:
            await execution.execute()
        finally:
            del self._executions[claim]
            self._rung.set()

    async def _leave(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=settings.AUTOMATION_DRAIN_SECONDS)
        for execution in list(self._executions.values()):
            execution.stop(Cause.DRAINED)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _beat(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK)
            if not self._executions:
                continue
            looks += 1
            try:
                await self._look(beat=looks % LOOKS_A_BEAT == 0)
            except Exception as error:
                logger.warning("The runs under way cannot be looked at: %r", error)

    async def _look(self, *, beat: bool) -> None:
        """Lets each run know of its cancel, and of the loss of its claim."""
        carried = dict(self._executions)
        work = functools.partial(claims.pulse, list(carried), beat=beat)
        held = await self._loop_run(self._pulse, work)
        for execution in carried.values():
            execution.heed(held)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await self._loop_run(self._writers, functools.partial(function, *arguments))

    @staticmethod
    async def _loop_run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, _with_connection, work)


def _with_connection(work: Callable[[], T]) -> T:
    """No thread keeps a connection while it waits for work."""
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()


runner = Runner()
