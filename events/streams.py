"""One reader's place in the log: a cursor, an audience, a filter, and no queue."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from events import metrics, wire
from events.cohorts import Cohort, Filter

if TYPE_CHECKING:
    from events.hub import Hub
    from events.readers import Reader


class Probe(NamedTuple):
    """An event whose delivery is timed; `emitted_at` is in seconds since the epoch."""

    position: int
    emitted_at: float


def nothing() -> None:
    pass


class Stream:
    """A reader's cursor in the hub. Read it with `next_chunk()`, and tell it `sending()` and
    `sent()` around each write, so that the hub can find readers that take no bytes.

    Times are of the loop's clock, in seconds.
    """

    __slots__ = (
        "abort",
        "carried",
        "closing",
        "cohort",
        "cursor",
        "end_reason",
        "ends_at",
        "heartbeat_at",
        "hub",
        "lost",
        "outcome",
        "probe",
        "reader",
        "retry",
        "sending_since",
        "waiter",
    )

    def __init__(self, hub: Hub, reader: Reader, wanted: Filter, cursor: int) -> None:
        self.hub = hub
        self.reader = reader
        self.cohort = Cohort(frozenset(), wanted)  # until the reader's rights are known
        self.cursor = cursor
        self.lost = ""
        self.waiter: asyncio.Future[None] | None = None
        self.closing: str = ""
        self.retry: int | None = None
        self.sending_since: float | None = None
        self.abort: Callable[[], object] = nothing
        self.ends_at = float("inf")
        self.end_reason = ""
        self.outcome = "left"  # why it ended: by its client, unless we did it
        self.heartbeat_at = 0.0
        self.carried = 0  # events in the chunk under way
        self.probe: Probe | None = None
        self._schedule_heartbeat()

    def sending(self) -> None:
        self.sending_since = self.hub.time()

    def sent(self, size: int = 0) -> None:
        """To be called after each write, with its bytes."""
        self.sending_since = None
        self._schedule_heartbeat()
        self.hub.sent_bytes += size
        if self.carried:
            self.hub.delivered += self.carried
            self.carried = 0
            self._answer_probe()

    def _schedule_heartbeat(self) -> None:
        """The next heartbeat is due after the configured silence, or up to a fifth sooner.

        The jitter is what keeps the heartbeats of many streams from being one wave.
        """
        self.heartbeat_at = self.hub.time() + self.hub.heartbeat * random.uniform(0.8, 1.0)

    def _answer_probe(self) -> None:
        if self.probe is not None and self.probe.position <= self.cursor:
            metrics.delivery_lag.observe(time.time() - self.probe.emitted_at)
            self.probe = None

    async def next_chunk(self) -> bytes:
        """Waits for the next bytes to send; b"" once, after `stream.closing` was returned."""
        while True:
            # A reset first: by the time the client is back, its cursor may be a good one again.
            if self.closing != "closed" and (self.lost or self.cursor > self.hub.ring.end):
                return self._reset(self.lost or "unknown_cursor")
            if self.closing:
                return self._closing_chunk()
            chunk = await self._read()
            if chunk:
                return chunk
            if self.hub.time() >= self.heartbeat_at:
                return wire.heartbeat_frame(self.cursor)
            if self.cursor >= self._limit():
                await self._wait()

    async def admitted(self) -> bool:
        """Waits until the reader's rights are known; False where the stream must not begin.

        It ends before it begins where there are no rights, or `closing` says why.
        """
        while not self.reader.is_current and not self.closing:
            await self._wait()
        return self.reader.rights is not None and not self.closing

    def _limit(self) -> int:
        return self.reader.limit(self.hub.flushed)

    async def _read(self) -> bytes:
        limit = self._limit()
        if self.cursor >= limit:
            return b""
        if self.cursor >= self.hub.ring.start:
            ring, key = self.hub.ring, self.reader.key
            found = self.hub.chunks.get(ring, self.cohort, key, self.cursor, limit)
            chunk, self.cursor, self.carried = found
            return chunk
        return await self._read_from_log(limit)

    async def _read_from_log(self, limit: int) -> bytes:
        cohort = self.cohort
        entries = await self.hub.replay(self.cursor, limit, cohort, self.reader.key)
        if self.cohort is not cohort:
            return b""  # read for other rights than those of now
        if not entries or entries[0].position != self.cursor + 1:
            return self._reset("retention")
        chunk, last = self.cohort.chunk(entries, self.reader.key)
        self.cursor = last or entries[-1].position
        self.carried = wire.count_frames(chunk)
        return chunk

    def _reset(self, reason: str) -> bytes:
        metrics.resets.add(of=reason)
        self.lost = ""
        self.cursor = self.hub.flushed
        return wire.reset_frame(reason, self.cursor)

    def _closing_chunk(self) -> bytes:
        reason, self.closing = self.closing, "closed"
        return b"" if reason == "closed" else wire.closing_frame(reason, self.retry)

    async def _wait(self) -> None:
        """A future of its own for each wait: one cancelled reader must not cancel the others."""
        if self.probe is not None and self.probe.position <= self.cursor:
            self.probe = None  # nothing here was for this reader
        self.waiter = self.hub.loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def admit(self, cohort: Cohort) -> None:
        """From here on, these rights decide."""
        self.cohort = cohort
        self.wake()

    def lose(self, reason: str) -> None:
        """What lies after the cursor is no more what it was: the reader must refetch."""
        self.lost = self.lost or reason
        self.wake()

    def end_at(self, moment: float, reason: str) -> None:
        """Ends the stream at a time of the loop's clock, or at an earlier one set before."""
        if moment < self.ends_at:
            self.ends_at, self.end_reason = moment, reason

    def end(self, reason: str, retry: int | None = None) -> None:
        """Ends the stream with `stream.closing`; the first reason given holds."""
        if not self.closing:
            self.closing, self.retry, self.outcome = reason, retry, reason
            self.wake()
