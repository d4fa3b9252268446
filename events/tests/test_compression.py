"""Streams in gzip: the same frames, each readable as it comes, compressed once for all."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import pytest
from django.contrib.auth.models import User

from events import compression
from events.api import aemit
from events.cohorts import CACHED_BYTES, CACHED_CHUNKS, CHUNK_BYTES, Chunks
from events.compression import HEADER, deflated
from events.hub import Hub
from events.parameters import accepts_gzip
from events.tests.conftest import NoteEvent
from events.tests.streaming import streaming

CHUNKS = [b"", b"x", b"id: 1\n\n" * 900, bytes(range(256)) * 80, "Grüße 🚀\n".encode() * 3]


@pytest.mark.parametrize("chunks", list(itertools.permutations(CHUNKS, 3)))
def test_blocks_join_in_any_order_and_each_is_readable_as_it_comes(chunks: Any) -> None:
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(HEADER) == b""
    for chunk in chunks:
        assert reader.decompress(deflated(chunk)) == chunk
    assert not reader.eof


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("deflate, gzip ; q=0.001", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0, gzip", True),
        ("identity", False),
        ("br", False),
        ("gzipped", False),
        ("gzip;q=2", False),
        ("gzip;level=9", False),
        (",;, ;q=", False),
    ],
)
def test_what_a_client_accepts(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


def test_bytes_are_compressed_once_for_all_who_are_sent_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compressed: list[bytes] = []

    def deflate(chunk: bytes) -> bytes:
        compressed.append(chunk)
        return deflated(chunk)

    monkeypatch.setattr(compression, "deflated", deflate)
    chunks = Chunks()
    assert {chunks.deflated(b"a") for _ in range(1000)} == {deflated(b"a")}
    assert compressed == [b"a"]


def test_what_was_compressed_does_not_pile_up() -> None:
    chunks = Chunks()
    for number in range(3 * CACHED_CHUNKS):
        chunks.deflated(b"%d" % number * CHUNK_BYTES)
        assert chunks.deflated.size <= CACHED_BYTES
    chunks.clear()
    assert chunks.deflated.size == 0


def test_large_events_that_are_replayed_do_not_pile_up() -> None:
    chunks = Chunks()
    sizes = []
    for number in range(20):
        chunks.http_chunk(b"%d" % number * 2**20)
        sizes.append(chunks.http_chunk.size)
    assert max(sizes) < CACHED_BYTES + 5 * 2**20


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_a_stream_in_gzip_has_the_frames_of_any_other(hub: Hub, reader: User) -> None:
    async with (
        streaming(reader) as plain,
        streaming(reader, accept_encoding="gzip, br") as first,
        streaming(reader, accept_encoding="gzip") as second,
    ):
        assert "content-encoding" not in plain.headers
        assert plain.headers["vary"] == first.headers["vary"] == "accept-encoding"
        assert first.headers["content-encoding"] == "gzip"
        assert first.raw.startswith(HEADER)
        for number in range(5):
            text = f"{number} " + "long " * 200
            await aemit(NoteEvent.WRITTEN, {"text": text})
            # Each arrives at once, not with the next.
            await first.until(lambda text=text: text in first.texts)
        for client in (plain, second):
            await client.until(lambda client=client: len(client.texts) == 5)
        assert first.body == second.body == plain.body[: len(first.body)]
        assert len(first.raw) < len(first.body) / 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_heartbeats_and_endings_are_coded_too(hub: Hub, reader: User) -> None:
    hub.heartbeat = 0.1
    async with streaming(reader, accept_encoding="gzip") as client:
        await client.until_frame("heartbeat")
        next(iter(hub.streams)).end("lifetime")
        await client.until(lambda: client.ended)
        assert client.frames[-1] == b'event: stream.closing\ndata: {"reason":"lifetime"}\n\n'


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_what_is_replayed_from_the_log_is_coded_too(small_ring: Hub, reader: User) -> None:
    for number in range(9):
        await aemit(NoteEvent.WRITTEN, {"text": str(number)})
    async with streaming(reader, "last_event_id=0", accept_encoding="gzip") as client:
        await client.until_texts(*"012345678")
        assert client.headers["content-encoding"] == "gzip"


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_where_compression_is_off_nothing_tells_of_it(hub: Hub, reader: User) -> None:
    hub.compress = False
    async with streaming(reader, accept_encoding="gzip") as client:
        assert not {"content-encoding", "vary"} & set(client.headers)
        assert client.raw.startswith(b"retry: 3000\n")
