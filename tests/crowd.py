"""Readers by the thousand over raw sockets: quick ones, and such that stop reading."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.portal import Portal
from tests.readers import STREAM

T = TypeVar("T")

AT_ONCE = 100  # connections that are being opened
RECEIVE_BUFFER = 4096  # bytes: of a stalled reader, so that it stalls early
MARK = b"\nevent: server.created\n"

EMIT = """
from events.api import Draft, emit_many
data = {{"id": 1, "name": "x" * {size}, "host": "h", "status": "unknown"}}
emit_many([Draft("server.created", data) for _ in range({count})])
"""


@contextmanager
def open_files(count: int) -> Iterator[None]:
    """This process's limit for a while, and that of the children it starts meanwhile.

    Raises ValueError where the machine does not allow as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def emit(portal: Portal, count: int, size: int) -> None:
    """So many events, each with a text of so many bytes, in one transaction."""
    portal.shell(EMIT.format(count=count, size=size))


class QuickReader(asyncio.Protocol):
    """Takes whatever comes, at once. `count` is how many events it was, `at` when the last came."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        self.opened = asyncio.Event()
        self._rest = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.opened.set()
        text = self._rest + data
        self._rest = text[1 - len(MARK) :]
        if found := text.count(MARK):
            self.count += found
            self.at = time.perf_counter()


async def open_quick(port: int, token: str) -> QuickReader:
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(QuickReader, "127.0.0.1", port)
    transport.write(request(token))
    await reader.opened.wait()
    return reader


async def open_stalled(port: int, token: str) -> socket.socket:
    """A stream of which the first bytes were read, and nothing is any more."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    await loop.sock_connect(connection, ("127.0.0.1", port))
    await loop.sock_sendall(connection, request(token))
    assert (await loop.sock_recv(connection, 12)).endswith(b" 200")
    return connection


def request(token: str) -> bytes:
    head = f"GET {STREAM} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    return head.encode()


async def open_many(
    count: int, open_one: Callable[[int, str], Awaitable[T]], port: int, token: str
) -> list[T]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn() -> T:
        async with turns:
            return await open_one(port, token)

    return await asyncio.gather(*(in_turn() for _ in range(count)))
