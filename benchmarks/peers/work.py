"""What all peers have in common: their command line, and the events they carry."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator

from benchmarks import pace

# As the project's own event of a server's status, envelope and all, so that sizes are the same.
EVENT = (
    '{"id":%d,"type":"server.status_changed","timestamp":"2026-11-23T09:00:00.123456Z",'
    '"subject":"servers.server/42","actor":null,"data":{"id":42,"name":"bench-1790000000000000000-0",'
    '"old_status":"success","new_status":"failed","message":"%s"}}'
)


def event(number: int) -> str:
    return EVENT % (number + 1, pace.mark(number))


def frame(number: int, data: str) -> bytes:
    return f"id: {number + 1}\nevent: server.status_changed\ndata: {data}\n\n".encode()


def paced(rate: float, seconds: float, size: int) -> Iterator[list[tuple[int, str]]]:
    """Batches of numbers and events, when they are due."""
    for numbers in pace.batches(rate, seconds, size):
        yield [(number, event(number)) for number in numbers]


def main(
    serve: Callable[[int, str], object],
    send: Callable[[int, str, Iterable[list[tuple[int, str]]]], object],
) -> None:
    """`serve(port, redis_url)`, or `send(port, redis_url, batches)`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--redis", default="")
    parser.add_argument("--write", nargs=3, type=float, metavar=("RATE", "SECONDS", "BATCH"))
    options = parser.parse_args()
    if options.write is None:
        serve(options.port, options.redis)
        return
    rate, seconds, batch = options.write
    started = time.perf_counter()
    send(options.port, options.redis, paced(rate, seconds, int(batch)))
    spent = round(time.perf_counter() - started, 3)
    print(json.dumps({"emitted": round(rate * seconds), "seconds": spent}))
