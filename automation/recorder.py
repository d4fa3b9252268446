"""What a run has to write down, gathered and written in order, one piece at a time.

Output comes by callbacks on the event loop and never waits; where more has come than is written,
the sources are told to pause. No database: `write` is whatever writes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from automation import masking
from automation.lines import SYSTEM, Line
from automation.masking import Mask
from automation.splitting import Splitter

INTERVAL: Final = 0.3  # seconds between two writes, unless much has come
BATCH: Final = 262_144  # bytes of one write, about
HIGH: Final = 1_048_576  # bytes that wait, from which on the sources pause
LOW: Final = 262_144  # and at which they go on
IMPATIENCE: Final = 1.0  # seconds after which a line is shown that has not ended
OVERHEAD: Final = 100  # bytes that a line takes beside its own
SHORTEST: Final = 20  # bytes a line that the limit leaves room for: many more are empty ones


class Source(Protocol):
    def pause(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """New values of the target at this position."""

    position: int
    values: dict[str, Any]


@dataclass(slots=True)
class Batch:
    """What is written in one go; `number` counts a run's from 1. `dropped` is in bytes so far."""

    number: int
    lines: list[Line] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    dropped: int = 0


@dataclass(slots=True)
class _Stream:
    mask: Mask
    splitter: Splitter = field(default_factory=Splitter)
    waits_since: float = 0.0  # what has not ended; 0 where nothing waits


class Recorder:
    """Of one run. `limit` is of its output, in bytes; `hidden` never gets into what is written."""

    def __init__(
        self, write: Callable[[Batch], Awaitable[None]], limit: int, hidden: list[bytes]
    ) -> None:
        self._write = write
        self._limit = limit
        self._room = limit
        self._lines_left = limit // SHORTEST
        self._truncated = False
        self._hidden = hidden
        self._dropped = 0
        self._entries: deque[Line | Change] = deque()
        self._waiting = 0  # bytes
        self._streams: dict[tuple[int, str], _Stream] = {}
        self._sources: set[Source] = set()
        self._paused = False
        self._ended = False
        self._rung = asyncio.Event()
        self._full = asyncio.Event()
        self._number = 0

    def listen_to(self, source: Source) -> None:
        self._sources.add(source)
        if self._paused:
            source.pause()

    def leave(self, source: Source) -> None:
        self._sources.discard(source)
        source.resume()

    def output(self, position: int, stream: str, data: bytes) -> None:
        """What a target printed, as it came."""
        if self._truncated:
            self._dropped += len(data)
            return
        found = self._streams.get((position, stream))
        if found is None:
            found = self._streams[position, stream] = _Stream(Mask(self._hidden))
        lines = found.splitter.feed(found.mask.feed(data))
        if lines or not found.waits_since:
            found.waits_since = time.monotonic()
        self._keep(position, stream, lines)

    def close(self, position: int) -> None:
        """The target prints no more: what waits for the end of its line waits no longer."""
        for key in [key for key in self._streams if key[0] == position]:
            found = self._streams.pop(key)
            rest = found.splitter.feed(found.mask.end())
            self._keep(*key, rest + found.splitter.flush())

    def remark(self, text: str, position: int = 0) -> None:
        """What the portal has to say; it has room beyond the limit."""
        text = masking.masked(text, self._hidden)
        self._add(Line(position, SYSTEM, _now(), f"{text}\n".encode()))

    def change(self, position: int, **values: Any) -> None:
        """A target's new values; what it printed before is written before or with them."""
        if "error" in values:
            values["error"] = masking.masked(values["error"], self._hidden)
        self._add(Change(position, values))

    def _keep(self, position: int, stream: str, lines: list[bytes]) -> None:
        now = _now()
        for raw in lines:
            if len(raw) <= self._room and self._lines_left and not self._truncated:
                self._room -= len(raw)
                self._lines_left -= 1
                self._add(Line(position, stream, now, raw))
            else:
                self._truncate(position, stream, now, raw)

    def _truncate(self, position: int, stream: str, now: int, raw: bytes) -> None:
        """What is beyond the limit; before it, what fits of the line that goes over it."""
        room = 0 if self._truncated or not self._lines_left else self._room
        if room:
            self._add(Line(position, stream, now, raw[:room]))
        self._dropped += len(raw) - room
        if not self._truncated:
            self._truncated = True
            full = f"it has {_size(self._limit)}" if self._lines_left else "it has too many lines"
            self.remark(
                f"The log is truncated here: {full}. What is printed from now on is not kept."
            )

    def _add(self, entry: Line | Change) -> None:
        self._entries.append(entry)
        self._waiting += OVERHEAD + (len(entry.raw) if isinstance(entry, Line) else 0)
        self._rung.set()
        if self._waiting >= BATCH:
            self._full.set()
        if self._waiting >= HIGH and not self._paused:
            self._paused = True
            for source in self._sources:
                source.pause()

    async def run(self) -> None:
        """Writes until `end` was called and all is written. Raises what `write` raises."""
        while not (self._ended and not self._entries):
            await self._wait(self._rung, IMPATIENCE / 2)
            self._show_what_waits()
            if self._entries:
                await self._write(self._next())
                self._go_on()
                if not self._ended:
                    await self._wait(self._full, INTERVAL)
        if self._dropped:
            await self._write(self._next())

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass

    def end(self) -> None:
        """Nothing comes any more."""
        for position in {position for position, _ in self._streams}:
            self.close(position)
        self._ended = True
        self._rung.set()
        self._full.set()

    def _show_what_waits(self) -> None:
        """A progress bar or a question has no end of line."""
        if self._paused:  # then the end is not here yet because nothing is taken
            return
        now = time.monotonic()
        for key, found in self._streams.items():
            if found.waits_since and now - found.waits_since > IMPATIENCE:
                found.waits_since = 0.0
                self._keep(*key, found.splitter.flush(final=False))

    def _next(self) -> Batch:
        self._number += 1
        batch = Batch(self._number, dropped=self._dropped)
        taken = 0
        while self._entries and taken < BATCH:
            entry = self._entries.popleft()
            if isinstance(entry, Line):
                batch.lines.append(entry)
                taken += OVERHEAD + len(entry.raw)
            else:
                batch.changes.append(entry)
                taken += OVERHEAD
        self._waiting -= taken
        if not self._entries:
            self._rung.clear()
        if self._waiting < BATCH:
            self._full.clear()
        return batch

    def _go_on(self) -> None:
        if self._paused and self._waiting <= LOW:
            self._paused = False
            for found in self._streams.values():
                found.waits_since = time.monotonic()
            for source in self._sources:
                source.resume()


def _now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def _size(count: int) -> str:
    return f"{count / 1_048_576:.3g} MiB" if count >= 1_048_576 else f"{count / 1024:.3g} KiB"
