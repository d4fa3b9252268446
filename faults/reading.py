"""Readers who resume by last id, at one web process and another, whatever happens to them."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple

import httpx

from faults.cast import Person
from tests.readers import OWN_FRAMES, STREAM, bearer

SILENCE: Final = 4.0  # seconds without a byte after which a reader goes elsewhere
RETRY: Final = 0.1  # seconds before a reader that was turned away comes again
NARROW: Final = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]  # bytes: it stalls early


class Receipt(NamedTuple):
    """An event as a reader got it: its position, its name or "", and when, in Unix time."""

    position: int
    name: str
    at: float


@dataclass
class Reader:
    """A person with a stream. `subject` and `packed` are what it asks for.

    A `narrow` one has a small buffer. `cursor` is its last id; `stall` the seconds for which it is
    to take nothing, `cut` whether it is to break off within a frame.
    """

    name: str
    person: Person
    subject: str = ""
    packed: bool = False
    narrow: bool = False
    cursor: int = 0
    stall: float = 0.0
    cut: bool = False
    steady: bool = True  # its events come so often that a pause tells of an interruption
    receipts: list[Receipt] = field(default_factory=list)
    resets: list[tuple[float, str]] = field(default_factory=list)
    refusals: dict[int, int] = field(default_factory=dict)
    connections: int = 0

    async def follow(self, pick: Callable[[int], str], seed: int) -> None:
        """Reads for ever, from one address and another."""
        chance = random.Random(seed)
        for number in count(chance.randrange(2)):
            try:
                await self._read(pick(number), chance)
            except (httpx.HTTPError, OSError):
                await asyncio.sleep(RETRY)

    async def _read(self, url: str, chance: random.Random) -> None:
        headers = bearer(self.person.token) | {"Last-Event-ID": str(self.cursor)}
        headers["Accept-Encoding"] = "gzip" if self.packed else "identity"
        query = {"subject": self.subject} if self.subject else {}
        transport = httpx.AsyncHTTPTransport(socket_options=NARROW if self.narrow else None)
        async with (
            httpx.AsyncClient(transport=transport, timeout=SILENCE, trust_env=False) as client,
            client.stream("GET", f"{url}{STREAM}", headers=headers, params=query) as response,
        ):
            if response.status_code != 200:
                status = response.status_code
                self.refusals[status] = self.refusals.get(status, 0) + 1
                await asyncio.sleep(RETRY)
                return
            self.connections += 1
            await self._take_all(response, chance)

    async def _take_all(self, response: httpx.Response, chance: random.Random) -> None:
        rest = b""
        async for data in response.aiter_bytes():
            if self.stall:
                await asyncio.sleep(self.stall)
                self.stall = 0.0
            if self.cut:
                data = data[: chance.randrange(len(data))]
            *frames, rest = (rest + data).split(b"\n\n")
            for frame in frames:
                self._take(frame.decode())
            if self.cut:
                self.cut = False
                return

    def _take(self, frame: str) -> None:
        lines = dict(line.split(": ", 1) for line in frame.split("\n"))
        if "data" not in lines:  # the frame with `retry`
            return
        name, data = lines["event"], json.loads(lines["data"])
        if name == "stream.reset":
            self.resets.append((time.time(), data["reason"]))
        elif name not in OWN_FRAMES:
            self.receipts.append(Receipt(data["id"], mark(name, data["data"]), time.time()))
        if "id" in lines:
            self.cursor = int(lines["id"])


def mark(type: str, data: dict[str, Any]) -> str:
    """The name that an event was given by its writer, where it tells of it for the first time."""
    fresh = type == "server.created" or (type == "server.updated" and "name" in data["changes"])
    return str(data["name"]) if fresh else ""


def make_readers(people: dict[str, Person], cursor: int) -> list[Reader]:
    """All that read in a fault run, from after this position on."""
    viewer, writer = people["viewer"], people["writer"]
    readers = [
        Reader("viewer", viewer),
        Reader("viewer, gzip", viewer, packed=True),
        Reader("viewer, slow", viewer, narrow=True, steady=False),
        Reader("viewer of one subject", viewer, subject="faults.mark/1", steady=False),
        Reader("admin", writer),
        Reader("admin, gzip", writer, packed=True),
        Reader("auditor", people["auditor"], packed=True, steady=False),
        Reader("outsider", people["outsider"], steady=False),
        Reader("wavering", people["wavering"], steady=False),
    ]
    for reader in readers:
        reader.cursor = cursor
    return readers
