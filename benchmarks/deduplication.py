"""What `@deduplicate` saves in a storm of identical requests, and what it costs on a hit.

    python -m benchmarks.deduplication [--requests N] [--rounds N] [--quick]

Two `manage.py serve` on PostgreSQL and Redis, and the views of benchmarks.urls, whose figures take
the database 0.2 s. 1,000 requests at once, half of them to each process, on connections that are
open: how many compute, as the database counts it, and when the last one is answered; the same
without `@deduplicate`. Then, one at a time and in turn, an answer that is kept; the same view
without, which reads the caller's rights, too; and a view that reads none.

Writes benchmarks/results/deduplication.json. Takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import Counter
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any

from benchmarks import measuring
from benchmarks.load import raise_open_files_limit
from benchmarks.portals import CountingPostgres, portal_on
from tests.portal import Web
from tests.readers import bearer, make_user

COMPUTATIONS = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query ~ 'pg_sleep'"
PATIENCE = 120  # seconds
VIEWS = {
    "hit": "/bench/shared/?cheap=1",
    "without": "/bench/plain/?cheap=1",
    "without, and without rights": "/bench/bare/?cheap=1",
}


async def storm(webs: list[Web], path: str, token: str, count: int) -> dict[str, Any]:
    """All requests at once, over connections that are open."""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    opened = [
        await asyncio.open_connection("127.0.0.1", webs[number % len(webs)].port)
        for number in range(count)
    ]
    started = time.perf_counter()
    for _, writer in opened:
        writer.write(head.encode())
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*(answer(reader) for reader, _ in opened))
    for _, writer in opened:
        writer.close()
    return {
        "requests": count,
        "answers": dict(Counter(status for status, _, _ in answers)),
        "roles": dict(Counter(role for _, role, _ in answers if role)),
        "seconds until the last answer": round(max(at for _, _, at in answers) - started, 2),
        "median s": round(statistics.median(at for _, _, at in answers) - started, 2),
    }


async def answer(reader: asyncio.StreamReader) -> tuple[str, str, float]:
    """Status, X-Deduplicated, and when the head was there."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = [line.partition(": ") for line in head.split("\r\n")]
    headers = {name.lower(): value for name, _, value in lines}
    return head[9:12], headers.get("x-deduplicated", ""), time.perf_counter()


def overhead(web: Web, token: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of one request, on one connection; and of a hit beyond the others."""
    connection = HTTPConnection("127.0.0.1", web.port, timeout=PATIENCE)
    taken: dict[str, list[float]] = {name: [] for name in VIEWS}
    for _ in range(rounds + 10):
        for name, path in VIEWS.items():
            started = time.perf_counter()
            connection.request("GET", path, headers=bearer(token))
            response = connection.getresponse()
            response.read()
            taken[name].append(1000 * (time.perf_counter() - started))
            assert response.status == 200, response.status
    taken = {name: values[10:] for name, values in taken.items()}  # without those that warmed up
    medians = {name: statistics.median(values) for name, values in taken.items()}
    more = {
        f"ms of a hit beyond: {name}": round(
            statistics.median(a - b for a, b in zip(taken["hit"], taken[name], strict=True)), 3
        )
        for name in list(VIEWS)[1:]
    }
    return (
        {"rounds": rounds}
        | {f"ms, {name}": round(value, 3) for name, value in medians.items()}
        | more
        | {"ratio of a hit": round(medians["hit"] / medians["without"], 3)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=1_000, help="of single requests")
    parser.add_argument("--quick", action="store_true", help="100 of each, nothing written")
    options = parser.parse_args()
    if options.quick:
        options.requests = options.rounds = 100
    raise_open_files_limit()
    results = []
    with ExitStack() as running:
        postgres = running.enter_context(CountingPostgres())
        portal = running.enter_context(
            portal_on(postgres, DJANGO_SETTINGS_MODULE="benchmarks.settings")
        )
        token = make_user(portal, "reader", "Viewer")
        webs = [portal.serve(), portal.serve()]
        for name, path in {"without": "/bench/plain/", "@deduplicate": "/bench/shared/"}.items():
            before = postgres.ask(COMPUTATIONS)[0][0]
            row = asyncio.run(storm(webs, path, token, options.requests))
            row["computations"] = int(postgres.ask(COMPUTATIONS)[0][0] - before)
            results.append({"measured": f"at once, {name}"} | row)
        results.append({"measured": "one by one"} | overhead(webs[0], token, options.rounds))
    for result in results:
        print(", ".join(f"{key}: {value}" for key, value in result.items()))
    if not options.quick:
        measuring.write("deduplication", results)


if __name__ == "__main__":
    main()
