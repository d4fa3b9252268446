"""The stream section of docs/protocol.md as a table: a request, and the bytes that answer it."""

from __future__ import annotations

import asyncio
import re
import zlib
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from rest_framework import serializers
from rest_framework_simplejwt.tokens import AccessToken

from events.api import aemit
from events.catalogue import declare
from events.context import acting
from events.hub import Hub
from events.models import Event, LogHead
from events.tests.conftest import NoteEvent
from events.tests.streaming import Client, bearer, connected, served_on, streaming, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

CHALLENGE = {"www-authenticate": 'Bearer realm="api"'}
ALLOW = {"allow": "GET"}
TYPES = "types: must list event types such as server.created or server.*."
SUBJECT = "subject: must be of the form app.model/key."
TICKET = "ticket: must be as events/ticket/ gave it."
NOT_ACCEPTED = "This resource is text/event-stream."
OPEN = (
    b"retry: 3000\nid: 0\nevent: stream.open\n"
    b'data: {"cursor":0,"heartbeat":30,"types":["note.shouted","note.written"]}\n\n'
)

# The request, its status, what is in its headers beside the constant ones, and its `detail`.
REFUSED: list[tuple[dict[str, str], int, dict[str, str], str]] = [
    ({"query": "types=a b"}, 400, {}, TYPES),
    ({"query": "types=*"}, 400, {}, TYPES),
    ({"query": "types=note.w*"}, 400, {}, TYPES),
    ({"query": "types=note.written%0adata:"}, 400, {}, TYPES),
    ({"query": "types=" + "a" * 2001}, 400, {}, TYPES),
    ({"query": "subject=7"}, 400, {}, SUBJECT),
    ({"query": "subject=a.b/1%0d%0aX: y"}, 400, {}, SUBJECT),
    ({"query": "subject=a.b/" + "1" * 200}, 400, {}, SUBJECT),
    ({"query": "ticket=a%20b"}, 400, {}, TICKET),
    ({"query": "colour=red"}, 400, {}, "colour: unknown parameter."),
    ({"query": "colour"}, 400, {}, "colour: unknown parameter."),
    ({"query": "types=a&types=b"}, 400, {}, "types: given more than once."),
    ({"query": "last_event_id=1&last_event_id=2"}, 400, {}, "last_event_id: given more than once."),
    ({"query": "types=%ff"}, 400, {}, "The query is malformed."),
    ({"query": "&".join(["types=a"] * 21)}, 400, {}, "The query is malformed."),
    ({"host": "evil.example"}, 400, {}, "This host is not served here."),
    ({"accept": "application/json"}, 406, {}, NOT_ACCEPTED),
    ({"accept": "text/html, image/*"}, 406, {}, NOT_ACCEPTED),
    ({"accept": "text/event-stream;q=0"}, 406, {}, NOT_ACCEPTED),
    ({"accept": "text/event-stream;q*=xx'en'1"}, 406, {}, NOT_ACCEPTED),
    ({"method": "POST"}, 405, ALLOW, "Method 'POST' not allowed."),
    ({"method": "PUT"}, 405, ALLOW, "Method 'PUT' not allowed."),
    ({"method": "DELETE"}, 405, ALLOW, "Method 'DELETE' not allowed."),
    ({"method": "OPTIONS"}, 405, ALLOW, "Method 'OPTIONS' not allowed."),
]

# What a request without good credentials brings, and why it is refused.
UNAUTHENTICATED = [
    ("", "Authentication credentials were not provided."),
    ("Basic cjpw", "Authentication credentials were not provided."),
    ("Bearer", "Authorization header must contain two space-delimited values"),
    ("Bearer x", "Given token not valid for any token type"),
    ("Bearer a.b.c", "Given token not valid for any token type"),
    ("Bearer a b", "Authorization header must contain two space-delimited values"),
]

