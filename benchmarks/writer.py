"""The writer of the project's events: models that are saved, in a process of its own.

`manage.py shell -c "from benchmarks.writer import write; write(…)"`. A server's status changes, and
its message is what readers know the event by.
"""

from __future__ import annotations

import json
import time

from django.db import transaction
from django.db.models import CharField, F, Value
from django.db.models.functions import Cast, Concat

from benchmarks import pace
from events.relay import relay
from servers.models import Server

PATIENCE = 60  # seconds
PAUSE = 0.5  # seconds, for what was emitted before
STATUSES = (Server.Status.SUCCESS, Server.Status.FAILED)


def write(rate: float, seconds: float, batch: int = 1) -> None:
    """Prints `{"emitted": …, "seconds": …}` at the end.

    Each batch is a transaction: of one `save()`, or of an `update()` of all its rows.
    """
    servers = prepared(batch)
    warm_up(servers)
    started = time.perf_counter()
    emitted = 0
    for numbers in pace.batches(rate, seconds, batch):
        with transaction.atomic():
            change(servers[: len(numbers)], numbers)
        emitted += len(numbers)
    print(json.dumps({"emitted": emitted, "seconds": round(time.perf_counter() - started, 3)}))


def prepared(count: int) -> list[Server]:
    """So many servers; the number of each is its port, from which `update()` can take it."""
    rows = [
        Server(name=f"bench-{time.time_ns()}-{n}", host="10.0.0.1", port=n, username="ops")
        for n in range(count)
    ]
    return Server.objects.bulk_create(rows)


def warm_up(servers: list[Server]) -> None:
    """Two events of each, without a mark: a process that has just begun is not what is measured."""
    for status in STATUSES:
        Server.objects.filter(pk__in=[server.pk for server in servers]).update(status=status)
        relay.placed(PATIENCE)
    time.sleep(PAUSE)


def change(servers: list[Server], numbers: range) -> None:
    if len(servers) == 1:
        revise(servers[0], numbers[0])
        servers[0].save(update_fields=["status", "last_test_message"])
    else:
        update_each(servers, numbers)


def revise(server: Server, number: int) -> None:
    """Another status, and the mark as its message; not saved."""
    server.status = STATUSES[server.status == STATUSES[0]]
    server.last_test_message = pace.mark(number)


def update_each(servers: list[Server], numbers: range) -> None:
    """The same for many, each with a number of its own, in one statement."""
    before, _, after = pace.mark(0).rpartition(" 0 ")
    number = Cast(F("port") + numbers.start, CharField())
    Server.objects.filter(pk__in=[server.pk for server in servers]).update(
        status=STATUSES[numbers.start // len(numbers) % 2],
        last_test_message=Concat(Value(f"{before} "), number, Value(f" {after}")),
    )
