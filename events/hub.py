"""The hub: one a process, between the log and every open stream.

It receives whole events from the channel layer, keeps the position up to which it holds them
without a gap, repairs gaps from the log, and wakes the streams after a short flush window. It
knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.db import connection
from django.utils import timezone

from events import conf, layer, log, metrics, replay, wire
from events.catalogue import catalogue
from events.cohorts import Chunks, Cohort, Filter
from events.event_map import AccessEvent
from events.log import Entry
from events.log_thread import LogThread
from events.readers import Readers
from events.receiver import Receiver
from events.relay import relay
from events.reports import reporter
from events.rights import rights_of
from events.ring import Ring
from events.streams import Probe, Stream

logger = logging.getLogger(__name__)

WATCH_INTERVAL: Final = 0.04  # seconds between looks at SQLite's data_version
RIGHTS_INTERVAL: Final = 60.0  # seconds in which all rights are read again, changed or not
RIGHTS_SLICE: Final = 200  # users whose rights are read again at a time
SWEEP_INTERVAL: Final = 0.25  # seconds between looks for silent, stalled and overdue streams
REST: Final = 0.25  # of the time that a wave of writes took, until the next one
ARRIVALS_REST: Final = 3.0  # the same while clients arrive
EARLY_ENTRIES: Final = 1000  # the most that wait for what lies between
DRAIN_RETRY: Final = (500, 3000)  # milliseconds in which the clients of a drained process return


class Draining(Exception):
    """This process is about to stop."""


class TooManyStreams(Exception):
    """This process, or this user in it, has as many streams as it may have."""

    def __init__(self, *, of_user: bool) -> None:
        super().__init__("this user" if of_user else "this process")
        self.of_user = of_user


class Hub:
    """Use `await get_hub()`; there is one for each event loop.

    `ring.end` is the last position held without a gap; `flushed` the position up to which streams
    have been woken, never beyond it. `repaired_at` is when it last read what had not arrived.
    Settings are read when the hub is made. Times are of the loop's clock, in seconds.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.window = conf.get("EVENTS_FLUSH_WINDOW")
        self.heartbeat = conf.get("EVENTS_HEARTBEAT")
        self.compress = bool(conf.get("EVENTS_COMPRESSION"))
        self.ring = Ring(int(conf.get("EVENTS_RING_SIZE")), int(conf.get("EVENTS_RING_BYTES")), 0)
        self.flushed = 0
        self.streams: set[Stream] = set()
        self.arriving = 0  # of clients whose streams are about to be opened
        self._readers = Readers(self._read_rights, self._admit)
        self.draining = False
        self.repaired_at: datetime | None = None
        self.head = 0  # of the log, as it was last seen
        # Of this sweep: a million a second want neither lock nor call.
        self.delivered = self.sent_bytes = 0
        self._early: dict[int, Entry] = {}
        self.chunks = Chunks()
        self._gap_timer: asyncio.TimerHandle | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._rests_until = 0.0
        self._reconciliation: asyncio.Task[None] | None = None
        self._log = LogThread("hub-log")
        self._replay = LogThread("hub-replay")  # of its own: who is behind delays nobody else
        self._receiver = Receiver(self._take)
        self._tasks: list[asyncio.Task[None]] = []

    def time(self) -> float:
        return self.loop.time()

    # Life

    async def start(self) -> None:
        """Joins the groups first and reads the log then, so that nothing falls between."""
        relay.publish_on(self.loop)
        await self._receiver.start(catalogue.permissions())
        head, recent = await self._log.run(lambda: (log.head(), log.tail(self.ring.size)))
        position = recent[0].position - 1 if recent else head.position
        self.ring = Ring(self.ring.size, self.ring.limit, position)
        self.ring.extend(recent)
        self._absorb_early()
        self.flushed = self.ring.end
        for job in (
            self._reconcile_regularly,
            self._reread_rights_regularly,
            self._watch_database,
            self._sweep_regularly,
        ):
            self._tasks.append(self.loop.create_task(job()))
        reporter.start("web", self)

    async def stop(self) -> None:
        """Ends every task and thread of the hub; open streams are not told."""
        relay.publish_on(None)
        self._hand_over_counts()
        await asyncio.to_thread(reporter.stop)
        for task in [*self._tasks, *filter(None, [self._reconciliation])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._readers.stop()
        await self._receiver.stop()
        await self._log.stop()
        await self._replay.stop()

    # Events in

    def _take(self, message: dict[str, Any]) -> None:
        self.ingest(layer.entries(message, self.ring.end))

    def ingest(self, entries: Iterable[Entry]) -> None:
        """Takes entries in any order; what is out of order waits for what lies between."""
        for entry in entries:
            if entry.position == self.ring.end + 1:
                self._append(entry)
            elif entry.position > self.ring.end and len(self._early) < EARLY_ENTRIES:
                self._early[entry.position] = entry
        self._absorb_early()
        self._schedule_flush()
        if self._early and self._gap_timer is None:
            self._gap_timer = self.loop.call_later(self.window, self._close_gap)

    def _append(self, entry: Entry) -> None:
        """A change of rights takes effect here: before any stream can read past it."""
        self.ring.append(entry)
        if entry.type == AccessEvent.CHANGED:
            change = wire.parse_event(entry.frame)["data"]
            self._readers.changed(change["user"], entry.position, ended=change["ended"])

    def _close_gap(self) -> None:
        """Messages of two relays overtake each other: only what stays away is read from the log."""
        self._gap_timer = None
        if self._early:
            self.reconcile()

    def _absorb_early(self) -> None:
        while entry := self._early.pop(self.ring.end + 1, None):
            self._append(entry)
        for position in [p for p in self._early if p <= self.ring.end]:
            del self._early[position]

    def reconcile(self) -> asyncio.Task[None]:
        """Reads from the log what the hub lacks; callers at the same time share one reading.

        Shield it where the caller may be cancelled: the task is everyone's.
        """
        if self._reconciliation is None or self._reconciliation.done():
            self._reconciliation = self.loop.create_task(self._reconcile())
            # Nobody may be waiting for it: a failure is then found by the next regular one.
            self._reconciliation.add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )
        return self._reconciliation

    async def _reconcile(self) -> None:
        held = self.ring.end
        head, pending = await self._log.run(log.look)
        self.head = head.position
        if pending:
            relay.ring()
        if head.position < held:  # not the ring's end of now: events arrived during the reading
            self._begin_anew(head.position, "unknown_cursor")
        if self.ring.end < head.position:
            await self._repair(head)
            self._receiver.rejoin()

    async def _repair(self, head: log.Head) -> None:
        while (start := self.ring.end) < head.position:
            entries = await self._log.run(partial(log.read, start, upto=head.position))
            if not entries or entries[0].position > start + 1:
                position = entries[0].position - 1 if entries else head.position
                self._begin_anew(position, "retention")
            self.repaired_at = timezone.now()
            metrics.repairs.add()
            self.ingest(entry for entry in entries if entry.position > self.ring.end)

    def _begin_anew(self, position: int, reason: str) -> None:
        """The log went back, or lost what the hub lacks: every stream is told to refetch, and ends.

        A change of rights, or the end of somebody's credentials, may have been passed over.
        """
        logger.warning("The hub goes from position %s to %s", self.ring.end, position)
        self.ring = Ring(self.ring.size, self.ring.limit, position)
        self._early.clear()
        for stream in self.streams:
            stream.lose(reason)
        self._readers.passed_over(position)
        self._flush()

    async def replay(self, after: int, upto: int, cohort: Cohort, user_key: str) -> list[Entry]:
        """Some entries in (after, upto], which the ring has forgotten; see `replay.read`."""

        def wanted(entry: Entry) -> bool:
            return cohort.admits(entry, user_key)

        return await self._replay.run(lambda: replay.read(after, upto=upto, wanted=wanted))

    # Events out

    def _schedule_flush(self) -> None:
        """The first event after a pause goes at once, those that follow within the window."""
        if self.ring.end > self.flushed and self._flush_timer is None:
            pause = max(self._rests_until - time.monotonic(), 0.0)
            self._flush_timer = self.loop.call_later(pause, self._flush)

    def _flush(self) -> None:
        self._flush_timer = None
        started = time.monotonic()  # uvloop's own clock stands still while it is busy
        self._rests_until = started + self.window
        flushed, self.flushed = self.flushed, self.ring.end
        self.chunks.clear()
        self._place_probe(max(flushed, self.ring.start))
        for stream in self.streams:
            stream.wake()
        self.loop.call_soon(self._rest, started)  # behind all that were woken

    def _rest(self, started: float) -> None:
        """Some of the time is for all else that a process serves, and most while clients arrive."""
        now = time.monotonic()
        share = ARRIVALS_REST if self.arriving else REST
        self._rests_until = max(self._rests_until, now + share * (now - started))

    def _place_probe(self, after: int) -> None:
        """One stream, whichever, times the first event of a flush: more would cost too much."""
        fresh = self.ring.after(after, after + 1)
        if fresh and self.streams:
            emitted = wire.parse_timestamp(wire.parse_event(fresh[0].frame)["timestamp"])
            stream = next(islice(self.streams, random.randrange(len(self.streams)), None))
            stream.probe = stream.probe or Probe(fresh[0].position, emitted)

    # Readers

    @property
    def endings(self) -> int:
        """A mark for `has_ended`."""
        return self._readers.endings

    def has_ended(self, pk: Any, *, since: int) -> bool:
        """Whether credentials of this user may have ended since `endings` was this number."""
        return self._readers.has_ended(pk, since=since)

    async def position(self, last_event_id: int | None) -> int:
        """Where a stream starts: after the id its client names, else at the log's head now.

        A position that the hub does not hold yet is looked for twice: the first reading may have
        begun before the event was placed.
        """
        if last_event_id is None:
            await asyncio.shield(self.reconcile())
            return self.ring.end
        for _ in range(2):
            if last_event_id > self.ring.end:
                await asyncio.shield(self.reconcile())
        return last_event_id

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """A place for a client whose stream is about to be opened.

        Raises Draining or TooManyStreams where one more would not be let in, whoever it is.
        """
        self._check_room(self.arriving)
        self.arriving += 1
        try:
            yield
        finally:
            self.arriving -= 1

    def _check_room(self, arriving: int = 0) -> None:
        if self.draining:
            raise Draining
        if len(self.streams) + arriving >= conf.get("EVENTS_MAX_STREAMS"):
            raise TooManyStreams(of_user=False)

    def open(self, cursor: int, pk: Any, wanted: Filter) -> Stream:
        """A stream of what this user may read after `cursor`. Call `leave` when it ends.

        It delivers nothing until the user's rights, which are read now unless they are known,
        have come: `await stream.admitted()`. Raises Draining or TooManyStreams.
        """
        self._check_room()
        if self._readers.count_streams(pk) >= conf.get("EVENTS_MAX_STREAMS_PER_USER"):
            raise TooManyStreams(of_user=True)
        reader = self._readers.get(pk)
        stream = Stream(self, reader, wanted, cursor)
        if not reader.streams:
            self._receiver.join(reader.key)
        reader.streams.add(stream)
        self.streams.add(stream)
        metrics.opened.add()
        if reader.is_current and reader.rights is not None:
            self._admit(stream, reader.rights)
        return stream

    def leave(self, stream: Stream) -> None:
        """Forgets a stream; once is enough, and more do no harm."""
        if stream not in self.streams:
            return
        self.streams.remove(stream)
        metrics.closed.add(of=stream.outcome)
        stream.reader.streams.remove(stream)
        if not stream.reader.streams:
            self._readers.forget(stream.reader)
            self._receiver.leave(stream.reader.key)

    async def _read_rights(self, pks: list[Any]) -> dict[Any, frozenset[str]]:
        return await self._log.run(lambda: rights_of(pks))

    def _admit(self, stream: Stream, rights: frozenset[str]) -> None:
        stream.admit(self.chunks.cohort(rights, stream.cohort.filter))

    async def drain(self, seconds: float) -> None:
        """Opens no more streams, and ends the open ones one by one over this time."""
        self.draining = True
        reporter.ring()
        streams = list(self.streams)
        for number, stream in enumerate(streams):
            retry = random.randint(*DRAIN_RETRY)
            self.loop.call_later(seconds * number / len(streams), stream.end, "drain", retry)
        while self.streams:
            await asyncio.sleep(SWEEP_INTERVAL / 5)

    # Regular work

    async def _reconcile_regularly(self) -> None:
        while True:
            await asyncio.sleep(conf.get("EVENTS_RECONCILE_INTERVAL"))
            await self._attempt(self.reconcile())

    async def _reread_rights_regularly(self) -> None:
        """Bulk changes of Django's own tables, and other programs', are in nobody's log."""
        while True:
            slices = self._readers.slices(RIGHTS_SLICE) or [[]]
            for readers in slices:
                await asyncio.sleep(RIGHTS_INTERVAL / len(slices))
                await self._attempt(self._readers.read_again(readers))

    async def _watch_database(self) -> None:
        """On SQLite, sees within WATCH_INTERVAL what another process committed."""
        version = None
        while connection.vendor == "sqlite":
            latest = await self._attempt(self._log.run(log.data_version))
            if latest != version:
                version = latest
                await self._attempt(self.reconcile())
            await asyncio.sleep(WATCH_INTERVAL)

    async def _attempt(self, work: Any) -> Any:
        """The result, or None where the database or the layer fails: the next round tries again."""
        try:
            return await work
        except Exception as error:
            logger.warning("The hub could not reach its log or layer: %r", error)
            return None

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_INTERVAL, self.heartbeat / 10))
            self._sweep(self.time())

    def _hand_over_counts(self) -> None:
        metrics.delivered.add(self.delivered)
        metrics.sent_bytes.add(self.sent_bytes)
        self.delivered = self.sent_bytes = 0

    def _sweep(self, now: float) -> None:
        self._hand_over_counts()
        stalled = now - conf.get("EVENTS_WRITE_TIMEOUT")
        for stream in list(self.streams):
            try:
                self._look_after(stream, now, stalled)
            except Exception:  # one stream's trouble must not end the care for the others
                logger.exception("The sweep over the streams met an error")

    def _look_after(self, stream: Stream, now: float, stalled: float) -> None:
        if stream.sending_since is not None and stream.sending_since < stalled:
            stream.outcome = "write_timeout"
            metrics.slow_closes.add()
            stream.abort()
        elif stream.ends_at <= now:
            stream.end(stream.end_reason)
        elif stream.heartbeat_at <= now:
            stream.wake()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Hub]] = WeakKeyDictionary()


async def get_hub() -> Hub:
    """The running loop's hub, started by the first call."""
    loop = asyncio.get_running_loop()
    starting = _hubs.get(loop)
    if starting is None or (starting.done() and (starting.cancelled() or starting.exception())):
        # A context of its own: the first request's id and user are not the hub's.
        starting = _hubs[loop] = loop.create_task(_start(), context=Context())
    return await asyncio.shield(starting)


async def _start() -> Hub:
    hub = Hub()
    try:
        await hub.start()
    except BaseException:
        await hub.stop()
        raise
    return hub
