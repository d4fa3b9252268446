"""Web processes are replaced one after the other, under load: readers lose nothing by it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx
import pytest

from tests.emitter import Emitter
from tests.portal import Portal
from tests.readers import OWN_FRAMES, STREAM, bearer, connection, frames, make_user
from tests.services import wait_until
from tests.test_commands import children

WEBS = 4
LAST = 1_000_000  # the number of the event that ends a test
RETRY = range(500, 3001)  # milliseconds after which a drained client is asked to return


@dataclass
class Reader:
    """A user with a stream, opened again wherever it was ended or refused.

    `numbers` and `positions` are those of the events that came; `endings` the reason and the
    retry of each stream that the server ended, None for one that broke.
    """

    token: str
    may_read: Callable[[dict[str, Any]], bool]
    query: str = ""
    last_id: str = "0"
    numbers: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    endings: list[tuple[str, int | None] | None] = field(default_factory=list)
    refusals: list[httpx.Response] = field(default_factory=list)

    async def follow(self, urls: Iterator[str]) -> None:
        """Reads until the last event, at one address after the other."""
        while LAST not in self.numbers[-1:]:
            try:
                await self._read(next(urls))
            except httpx.TransportError:  # nobody listens there now
                await asyncio.sleep(0.02)
            except httpx.HTTPStatusError as error:
                self.refusals.append(error.response)

    async def _read(self, url: str) -> None:
        async with aclosing(connection(url, self.token, self.last_id, self.query)) as stream:
            async for event in stream:
                self.last_id = event.id
                assert event.event != "stream.reset"
                if event.event == "stream.open":
                    self.endings.append(None)
                elif event.event == "stream.closing":
                    self.endings[-1] = event.json()["reason"], event.retry
                elif event.event not in OWN_FRAMES:
                    self._take(event.json())
                if LAST in self.numbers[-1:]:
                    self.endings.pop()
                    return

    def _take(self, event: dict[str, Any]) -> None:
        self.positions.append(event["id"])
        self.numbers.append(event["data"]["id"])

    def check(self, written: list[dict[str, Any]]) -> None:
        """Everything that this user may read, once and in order, and no stream broke off."""
        assert self.numbers == [event["data"]["id"] for event in written if self.may_read(event)]
        assert self.positions == sorted(set(self.positions))
        for ending in self.endings:
            assert ending is not None
            assert ending[0] == "drain"
            assert ending[1] in RETRY
        for refusal in self.refusals:
            assert refusal.status_code == 503
            assert int(refusal.headers["retry-after"]) > 0


def user_id(token: str) -> int:
    return int(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["user_id"])


def event(number: int, outsider: int) -> dict[str, Any]:
    """Of two types and three subjects; some for everyone, and some for the outsider alone."""
    made: dict[str, Any] = {
        "type": ("server.created", "server.deleted")[number % 2],
        "subject": f"servers.server/{number % 3}",
        "data": {"id": number, "name": "n", "host": "h", "status": "unknown"},
    }
    if number == LAST or number % 7 == 0:
        made["permissions"] = []
    elif number % 5 == 0:
        made["users"] = [outsider]
    return made


class Scene:
    """A cast of readers with different rights and filters, and an emitter for them."""

    def __init__(self, portal: Portal) -> None:
        viewer = make_user(portal, "viewer", "Viewer")
        outsider = make_user(portal, "outsider")
        admin = make_user(portal, "admin", superuser=True)
        self.outsider = user_id(outsider)
        self.portal = portal
        last = event(LAST, self.outsider)
        about, of_type = last["subject"], last["type"]
        self.readers = [
            Reader(viewer, lambda e: "users" not in e),
            Reader(viewer, lambda e: "users" not in e),
            Reader(
                viewer, lambda e: "users" not in e and e["type"] == of_type, f"?types={of_type}"
            ),
            Reader(
                viewer, lambda e: "users" not in e and e["subject"] == about, f"?subject={about}"
            ),
            Reader(admin, lambda e: "users" not in e),
            Reader(outsider, lambda e: "users" in e or "permissions" in e),
        ]

    async def play(self, urls: list[str], restart: Callable[[], None]) -> None:
        """Everybody reads, from one address and another, while `restart` does its work."""
        with Emitter(self.portal, lambda number: event(number, self.outsider)) as emitter:
            places = [cycle(urls[n % len(urls) :] + urls[: n % len(urls)]) for n in range(6)]
            reading = [
                asyncio.create_task(reader.follow(place))
                for reader, place in zip(self.readers, places, strict=True)
            ]
            async with asyncio.timeout(30):
                while not all(reader.numbers for reader in self.readers):
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(restart)
            await asyncio.to_thread(emitter.finish, event(LAST, self.outsider))
            async with asyncio.timeout(30):
                await asyncio.gather(*reading)
        written = [event(number, self.outsider) for number in [*range(emitter.written), LAST]]
        for reader in self.readers:
            reader.check(written)


@pytest.mark.stack("scaled")
def test_readers_lose_nothing_while_four_servers_are_replaced(
    portal_factory: Callable[..., Portal],
) -> None:
    portal = portal_factory(EVENTS_DRAIN_SECONDS=0.3)
    scene = Scene(portal)
    with ThreadPoolExecutor() as pool:
        webs = list(pool.map(lambda _: portal.serve(), range(WEBS)))

    def restart() -> None:
        for web in webs:
            web.send_signal(signal.SIGTERM)
            assert web.wait() == 0
            portal.serve(port=web.port)

    asyncio.run(scene.play([web.url(STREAM) for web in webs], restart))
    ended = [ending for reader in scene.readers for ending in reader.endings]
    assert len(ended) >= len(scene.readers)  # every one of the first processes is gone


@pytest.mark.stack("embedded")
def test_readers_lose_nothing_while_the_processes_of_one_port_are_replaced(
    portal_factory: Callable[..., Portal],
) -> None:
    portal = portal_factory(EVENTS_DRAIN_SECONDS=0.3)
    scene = Scene(portal)
    web = portal.serve(workers=WEBS)
    first = children(web)
    assert len(first) == WEBS

    def restart() -> None:
        for child in first:
            before = set(children(web))
            os.kill(child, signal.SIGTERM)
            wait_until(lambda: set(children(web)) - before, 30, "a replacement")  # noqa: B023

    asyncio.run(scene.play([web.url(STREAM)], restart))
    assert not set(first) & set(children(web))
    web.send_signal(signal.SIGTERM)
    assert web.wait() == 0


@pytest.mark.stack("embedded")
def test_a_draining_process_takes_no_new_stream_and_ends_well(
    portal_factory: Callable[..., Portal],
) -> None:
    """The second of two streams is ended after half of the drain: until then it lasts."""
    portal = portal_factory(EVENTS_DRAIN_SECONDS=2)
    token = make_user(portal, "viewer", "Viewer")
    web = portal.serve()

    async def closing(opened: asyncio.Event) -> Any:
        async with aclosing(frames(web.url(STREAM), token)) as stream:
            async for _, name, data in stream:
                if name == "stream.open":
                    opened.set()
                elif name == "stream.closing":
                    return data

    async def drain() -> None:
        opened = [asyncio.Event(), asyncio.Event()]
        streams = [asyncio.create_task(closing(event)) for event in opened]
        async with httpx.AsyncClient(headers=bearer(token), trust_env=False) as kept:
            assert (await kept.get(web.url("/healthz"))).status_code == 200
            await asyncio.gather(*(event.wait() for event in opened))
            web.send_signal(signal.SIGTERM)
            await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
            refused = await kept.get(web.url(STREAM))
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            with pytest.raises(httpx.ConnectError):
                await asyncio.to_thread(httpx.get, web.url(STREAM), trust_env=False)
        assert await asyncio.gather(*streams) == [{"reason": "drain"}] * 2

    asyncio.run(drain())
    assert web.wait() == 0
