"""What an attacker may send as the last id: answered as the protocol says, and harmless."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User

from events.hub import Hub
from events.tests.streaming import connected, streaming

# On one stack: what an id may be is of no database.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.asyncio,
    pytest.mark.stack("embedded"),
]

NO_INTEGER = "Last-Event-ID (last_event_id): must be a decimal integer."
NO_IDS = [
    "-1",
    "+5",
    " 5",
    "5 ",
    "5\t",
    "0x10",
    "1_000",
    "1e3",
    "5.0",
    "abc",
    "1\r\nX: y",
    "1\n\nevent: server.deleted\ndata: {}\n\n",
    "\x00",
    "5\x00",
    "\N{FULLWIDTH DIGIT FIVE}",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "\N{SUPERSCRIPT TWO}",
    "5, 6",
    "x" * 1_000_000,
    "1;DROP TABLE events_event",
]
BEYOND = ["1", str(2**63 - 1), str(2**63), "1" + "0" * 30, "9" * 100_000]


@pytest.mark.parametrize("text", NO_IDS)
@pytest.mark.parametrize("by", ["header", "parameter"])
async def test_what_is_no_integer_is_refused_by_name(
    hub: Hub, reader: User, text: str, by: str
) -> None:
    header = {"last_event_id": text.encode().decode("latin-1")} if by == "header" else {}
    query = f"last_event_id={quote(text)}" if by == "parameter" else ""
    async with connected(reader, query, **header) as client:
        await client.until(lambda: client.ended)
        assert client.status == 400
        assert json.loads(client.body) == {"detail": NO_INTEGER}
        assert not hub.streams


@pytest.mark.parametrize("text", BEYOND)
@pytest.mark.parametrize("by", ["header", "parameter"])
async def test_what_is_beyond_the_head_is_reset(hub: Hub, reader: User, text: str, by: str) -> None:
    header = {"last_event_id": text} if by == "header" else {}
    query = f"last_event_id={text}" if by == "parameter" else ""
    async with streaming(reader, query, **header) as client:
        reset = await client.until_frame("stream.reset")
        assert reset == {"reason": "unknown_cursor", "cursor": 0}
        assert text.encode() not in client.body.partition(b"event: stream.reset")[2]


async def test_two_headers_are_no_integer(hub: Hub, reader: User) -> None:
    """Neither is passed over: not even where both are good."""
    async with connected(reader, **{"last-event-id": "0", "last_event_id": "0"}) as client:
        await client.until(lambda: client.ended)
        assert client.status == 400
        assert json.loads(client.body) == {"detail": NO_INTEGER}


@pytest.mark.parametrize("by", ["header", "parameter"])
async def test_an_empty_one_is_none(hub: Hub, reader: User, by: str) -> None:
    """As a browser's before its first event: the stream starts at the head."""
    header = {"last_event_id": ""} if by == "header" else {}
    async with streaming(reader, "last_event_id=" if by == "parameter" else "", **header) as client:
        assert client.status == 200
        assert b"stream.reset" not in client.body
