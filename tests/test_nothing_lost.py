"""Many writers, several readers, real processes: every event once, in order, none missing."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import pytest

from tests.portal import Portal
from tests.readers import OWN_FRAMES, STREAM, frames, make_user

WRITERS = 8
EVENTS = {"embedded": 2_000, "scaled": 10_000}
RECONNECTIONS = 50


async def read_all(url: str, token: str, start: int, count: int) -> list[int]:
    """The positions that one unbroken stream brings after `start`."""
    positions: list[int] = []
    async with aclosing(frames(url, token, str(start))) as stream:
        async for _, name, data in stream:
            assert name != "stream.reset"
            if name not in OWN_FRAMES:
                positions.append(data["id"])
            if len(positions) >= count:
                break
    return positions


async def read_in_pieces(urls: list[str], token: str, start: int, count: int) -> list[int]:
    """The same over many connections, now here and now there, each from where the last broke."""
    chance = random.Random(11)
    positions: list[int] = []
    while len(positions) < count:
        piece = chance.randint(1, count // RECONNECTIONS)  # so many at the least
        last_id = str(positions[-1] if positions else start)
        async with aclosing(frames(chance.choice(urls), token, last_id)) as stream:
            async for _, name, data in stream:
                assert name != "stream.reset"
                if name not in OWN_FRAMES:
                    positions.append(data["id"])
                    piece -= 1
                if not piece or len(positions) >= count:
                    break
    return positions


@pytest.mark.timeout(240)
def test_every_stream_gets_every_event_once_and_in_order(portal: Portal, stack: str) -> None:
    count = EVENTS[stack]
    token = make_user(portal, "reader", "Viewer")
    cursor = "from events.api import event_cursor; print('CURSOR', event_cursor())"
    start = int(portal.shell(cursor).split("CURSOR")[1])
    urls = [portal.serve().url(STREAM), portal.serve().url(STREAM)]
    for number in range(WRITERS):
        arguments = f"write('writer-{number}', {count // WRITERS}, {number})"
        portal.start("shell", "--verbosity=0", "-c", f"import tests.writer as w; w.{arguments}")

    async def read() -> list[list[int]]:
        steady = [read_all(url, token, start, count) for url in urls * 2]
        return await asyncio.gather(*steady, read_in_pieces(urls, token, start, count))

    expected = list(range(start + 1, start + count + 1))
    for positions in asyncio.run(read()):
        assert positions == expected
