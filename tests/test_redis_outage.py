"""Redis is away for ten seconds, under load: nobody waits for it, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from tests.emitter import Emitter
from tests.portal import Portal, Web
from tests.readers import OWN_FRAMES, STREAM, bearer, frames, make_user
from tests.services import Redis, free_port, wait_until

OUTAGE = 10  # seconds
BACK = 40  # seconds in which everything has found Redis again
LOST = 120  # seconds after which a test whose job was lost has failed long since
REQUEST_TIMEOUT = 5  # seconds that no request may take
ROUND = 12  # events of which most must come by the layer

# The positions that every reader of servers must have got, from the log itself.
READABLE = """
import json
from events.models import Event
rows = Event.objects.filter(type__startswith="server.").order_by("position")
print("LOG", json.dumps([row.position for row in rows]))
"""


def event(number: int) -> dict[str, Any]:
    data = {"id": number, "name": f"event-{number}", "host": "h", "status": "unknown"}
    return {"type": "server.created", "data": data}


class Caller:
    """A user of the API, who uses one web process and then the other."""

    def __init__(self, webs: list[Web], client: httpx.Client) -> None:
        self.calls = 0
        self.webs = webs
        self.client = client

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Raises httpx's errors, also for an answer that took too long."""
        self.calls += 1
        url = self.webs[self.calls % len(self.webs)].url(f"/api/v1/servers/{path}")
        return self.client.request(method, url, json=body or None).raise_for_status().json()

    def create(self, name: str, port: int | None = None) -> Any:
        port = port or free_port()
        return self.call("POST", "", name=name, host="127.0.0.1", port=port, username="u")

    def test(self, server: Any) -> str:
        """The message with which a connection test ended."""
        path = f"{server['id']}/"
        self.call("POST", f"{path}test-connection/")

        def outcome() -> Any:
            row = self.call("GET", path)
            return row if row["status"] != "testing" else None

        return str(wait_until(outcome, LOST, "a test's end")["last_test_message"])

    def keep_workers_busy(self, silent: socket.socket) -> None:
        """Gives each worker tests at hand that get no answer: of those, kombu breaks down."""
        for number in range(16):
            server = self.create(f"silent-{number}", silent.getsockname()[1])
            self.call("POST", f"{server['id']}/test-connection/")

    def work(self, over: threading.Event) -> None:
        """Changes servers, and tests one now and then, until it is over."""
        servers = [self.create(f"server-{number}") for number in range(10)]
        while not over.wait(0.05):
            server = servers[self.calls % len(servers)]
            self.call("PATCH", f"{server['id']}/", port=1024 + self.calls)
            if self.calls % 20 == 0:
                self.call("POST", f"{server['id']}/test-connection/")


class Watch:
    """Two readers at each web process, and the positions of what they got."""

    def __init__(self, webs: list[Web], token: str) -> None:
        self.urls = [web.url(f"{STREAM}?types=server.*") for web in webs * 2]
        self.token = token
        self.positions: list[list[int]] = [[] for _ in self.urls]
        self.names: list[set[str]] = [set() for _ in self.urls]

    async def read(self) -> None:
        await asyncio.gather(*map(self._read, range(len(self.urls))))

    async def _read(self, reader: int) -> None:
        """One unbroken stream, from the first event to the last."""
        async with aclosing(frames(self.urls[reader], self.token, "0")) as stream:
            async for _, name, data in stream:
                assert name not in ("stream.reset", "stream.closing")
                if name not in OWN_FRAMES:
                    self.positions[reader].append(data["id"])
                    self.names[reader].add(data["data"]["name"])
                if name == "server.created" and data["data"]["name"] == "last":
                    return
        raise AssertionError("the stream ended")

    def wait_for(self, name: str) -> None:
        """Until every reader has got an event of this server."""
        wait_until(lambda: all(name in names for names in self.names), BACK, name)


def settled(webs: list[Web], caller: Caller, watch: Watch) -> bool:
    """Whether single events come by the layer: one that does not is a repair at each of them."""
    before = [web.counter("repairs") for web in webs]
    for _ in range(ROUND):
        name = f"single-{time.time_ns()}"
        caller.create(name)
        watch.wait_for(name)
    after = [web.counter("repairs") for web in webs]
    return all(now - then < ROUND / 3 for then, now in zip(before, after, strict=True))


@pytest.mark.stack("scaled")
@pytest.mark.parametrize(
    "settings",
    [{}, {"DJANGO_SETTINGS_MODULE": "tests.core_layer_settings"}],
    ids=["pubsub", "core"],
)
def test_nothing_is_lost_while_redis_is_away(
    portal_factory: Callable[..., Portal], settings: dict[str, str]
) -> None:
    portal = portal_factory(**settings)
    assert portal.redis is not None
    token = make_user(portal, "operator", "Operator")
    with ThreadPoolExecutor() as pool:
        workers = [pool.submit(portal.worker) for _ in range(2)]
        webs = list(pool.map(lambda _: portal.serve(), range(2)))
        assert [worker.result() for worker in workers]
    watch = Watch(webs, token)
    with httpx.Client(headers=bearer(token), timeout=REQUEST_TIMEOUT, trust_env=False) as client:
        asyncio.run(play(portal, portal.redis, Caller(webs, client), watch))
    log = json.loads(portal.shell(READABLE).split("LOG")[1])
    for positions in watch.positions:
        assert positions == log
    assert all(process.returncode is None for process in portal.processes)


async def play(portal: Portal, redis: Redis, caller: Caller, watch: Watch) -> None:
    reading = asyncio.create_task(watch.read())
    acting = asyncio.create_task(asyncio.to_thread(act, portal, redis, caller, watch))
    done, _ = await asyncio.wait([reading, acting], return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def act(portal: Portal, redis: Redis, caller: Caller, watch: Watch) -> None:
    """Load, an outage, and the way back; whatever a request fails with is raised."""
    probe = caller.create("probe")
    assert caller.test(probe).startswith("Connection refused")
    with ThreadPoolExecutor(1) as pool, socket.create_server(("127.0.0.1", 0)) as silent:
        over = threading.Event()
        with Emitter(portal, event) as emitter:
            working = pool.submit(caller.work, over)
            try:
                watch.wait_for("event-100")
                caller.keep_workers_busy(silent)
                redis.stop()
                time.sleep(OUTAGE)  # not a wait for anything: the outage itself
                assert caller.test(probe) == "The job queue cannot be reached."
                redis.start()
                watch.wait_for(f"event-{emitter.written}")
            finally:
                over.set()
            emitter.finish()
            working.result()
    wait_until(lambda: settled(caller.webs, caller, watch), BACK, "events by the layer")
    wait_until(lambda: caller.test(probe).startswith("Connection refused"), BACK, "workers at work")
    caller.create("last")
