"""Runs the checks that are due, many at once, in one process at a time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from typing import Any, Final

from channels.db import database_sync_to_async
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist

from events.api import acting
from servers import checks, leases, ssh
from servers.encryption import DecryptionError
from servers.models import Server

logger = logging.getLogger(__name__)

LEASE: Final = "checks"
STINT: Final = 60.0  # seconds after which no more checks are begun, so that other tasks get a turn
PAUSE: Final = 0.2  # seconds in which free places gather, so that one query fills many

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
        """Fills the free places; returns how many."""
        # Also where no place is free: another process would begin as many beside those under way.
        held = await database_sync_to_async(leases.renew)(LEASE, self.holder)
        free = settings.SERVERS_CHECK_CONCURRENCY - len(self.under_way)
        if not held or not free or ending.is_set() or time.monotonic() > end:
            return 0
        due = await database_sync_to_async(checks.claim_due)(free)
        for server in due:
            task = asyncio.create_task(self._check(server))
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
        self.begun += len(due)
        return len(due)

    async def _check(self, server: Server) -> None:
        try:
            outcome = await check(server, self.keys)
            with acting(lambda: server.check_requested_by):
                await database_sync_to_async(_record)(server, outcome)
        # Of the database: the test stays without a result, and is given up when it is overdue.
        except Exception:
            logger.exception("The check of %s came to nothing", server)


async def check(server: Server, keys: ssh.Keys) -> ssh.Outcome:
    """Tests one server. That its credential cannot be read is an outcome, too."""
    try:
        target = await database_sync_to_async(checks.target)(server)
    except DecryptionError as error:
        shared = server.shared_credential
        named = f"credential “{shared}”" if shared else "credential"
        return ssh.Outcome(False, f"The stored {named} cannot be read: {error}.", None)
    except ObjectDoesNotExist:  # so nobody will record this
        return ssh.Outcome(False, "It was deleted, or given another credential.", None)
    return await ssh.check(target, timeout=settings.SERVERS_TEST_TIMEOUT, keys=keys)


def _record(server: Server, outcome: ssh.Outcome) -> Any:
    assert server.test_id is not None
    return checks.record_outcome(server.pk, server.test_id, outcome)
