"""A client that drives the stream's consumer by raw ASGI messages."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import AccessToken

from events.consumers import CONNECTION, Connection, EventStreamConsumer

DEADLINE = 60  # seconds; must not be met, however busy the machine is


@dataclass
class Client:
    """One connection. `frames` are what arrived, split at blank lines, retry lines included.

    `raw` are the bytes of the answer, `body` what they are without their gzip coding, if any.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""
    body: bytes = b""
    ended: bool = False
    writes: list[int] = field(default_factory=list)
    request: asyncio.Task[None] = field(init=False)  # of the server, which a test may cancel
    _inbox: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    may_write: asyncio.Event = field(default_factory=asyncio.Event)

    _inflater: Any = field(default_factory=lambda: zlib.decompressobj(wbits=31))

    def _decoded(self, data: bytes) -> bytes:
        """All that can be read of it at once."""
        if self.headers.get("content-encoding") != "gzip":
            return data
        inflated: bytes = self._inflater.decompress(data)
        return inflated

    async def receive(self) -> dict[str, Any]:
        return await self._inbox.get()

    async def send(self, message: dict[str, Any]) -> None:
        await self.may_write.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            self.raw += message.get("body", b"")
            self.body += self._decoded(message.get("body", b""))
            self.writes.append(len(message.get("body", b"")))
            if not message.get("more_body"):
                self.ended = True
                self._inbox.put_nowait({"type": "http.disconnect"})
        self._changed.set()

    @property
    def frames(self) -> list[bytes]:
        return [part + b"\n\n" for part in self.body.split(b"\n\n")[:-1]]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The public forms of the events that arrived; not the stream's own frames."""
        return [event for event in map(parse, self.frames) if "type" in event]

    @property
    def texts(self) -> list[str]:
        return [event["data"]["text"] for event in self.events]

    async def until(self, ready: Any) -> None:
        """Waits until `ready()` is true, which is tried whenever something arrives."""
        async with asyncio.timeout(DEADLINE):
            while not ready():
                self._changed.clear()
                await self._changed.wait()

    async def until_texts(self, *texts: str) -> None:
        await self.until(lambda: len(self.texts) >= len(texts))
        assert self.texts == list(texts)

    async def until_frame(self, name: str) -> dict[str, Any]:
        """The data of the last frame of this name."""
        line = f"event: {name}\n".encode()
        await self.until(lambda: any(line in frame for frame in self.frames))
        return parse([frame for frame in self.frames if line in frame][-1])

    def leave(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


def parse(frame: bytes) -> dict[str, Any]:
    data = next(line for line in frame.split(b"\n") if line.startswith(b"data: "))
    parsed: dict[str, Any] = json.loads(data[6:])
    return parsed


def scope(query: str = "", method: str = "GET", **headers: str) -> dict[str, Any]:
    named = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": "/api/v1/events/stream",
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), *named],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }


async def bearer(user: User) -> str:
    token = await sync_to_async(AccessToken.for_user)(user)
    return f"Bearer {token}"


@asynccontextmanager
async def connected(
    user: User | None = None, query: str = "", method: str = "GET", **headers: str
) -> AsyncIterator[Client]:
    """A client whose request is under way; it leaves at the end, and its consumer must end too."""
    if user is not None:
        headers["authorization"] = await bearer(user)
    async with requesting(scope(query, method, **headers)) as client:
        yield client


@asynccontextmanager
async def served_on(connection: Connection, user: User, **headers: str) -> AsyncIterator[Client]:
    """A client as `connected`, of a server that offers this connection."""
    request = scope(authorization=await bearer(user), **headers)
    async with requesting(request | {CONNECTION: connection}) as client:
        yield client


@asynccontextmanager
async def requesting(request: dict[str, Any]) -> AsyncIterator[Client]:
    client = Client()
    client.may_write.set()
    client._inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    application = EventStreamConsumer.as_asgi()
    client.request = asyncio.create_task(application(request, client.receive, client.send))
    try:
        yield client
    finally:
        client.may_write.set()
        client.leave()
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait([client.request])
        if not client.request.cancelled():
            client.request.result()


@asynccontextmanager
async def streaming(user: User, query: str = "", **headers: str) -> AsyncIterator[Client]:
    """A client whose stream is open."""
    async with connected(user, query, **headers) as client:
        await client.until_frame("stream.open")
        yield client
