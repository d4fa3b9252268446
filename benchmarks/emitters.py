"""Writers at once, and a reader of what their relays publish: in Django processes.

Functions for `benchmarks.portals.Called`, which print one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from channels.layers import get_channel_layer
from django.db import transaction

from benchmarks import pace, writer
from benchmarks.load import EVENT
from benchmarks.portals import at_the_start
from benchmarks.writer import STATUSES, prepared, revise
from events import metrics
from events.audience import group_name
from events.relay import relay
from servers.models import Server

GROUP = "servers.view_server"
PATIENCE = 60  # seconds
SILENCE = 15  # seconds


def write(writers: int, seconds: float, batch: int, rate: float, how: str = "save") -> None:
    """Prints what each of so many processes has done, `rate` being that of all together.

    `how` is a key of HOW.
    """
    context = multiprocessing.get_context("fork")
    ready, begin, results = context.Barrier(writers + 1), context.Event(), context.SimpleQueue()
    change = HOW[how]

    def work(number: int) -> None:
        servers = prepared(batch)
        emit(prepared(batch), 0.2, batch, 0, change)  # to be warm
        ready.wait(PATIENCE)
        begin.wait()
        time.sleep(number / rate if rate else 0)  # between each other's, not all at one moment
        found = emit(servers, seconds, batch, rate / writers, change)
        relay.stop()  # which publishes what is placed
        results.put(found)

    processes = [context.Process(target=work, args=[number]) for number in range(writers)]
    for process in processes:
        process.start()
    ready.wait(PATIENCE)
    at_the_start()
    begin.set()
    print(json.dumps([results.get() for _ in processes]), flush=True)
    for process in processes:
        process.join()


def emit(
    servers: list[Server],
    seconds: float,
    batch: int,
    rate: float,
    change: Callable[[list[Server], range], None],
) -> dict[str, Any]:
    """`{"name": …, "emitted": …, "committed": [[number, nanoseconds], …], "lag": {…}}`.

    As many events as can be where `rate` is 0; else commits are kept. `lag` is the histogram of
    this process's relay, of what it gave positions to.
    """
    committed: list[tuple[int, int]] = []
    emitted = 0
    relay.placed(PATIENCE)
    metrics.reset()
    for numbers in pace.batches(rate, seconds, batch) if rate else ceaseless(seconds, batch):
        with transaction.atomic():
            if rate:  # the first of what is called: before the relay is
                transaction.on_commit(partial(stamp, committed, numbers))
            change(servers, numbers)
        emitted += len(numbers)
    relay.placed(PATIENCE)
    lag = metrics.relay_lag.snapshot()
    return {"name": servers[0].name, "emitted": emitted, "committed": committed, "lag": lag}


def bulk_update(servers: list[Server], numbers: range) -> None:
    """A statement that names the values of each row."""
    for server, number in zip(servers, numbers, strict=True):
        revise(server, number)
    Server.objects.bulk_update(servers, ["status", "last_test_message"])


def update(servers: list[Server], numbers: range) -> None:
    """One value for all, as when somebody changes a selection."""
    status = STATUSES[numbers.start // len(numbers) % 2]
    rows = Server.objects.filter(pk__in=[server.pk for server in servers])
    rows.update(status=status, last_test_message=pace.mark(numbers.start))


def save_silently(servers: list[Server], numbers: range) -> None:
    """As `change` of one, but of which no event is made: what Django and PostgreSQL take alone."""
    revise(servers[0], numbers[0])
    servers[0].save_base(raw=True, update_fields=frozenset(["status", "last_test_message"]))


HOW: Final = {
    "save": writer.change,
    "save_silently": save_silently,
    "bulk_update": bulk_update,
    "update": update,
}


def stamp(committed: list[tuple[int, int]], numbers: range) -> None:
    now = time.time_ns()
    committed += [(number, now) for number in numbers]


def ceaseless(seconds: float, size: int) -> Iterator[range]:
    end, first = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        yield range(first, first + size)
        first += size


def receive(count: int) -> None:
    """Prints `[[writer, number, nanoseconds], …]` of the group's next `count` events.

    Fewer where no more come: a relay leaves a layer alone that has failed, and the log heals it.
    """
    print(json.dumps(asyncio.run(_receive(count))), flush=True)


async def _receive(count: int) -> list[tuple[str, int, int]]:
    layer = get_channel_layer()
    assert layer is not None
    channel = await layer.new_channel()
    await layer.group_add(group_name(GROUP), channel)
    await asyncio.to_thread(at_the_start)
    found: list[tuple[str, int, int]] = []
    while len(found) < count:
        try:
            message = await asyncio.wait_for(layer.receive(channel), SILENCE)
        except TimeoutError:
            break
        now = time.time_ns()
        for item in message["events"]:
            data = item["event"]["data"]
            if mark := EVENT.fullmatch(data.get("message", "")):
                found.append((data["name"], int(mark[1]), now))
    return found