# A text, and its form in a line of `data`.
HOSTILE = [
    ("a\nb", rb"a\nb"),
    ("a\rb", rb"a\rb"),
    ("a\r\n\r\nid: 9", rb"a\r\n\r\nid: 9"),
    ("\n\nevent: x\ndata: {}\n\n", rb"\n\nevent: x\ndata: {}\n\n"),
    ("\u2028\u2029\x85", "\u2028\u2029\x85".encode()),
    ("\x00\x0b\x0c\x1c", rb"\u0000\u000b\f\u001c"),
    ("\ud800ü", rb"\ud800\u00fc"),
    ('"\\', rb"\"\\"),
    ("\ufeffü🚀", "\ufeffü🚀".encode()),
]


class Loose(serializers.Serializer):
    """Takes texts that REST framework's CharField refuses."""

    text = serializers.JSONField()


async def answer(client: Client) -> tuple[int, dict[str, str], bytes]:
    """Without its X-Request-ID, which is another one each time."""
    await client.until(lambda: client.ended)
    headers = dict(client.headers)
    assert re.fullmatch("[0-9a-f]{32}", headers.pop("x-request-id"))
    return client.status, headers, client.body


def refusal(status: int, headers: dict[str, str], detail: str) -> tuple[int, dict[str, str], bytes]:
    body = b'{"detail":"%b"}' % detail.encode()
    constant = {"content-type": "application/json", "cache-control": "no-store"}
    return status, constant | headers | {"content-length": str(len(body))}, body


@pytest.mark.parametrize(("request_", "status", "headers", "detail"), REFUSED)
async def test_a_refused_request_gets_these_bytes_and_no_stream(
    hub: Hub,
    reader: User,
    request_: dict[str, str],
    status: int,
    headers: dict[str, str],
    detail: str,
) -> None:
    async with connected(reader, **request_) as client:
        assert await answer(client) == refusal(status, headers, detail)
        assert not hub.streams


@pytest.mark.parametrize(("token", "detail"), UNAUTHENTICATED)
async def test_without_good_credentials_there_is_no_stream(
    hub: Hub, token: str, detail: str
) -> None:
    headers = {"authorization": token} if token else {}
    async with connected(None, **headers) as client:
        status, got, body = await answer(client)
        assert (status, got, body) == refusal(401, CHALLENGE, detail)
        assert not hub.streams


async def test_an_inactive_user_is_forbidden(hub: Hub, reader: User) -> None:
    authorization = await bearer(reader)
    await User.objects.filter(pk=reader.pk).aupdate(is_active=False)
    async with connected(authorization=authorization) as client:
        assert await answer(client) == refusal(403, {}, "This user is inactive.")


@pytest.mark.parametrize(
    ("limit", "status", "detail"),
    [
        ("EVENTS_MAX_STREAMS", 503, "This process has too many open streams."),
        ("EVENTS_MAX_STREAMS_PER_USER", 429, "This user has too many open streams."),
    ],
)
async def test_limits_are_kept_and_given_back(
    settings: Any, hub: Hub, reader: User, limit: str, status: int, detail: str
) -> None:
    setattr(settings, limit, 1)
    async with streaming(reader), connected(reader) as second:
        assert await returning(second) == refusal(status, {}, detail)
    async with streaming(reader):
        assert len(hub.streams) == 1
    assert not hub.streams


async def test_a_draining_process_opens_no_stream(hub: Hub, reader: User) -> None:
    await hub.drain(0)
    async with connected(reader) as client:
        assert await returning(client) == refusal(503, {}, "This process is about to stop.")


async def returning(client: Client) -> tuple[int, dict[str, str], bytes]:
    """An answer without its Retry-After, which is jittered: a whole number of seconds, 1 to 5."""
    status, headers, body = await answer(client)
    assert headers.pop("retry-after") in {"1", "2", "3", "4", "5"}
    return status, headers, body


