"""Clients that others made, on a real server: they read, are cut, read on, and are told to refetch.

Nothing of them is ours but a few lines each that do what its documentation shows.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page

from tests.clients.followers import (
    Follower,
    chromium,
    compressed_curl,
    curl,
    eventsource,
    httpx_sse,
)
from tests.portal import Portal, Web
from tests.readers import STREAM, bearer, make_session, make_user
from tests.services import wait_until

pytestmark = pytest.mark.stack("embedded")

BACK = 30  # seconds in which every client has returned

# What retention does: everything so far is in the log no more.
FORGET = """
from events import log
from events.models import Event, LogHead
while log.sequence():
    pass
Event.objects.all().delete()
LogHead.objects.update(floor=log.head().position + 1)
print("HEAD", log.head().position)
"""

Follow = Callable[[Web, str], list[Follower]]


@pytest.fixture
def token(portal: Portal) -> str:
    return make_user(portal, "operator", "Operator")


@pytest.fixture
def follow(portal: Portal, token: str, page: Page, tmp_path: Path) -> Iterator[Follow]:
    """Opens a stream with every client there is: of a server, with a query."""
    session = make_session(portal, "operator")["sessionid"]
    with ExitStack() as running:

        def start(web: Web, query: str = "") -> list[Follower]:
            page.context.add_cookies([{"name": "sessionid", "value": session, "url": web.url()}])
            page.goto(web.url("/healthz"))
            followers = [chromium(page, "frames", f"{STREAM}{query}")]
            for client in (curl, compressed_curl, httpx_sse, eventsource):
                output = tmp_path / f"{client.__name__}.log"
                process, follower = client(web.url(f"{STREAM}{query}"), token, output)
                running.callback(process.kill)
                followers.append(follower)
            return followers

        yield start


def line(name: str) -> str:
    data = {"id": 1, "name": name, "host": "h", "status": "unknown"}
    return json.dumps({"type": "server.created", "data": data}) + "\n"


def create(web: Web, token: str, name: str) -> None:
    body = {"name": name, "host": "127.0.0.1", "username": "root"}
    url = web.url("/api/v1/servers/")
    httpx.post(url, json=body, headers=bearer(token), trust_env=False).raise_for_status()


def names(follower: Follower) -> list[str]:
    return [data["data"]["name"] for data in follower.named("server.created")]


def until_all(followers: list[Follower], ready: Callable[[Follower], object]) -> None:
    """Raises TimeoutError, with the names of the clients that lag behind."""
    try:
        wait_until(lambda: all(map(ready, followers)), BACK, "every client")
    except TimeoutError as error:
        late = {follower.name: follower.read() for follower in followers if not ready(follower)}
        raise TimeoutError(f"not within {BACK} s: {late}") from error


def test_every_client_reads_on_after_its_server_was_killed(
    portal: Portal, token: str, follow: Follow
) -> None:
    web = portal.serve()
    followers = follow(web, "?types=server.created")
    until_all(followers, lambda follower: follower.named("stream.open"))
    create(web, token, "before")
    until_all(followers, names)
    portal.kill(web)
    portal.manage("emit", input=line("meanwhile") + line("meanwhile"))
    web = portal.serve(port=web.port)
    until_all(followers, lambda follower: len(follower.named("stream.open")) > 1)
    create(web, token, "after")
    until_all(followers, lambda follower: "after" in names(follower))
    for follower in followers:
        assert names(follower) == ["before", "meanwhile", "meanwhile", "after"], follower.name
        positions = follower.positions()
        assert positions == list(range(positions[0], positions[0] + 4)), follower.name
        assert not follower.named("stream.reset"), follower.name


@pytest.mark.parametrize(
    ("last_id", "reason"), [("0", "retention"), ("1" + "0" * 30, "unknown_cursor")]
)
def test_every_client_is_told_of_what_cannot_be_replayed(
    portal: Portal, token: str, follow: Follow, last_id: str, reason: str
) -> None:
    portal.manage("emit", input=line("forgotten"))
    head = int(portal.shell(FORGET).split("HEAD")[1])
    web = portal.serve()
    followers = follow(web, f"?types=server.created&last_event_id={last_id}")
    until_all(followers, lambda follower: follower.named("stream.reset"))
    create(web, token, "after")
    until_all(followers, names)
    for follower in followers:
        assert follower.named("stream.reset") == [{"reason": reason, "cursor": head}]
        assert names(follower) == ["after"], follower.name


STREAM_HEAD = rb"""HTTP/1\.1 200 OK\r
date: [^\r\n]+\r
content-type: text/event-stream; charset=utf-8\r
cache-control: no-store\r
x-accel-buffering: no\r
x-request-id: [0-9a-f]{32}\r
vary: accept-encoding\r
transfer-encoding: chunked\r
\r
"""

# Lines of the head of a request, or its query; what the status is, and what the body has in it.
HOSTILE = [
    (b"?last_event_id=-1", b"", 400, b"Last-Event-ID"),
    (b"?last_event_id=1%0d%0aX:%20y", b"", 400, b"Last-Event-ID"),
    (b"?last_event_id=%00", b"", 400, b"Last-Event-ID"),
    (b"?last_event_id=%ef%bc%95", b"", 400, b"Last-Event-ID"),
    (b"?last_event_id=+5", b"", 400, b"Last-Event-ID"),
    (b"?last_event_id=%2b5", b"", 400, b"Last-Event-ID"),
    (b"?last_event_id=" + b"1" * 30_000, b"", 200, b"unknown_cursor"),
    (b"?last_event_id=" + b"1" * 1_000_000, b"", 400, b"text/plain"),
    (b"", b"Last-Event-ID: " + b"9" * 30_000, 200, b"unknown_cursor"),
    (b"", b"Last-Event-ID: " + b"x" * 30_000, 400, b"Last-Event-ID"),
    (b"", b"Last-Event-ID: " + b"9" * 1_000_000, 400, b"text/plain"),
    (b"", b"Last-Event-ID: \xef\xbc\x95", 400, b"Last-Event-ID"),
    (b"", b"Last-Event-ID: 0x10", 400, b"Last-Event-ID"),
    (b"", b"Last-Event-ID: +5", 400, b"Last-Event-ID"),
    (b"", b"Last-Event-ID: 0\r\nLast-Event-ID: 0", 400, b"Last-Event-ID"),
    (b"", b"Last-Event-ID: 0\r\nX: y", 200, b"stream.open"),
    (b"", b"Last-Event-ID: 0 ", 400, b"Last-Event-ID"),
    (b"", b"Last-Event-ID:   0", 200, b"stream.open"),  # no part of the value, by RFC 9112, 5
    (b"", b"Last-Event-ID:", 200, b"stream.open"),
    (b"", b"Last-Event-ID: 0\x00", 400, b"Invalid HTTP request"),
    (b"", b"Last-Event-ID: 0\rX: y", 400, b"Invalid HTTP request"),
]


def test_hostile_ids_on_the_wire_are_answered_and_leave_no_trace(
    portal: Portal, token: str
) -> None:
    web = portal.serve()
    for query, lines, status, expected in HOSTILE:
        answer = exchange(web, token, query, lines, until=expected)
        case = (query + lines)[:60], answer[:300]
        assert answer.startswith(b"HTTP/1.1 %d " % status), case
        assert expected in answer, case
        assert b"X: y" not in answer, case
    assert web.healthy()
    output = web.read_output()
    assert "Traceback" not in output
    assert "ERROR" not in output


@pytest.mark.parametrize("path", [STREAM, f"{STREAM}/"])
def test_the_head_of_a_stream_on_the_wire(portal: Portal, token: str, path: str) -> None:
    answer = exchange(portal.serve(), token, until=b"\n\n", path=path)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.fullmatch(STREAM_HEAD, head + b"\r\n\r\n"), head
    assert re.match(rb"[0-9a-f]+\r\nretry: 3000\nid: \d+\nevent: stream\.open\ndata: ", body)


def exchange(
    web: Web,
    token: str,
    query: bytes = b"",
    lines: bytes = b"",
    *,
    until: bytes,
    path: str = STREAM,
) -> bytes:
    """What is answered up to `until`, or to the end of the connection."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        request = [
            b"GET " + path.encode() + query + b" HTTP/1.1",
            b"Host: 127.0.0.1",
            b"Authorization: Bearer " + token.encode(),
            *filter(None, [lines]),
        ]
        answer = b""
        with suppress(ConnectionError):  # it may be refused before all of it was sent
            connection.sendall(b"\r\n".join(request) + b"\r\n\r\n")
        with suppress(ConnectionError):
            while until not in answer and (part := connection.recv(65_536)):
                answer += part
        return answer
