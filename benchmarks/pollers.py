"""Users whose dashboards poll, by the thousand: plain sockets, one connection a user.

Each asks in turn for the figures and for what has happened since its last answer, then waits for
the next of its moments. One that is not answered in time asks no second time meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.load import EVENT

STATS = "/api/v1/dashboard/stats/"
EVENTS = "/api/v1/events/?after="


@dataclass
class Seen:
    """What all users together have done: `requests` by the status of their answers."""

    requests: Counter[str] = field(default_factory=Counter)
    received: int = 0  # bytes, heads included
    sent: int = 0
    latencies: list[float] = field(default_factory=list)  # seconds, of each user and change

    def copy(self) -> Seen:
        return Seen(Counter(self.requests), self.received, self.sent, list(self.latencies))


class User:
    """`keeps`: asks for figures that others may have asked for, and brings If-None-Match."""

    def __init__(self, number: int, port: int, token: str, keeps: bool, seen: Seen) -> None:
        self.number = number
        self.port = port
        self.head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        self.keeps = keeps
        self.seen = seen
        self.cursor = -1
        self.tag = ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def poll(self, interval: float, offset: float) -> None:
        """For ever."""
        due = time.perf_counter() + offset
        while True:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._ask()
            while due <= time.perf_counter():
                due += interval

    async def _ask(self) -> None:
        # Without the number all of a second, and of the same rights, share one answer.
        figures = STATS if self.keeps else f"{STATS}?user={self.number}"
        status, headers, _ = await self._get(figures)
        if status != "200":
            return
        if self.cursor < 0:
            self.cursor = int(headers["x-event-cursor"])
        known = f"If-None-Match: {self.tag}\r\n" if self.keeps and self.tag else ""
        status, headers, body = await self._get(f"{EVENTS}{self.cursor}", known)
        if status == "200":
            self._learn(headers, body)

    def _learn(self, headers: Mapping[str, str], body: bytes) -> None:
        now = time.time_ns()
        answer = json.loads(body)
        for _, moment in EVENT.findall(body.decode()):
            self.seen.latencies.append((now - int(moment)) / 1e9)
        # A tag is good for one address only, and the next one is another where this moves on.
        self.tag = headers["etag"] if answer["cursor"] == self.cursor else ""
        self.cursor = answer["cursor"]

    async def _get(self, path: str, more: str = "") -> tuple[str, dict[str, str], bytes]:
        """Status, headers by their names in small letters, and body."""
        request = f"GET {path} HTTP/1.1\r\n{self.head}{more}\r\n".encode()
        try:
            reader, writer = await self._connected()
            writer.write(request)
            self.seen.sent += len(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except (OSError, asyncio.IncompleteReadError):
            self._streams = None
            self.seen.requests["none"] += 1
            raise
        status = lines[0].split()[1]
        self.seen.requests[status] += 1
        self.seen.received += len(head) + len(body)
        return status, headers, body

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The server closes what is idle for five seconds: then a new one, as browsers do."""
        if self._streams is None or self._streams[0].at_eof():
            if self._streams is not None:
                self._streams[1].close()
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Crowd:
    """Users who poll while this context is open, their moments spread evenly over the interval."""

    def __init__(self, port: int, tokens: Sequence[str], interval: float, keeps: bool) -> None:
        self.seen = Seen()
        self.interval = interval
        self.users = [
            User(number, port, token, keeps, self.seen) for number, token in enumerate(tokens)
        ]

    async def __aenter__(self) -> Crowd:
        step = self.interval / len(self.users)
        self._tasks = [
            asyncio.create_task(user.poll(self.interval, number * step))
            for number, user in enumerate(self.users)
        ]
        return self

    async def wait_until_all_have_polled(self, patience: float) -> None:
        """Raises TimeoutError after so many seconds."""
        async with asyncio.timeout(patience):
            while any(user.cursor < 0 for user in self.users):
                await asyncio.sleep(0.1)

    async def wait_until_told(self, count: int, patience: float) -> None:
        """Until all together have read of so many changes, each user's counted. Raises TimeoutError
        after so many seconds."""
        async with asyncio.timeout(patience):
            while len(self.seen.latencies) < count:
                await asyncio.sleep(0.1)

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for user in self.users:
            user.close()
