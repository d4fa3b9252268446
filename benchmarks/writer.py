"""The writer of the project's events: models that are saved, in a process of its own.

`manage.py shell -c "from benchmarks.writer import write; write(…)"`. A server's status changes, and
its message is what readers know the event by.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from django.db import transaction

from benchmarks import pace
from servers.models import Server

STATUSES = (Server.Status.SUCCESS, Server.Status.FAILED)


def write(rate: float, seconds: float, batch: int = 1) -> None:
    """Prints `{"emitted": …, "seconds": …}` at the end.

    Each batch is a transaction: of one `save()`, or of a `bulk_update()`.
    """
    servers = prepared(batch)
    started = time.perf_counter()
    emitted = 0
    for numbers in pace.batches(rate, seconds, batch):
        with transaction.atomic():
            change(servers[: len(numbers)], numbers)
        emitted += len(numbers)
    print(json.dumps({"emitted": emitted, "seconds": round(time.perf_counter() - started, 3)}))


def prepared(count: int) -> list[Server]:
    rows = [
        Server(name=f"bench-{time.time_ns()}-{n}", host="10.0.0.1", username="ops")
        for n in range(count)
    ]
    return Server.objects.bulk_create(rows)


def change(servers: list[Server], numbers: Iterable[int]) -> None:
    for server, number in zip(servers, numbers, strict=True):
        server.status = STATUSES[server.status == STATUSES[0]]
        server.last_test_message = pace.mark(number)
    if len(servers) == 1:
        servers[0].save(update_fields=["status", "last_test_message"])
    else:
        Server.objects.bulk_update(servers, ["status", "last_test_message"])
