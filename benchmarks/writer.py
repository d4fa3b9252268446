"""The writer of the project's events: models that are saved, in a process of its own.

`manage.py shell -c "from benchmarks.writer import write; write(…)"`. A server's status changes, and
its message is what readers know the event by.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from queue import SimpleQueue

from django.db import connection, transaction

from benchmarks import pace
from servers.models import Server

STATUSES = (Server.Status.SUCCESS, Server.Status.FAILED)


def write(rate: float, seconds: float, batch: int = 1, writers: int = 1) -> None:
    """Prints `{"emitted": …, "seconds": …}` at the end.

    With one writer each batch is a transaction: of one `save()`, or of a `bulk_update()`. With more
    they share the events, each in a transaction of its own, as requests at once do.
    """
    servers = prepared(max(batch, writers))
    started = time.perf_counter()
    paced = pace.batches(rate, seconds, batch)
    emitted = _alone(paced, servers) if writers == 1 else _shared(paced, servers)
    print(json.dumps({"emitted": emitted, "seconds": round(time.perf_counter() - started, 3)}))


def prepared(count: int) -> list[Server]:
    rows = [
        Server(name=f"bench-{time.time_ns()}-{n}", host="10.0.0.1", username="ops")
        for n in range(count)
    ]
    return Server.objects.bulk_create(rows)


def _alone(paced: Iterable[range], servers: list[Server]) -> int:
    emitted = 0
    for numbers in paced:
        with transaction.atomic():
            change(servers[: len(numbers)], numbers)
        emitted += len(numbers)
    return emitted


def change(servers: list[Server], numbers: Iterable[int]) -> None:
    for server, number in zip(servers, numbers, strict=True):
        server.status = STATUSES[server.status == STATUSES[0]]
        server.last_test_message = pace.mark(number)
    if len(servers) == 1:
        servers[0].save(update_fields=["status", "last_test_message"])
    else:
        Server.objects.bulk_update(servers, ["status", "last_test_message"])


def _shared(paced: Iterable[range], servers: list[Server]) -> int:
    due: SimpleQueue[range | None] = SimpleQueue()
    counts: list[int] = []

    def work(server: Server) -> None:
        counts.append(_alone(iter(due.get, None), [server]))
        connection.close()

    threads = [threading.Thread(target=work, args=[server]) for server in servers]
    for thread in threads:
        thread.start()
    for numbers in paced:
        due.put(numbers)
    for _ in threads:
        due.put(None)
    for thread in threads:
        thread.join()
    return sum(counts)
