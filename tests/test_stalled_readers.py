"""A thousand readers that take nothing beside a thousand quick ones, on one server process."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

import pytest

from tests import crowd
from tests.portal import Portal
from tests.readers import make_user
from tests.services import wait_until

CROWD = 1_000  # readers of each kind
GROWTH = 100 * 1024  # kilobytes: the most that the server may ever have taken for all of them
EVENTS = 1_000
SIZE = 2_000  # bytes of an event, or a little more
WRITE_TIMEOUT = 15  # seconds, for the quick ones to be through before


@pytest.mark.stack("embedded")
def test_stalled_readers_cost_little_and_delay_nobody(
    portal_factory: Callable[..., Portal],
) -> None:
    settings = {"EVENTS_MAX_STREAMS_PER_USER": CROWD, "EVENTS_WRITE_TIMEOUT": WRITE_TIMEOUT}
    portal = portal_factory(**settings)
    quick_token = make_user(portal, "quick", "Viewer")
    stalled_token = make_user(portal, "stalled", "Viewer")
    with crowd.open_files(CROWD):  # which the server has to raise for itself
        web = portal.serve()
    start = web.memory("VmRSS")

    async def read() -> list[socket.socket]:
        stalled = await crowd.open_many(CROWD, crowd.open_stalled, web.port, stalled_token)
        quick = await crowd.open_many(CROWD, crowd.open_quick, web.port, quick_token)
        await asyncio.to_thread(crowd.emit, portal, EVENTS, SIZE)
        async with asyncio.timeout(60):
            while any(reader.count < EVENTS for reader in quick):
                await asyncio.sleep(0.05)
        assert not any(map(is_dropped, stalled))
        for reader in quick:
            assert reader.count == EVENTS
            reader.transport.abort()
        return stalled

    with crowd.open_files(3 * CROWD):
        stalled = asyncio.run(read())
        wait_until(lambda: all(map(is_dropped, stalled)), 60, "the end of the stalled streams")
        for connection in stalled:
            connection.close()
    assert web.counter("slow_closes") == CROWD
    assert web.memory("VmHWM") - start < GROWTH


def is_dropped(connection: socket.socket) -> bool:
    """Whether the server has reset this connection, without reading from it."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