async def test_a_stream_is_these_bytes(hub: Hub, reader: User) -> None:
    async with streaming(reader, x_request_id="r-1") as client:
        with acting(lambda: reader):
            event = await aemit(NoteEvent.WRITTEN, {"text": "a"}, subject="notes.note/1")
        await client.until_texts("a")
        stamp = event.timestamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        assert client.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "vary": "accept-encoding",
            "x-request-id": "r-1",
        }
        assert client.body == OPEN + (
            b"id: 1\nevent: note.written\n"
            b'data: {"id":1,"type":"note.written","timestamp":"' + stamp + b'",'
            b'"subject":"notes.note/1","actor":{"id":%d,"username":"reader"},'
            b'"data":{"text":"a"}}\n\n' % reader.pk
        )


@pytest.mark.parametrize("encoding", ["", "identity", "br", "deflate, br, zstd", "gzip;q=0"])
async def test_a_stream_is_not_compressed_for_who_does_not_accept_gzip(
    hub: Hub, reader: User, encoding: str
) -> None:
    async with streaming(reader, accept_encoding=encoding) as client:
        assert "content-encoding" not in client.headers
        assert client.body == OPEN


async def test_silence_is_filled_with_a_heartbeat(hub: Hub, reader: User) -> None:
    hub.heartbeat = 0.2
    async with streaming(reader) as client:
        await aemit(NoteEvent.WHISPERED, {"text": "for nobody"})
        heartbeat = b'id: 1\nevent: heartbeat\ndata: {"cursor":1}\n\n'
        await client.until(lambda: heartbeat in client.body)
        before = b'id: 0\nevent: heartbeat\ndata: {"cursor":0}\n\n'
        assert set(client.frames[1:]) <= {before, heartbeat}


async def test_a_cursor_beyond_the_head_is_reset(hub: Hub, reader: User) -> None:
    async with streaming(reader, last_event_id="7") as client:
        await client.until_frame("stream.reset")
        assert client.frames[1:] == [
            b'id: 0\nevent: stream.reset\ndata: {"reason":"unknown_cursor","cursor":0}\n\n'
        ]
        await aemit(NoteEvent.WRITTEN, {"text": "from here on"})
        await client.until_texts("from here on")


async def test_a_cursor_before_the_floor_is_reset(hub: Hub, reader: User) -> None:
    for text in ("a", "b", "c"):
        await aemit(NoteEvent.WRITTEN, {"text": text})
    async with asyncio.timeout(20):
        while hub.flushed < 3:
            await asyncio.sleep(0.005)
    await LogHead.objects.aupdate(floor=3)
    await Event.objects.filter(position__lt=3).adelete()
    hub._begin_anew(3, "retention")  # as a hub that was started after the floor rose
    async with streaming(reader, last_event_id="1") as client:
        await client.until_frame("stream.reset")
        assert client.frames[1:] == [
            b'id: 3\nevent: stream.reset\ndata: {"reason":"retention","cursor":3}\n\n'
        ]
        await aemit(NoteEvent.WRITTEN, {"text": "from here on"})
        await client.until_texts("from here on")


async def closed(client: Client) -> bytes:
    """What followed the first frame, until the server ended the stream."""
    await client.until(lambda: client.ended)
    return client.body.removeprefix(client.frames[0])


async def test_a_stream_rotates_after_its_lifetime(settings: Any, hub: Hub, reader: User) -> None:
    settings.EVENTS_STREAM_LIFETIME = 0.2
    async with connected(reader) as client:
        closing = b'event: stream.closing\ndata: {"reason":"lifetime"}\n\n'
        assert await closed(client) == closing
        assert not hub.streams


async def test_a_stream_ends_with_its_token(hub: Hub, reader: User) -> None:
    token = AccessToken.for_user(reader)
    token.set_exp(lifetime=timedelta(seconds=1.5))
    async with connected(authorization=f"Bearer {token}") as client:
        closing = b'event: stream.closing\ndata: {"reason":"token_expired"}\n\n'
        assert await closed(client) == closing
        assert not hub.streams


