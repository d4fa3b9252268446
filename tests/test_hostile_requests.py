"""Requests larger than any honest one, over real sockets: cut off early, and nobody waits."""

from __future__ import annotations

import socket
from collections.abc import Callable

import httpx
import pytest

from events.tests.streaming import DEADLINE
from tests.portal import Portal, Web
from tests.readers import make_user

pytestmark = pytest.mark.stack("embedded")

PIECE = 8 * 1024  # bytes sent at a time
MOST = 16 * 1024 * 1024  # bytes that a client tries to send: more than sockets hold in between
REQUEST = b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def web(portal_factory: Callable[..., Portal]) -> Web:
    return portal_factory().serve()


def sent_until_cut(web: Web, beginning: bytes, piece: bytes) -> int:
    """How many bytes the server let a client send."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as connection:
        connection.sendall(beginning)
        count = 0
        try:
            while count < MOST:
                connection.sendall(piece)
                count += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
    return count


def answered(web: Web, head: bytes) -> bytes:
    """The status line, or nothing where the connection was cut."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=DEADLINE) as connection:
        try:
            connection.sendall(head + b"\r\n")
            return connection.makefile("rb").readline().strip()
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_a_head_without_end_is_cut_off(web: Web) -> None:
    for beginning, piece in [
        (REQUEST + b"Accept: ", b"a/b;q=1," * (PIECE // 8)),
        (REQUEST, b"x: y\r\n" * (PIECE // 6)),
        (b"GET /?", b"a" * PIECE),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ",
            b"a" * PIECE,
        ),
    ]:
        assert sent_until_cut(web, beginning, piece) < MOST
    assert web.healthy()


def test_a_head_that_is_too_large_opens_nothing(web: Web) -> None:
    for lines, answers in [
        (b"x: %b\r\n" % (b"y" * 20_000), {b"HTTP/1.1 431 Request Header Fields Too Large"}),
        (b"x: y\r\n" * 10_000, {b"HTTP/1.1 431 Request Header Fields Too Large"}),
        (b"x: %b\r\n" % (b"y" * 70_000), {b"HTTP/1.1 400 Bad Request", b""}),
        (b"x: yz\r\n" * 30_000, {b"HTTP/1.1 400 Bad Request", b""}),
        (b"Last-Event-ID: %b\r\n" % (b"x" * 50_000), {b"HTTP/1.1 400 Bad Request"}),
    ]:
        assert answered(web, REQUEST + lines) in answers


def test_a_large_body_is_no_large_head(portal_factory: Callable[..., Portal]) -> None:
    portal = portal_factory()
    token = make_user(portal, "reader", "Viewer")
    web = portal.serve()
    answer = httpx.post(
        web.url("/api/v1/servers/"),
        content=b'{"name": "%b"}' % (b"x" * 500_000),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        timeout=DEADLINE,
        trust_env=False,
    )
    assert answer.status_code == 403
