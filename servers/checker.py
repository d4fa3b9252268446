"""Runs the checks that are due, many at once, in one process at a time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from typing import Final

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error

from events.api import acting
from servers import checks, leases, ssh
from servers.models import Server

logger = logging.getLogger(__name__)

LEASE: Final = "checks"
STINT: Final = 60.0  # seconds after which no more checks are begun, so that other tasks get a turn
PAUSE: Final = 0.2  # seconds in which free places gather, so that one query fills many
RESTART: Final = 2.0  # seconds that a database is given before a result is written once more

ending = threading.Event()  # set where the process is about to end: it begins no more checks


def run_due_checks() -> int:
    """Runs what is due, at most SERVERS_CHECK_CONCURRENCY at once; returns how many it began.

    Where another process is at it, or none is due, it does nothing.
    """
    holder = leases.take(LEASE)
    if holder is None:
        return 0
    try:
        return asyncio.run(Checker(holder).run())
    finally:
        leases.release(LEASE, holder)


class Checker:
    """One process's turn, under the lease of `holder`."""

    def __init__(self, holder: uuid.UUID) -> None:
        self.holder = holder
        self.keys = ssh.Keys()
        self.under_way: set[asyncio.Task[None]] = set()
        self.begun = 0

    async def run(self) -> int:
        """How many checks it began; all of them have ended."""
        end = time.monotonic() + STINT
        while await self._begin(end) or self.under_way:
            await asyncio.wait(self.under_way, timeout=PAUSE)
        return self.begun

    async def _begin(self, end: float) -> int:
        """Fills the free places; returns how many: none where the database fails."""
        try:
            due = await self._claim(end)
        except Error:
            logger.exception("No more checks can be begun")
            return 0
        for server in due:
            task = asyncio.create_task(self._check(server))
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
        self.begun += len(due)
        return len(due)

    async def _claim(self, end: float) -> list[Server]:
        # Also where no place is free: another process would begin as many beside those under way.
        held = await database_sync_to_async(leases.renew)(LEASE, self.holder)
        free = settings.SERVERS_CHECK_CONCURRENCY - len(self.under_way)
        if not held or not free or ending.is_set() or time.monotonic() > end:
            return []
        due: list[Server] = await database_sync_to_async(checks.claim_due)(free)
        return due

    async def _check(self, server: Server) -> None:
        try:
            outcome = await check(server, self.keys)
            if outcome is None:
                return
            with acting(lambda: server.check_requested_by):
                await _record(server, outcome)
        # Of the database: the test stays without a result, and is given up when it is overdue.
        except Exception:
            logger.exception("The check of %s came to nothing", server)


async def check(server: Server, keys: ssh.Keys) -> ssh.Outcome | None:
    """Tests one server; None where nobody waits for this test any more.

    That its credential cannot be read is an outcome, too.
    """
    try:
        target = await database_sync_to_async(checks.target)(server)
    except ssh.CheckError as error:
        return ssh.Outcome(False, str(error), None)
    except Server.DoesNotExist:
        return None
    return await ssh.check(target, timeout=settings.SERVERS_TEST_TIMEOUT, keys=keys)


async def _record(server: Server, outcome: ssh.Outcome) -> None:
    record = database_sync_to_async(checks.record_outcome)
    assert server.test_id is not None
    try:
        await record(server.pk, server.test_id, outcome)
    except Error:
        logger.warning("The result of %s is written once more", server, exc_info=True)
        await asyncio.sleep(RESTART)
        await record(server.pk, server.test_id, outcome)