async def test_a_stream_ends_with_its_readers_access(hub: Hub, reader: User) -> None:
    async with streaming(reader) as client:
        reader.is_active = False
        await sync_to_async(reader.save)()
        closing = b'event: stream.closing\ndata: {"reason":"access_revoked"}\n\n'
        assert await closed(client) == closing


async def test_a_drained_stream_is_told_when_to_return(hub: Hub, reader: User) -> None:
    async with streaming(reader) as client:
        await hub.drain(0)
        closing = rb'retry: (\d+)\nevent: stream\.closing\ndata: {"reason":"drain"}\n\n'
        match = re.fullmatch(closing, await closed(client))
        assert match
        assert 500 <= int(match[1]) <= 3000


@pytest.mark.parametrize(("text", "encoded"), HOSTILE)
async def test_hostile_text_stays_in_its_line(
    hub: Hub, reader: User, text: str, encoded: bytes
) -> None:
    declare({NoteEvent.LOOSE: Loose}, permission="everyone")
    async with streaming(reader) as client:
        await aemit(NoteEvent.LOOSE, {"text": text})
        await client.until_texts(text)
        frame = client.body.removeprefix(client.frames[0])
        assert frame.endswith(b'"data":{"text":"%b"}}\n\n' % encoded)
        assert frame.count(b"\n") == 4
        assert b"\r" not in frame


class Held:
    """What `manage.py serve` offers, for a client that takes nothing once `taking` is cleared."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.dropped = False
        self.taking = asyncio.Event()
        self.taking.set()

    async def write(self, chunk: bytes) -> None:
        await self.taking.wait()
        self.chunks.append(chunk)

    def drop(self) -> None:
        self.dropped = True

    @property
    def body(self) -> bytes:
        return dechunked(b"".join(self.chunks))


def dechunked(coded: bytes) -> bytes:
    """The body that is coded by RFC 9112, 7.1, with neither extensions nor trailers."""
    body = b""
    while coded:
        size, _, rest = coded.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n"
        body, coded = body + rest[:length], rest[length + 2 :]
    return body


async def test_readers_of_one_kind_hold_the_same_bytes(hub: Hub, reader: User) -> None:
    first, second = Held(), Held()
    async with served_on(first, reader), served_on(second, reader):
        await until(lambda: len(first.chunks) == len(second.chunks) == 1)
        await aemit(NoteEvent.WRITTEN, {"text": "x" * 5000})
        await until(lambda: len(first.chunks) == len(second.chunks) == 2)
        assert first.chunks[1] is second.chunks[1]


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_connection_carries_what_asgi_would(hub: Hub, reader: User, coding: str) -> None:
    held = Held()
    accepted = {"accept_encoding": coding}
    async with (
        streaming(reader, **accepted) as client,
        served_on(held, reader, **accepted) as other,
    ):
        await until(lambda: bool(held.chunks))
        for text in ("a", "Grüße 🚀", "\r\n0\r\n\r\n"):
            await aemit(NoteEvent.WRITTEN, {"text": text})
        await client.until(lambda: len(client.texts) == 3)
        await until(lambda: held.body == client.raw)
        assert (other.status, other.body) == (200, b"")
        await hub.drain(0)
        await other.until(lambda: other.ended)
    body = zlib.decompressobj(wbits=31).decompress(held.body) if coding == "gzip" else held.body
    assert body.count(b"event: stream.closing") == 1


async def test_a_connection_that_takes_nothing_is_dropped(
    hub: Hub, reader: User, settings: Any
) -> None:
    settings.EVENTS_WRITE_TIMEOUT = 0.2
    held = Held()
    async with served_on(held, reader):
        await until(lambda: bool(held.chunks))
        held.taking.clear()
        await aemit(NoteEvent.WRITTEN, {"text": "a"})
        await until(lambda: held.dropped and not hub.streams)
        assert len(held.chunks) == 1
