"""What readers that take nothing cost the others: `make bench`.

On one `manage.py serve` with SQLite: a thousand quick readers, then a thousand stalled ones beside
them. From before each POST until its event has reached each quick reader; and the server's memory.
Prints a table and writes benchmarks/results/stalled.json, with the conditions.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks import measuring
from tests import crowd
from tests.crowd import QuickReader
from tests.portal import Portal, Web
from tests.readers import bearer, make_user

CROWD = 1_000  # readers of each kind
ROUNDS = 200
PAUSE = 0.05  # seconds between two events
FLOOD = 400  # events after which a stalled reader has stalled, each of
FLOOD_SIZE = 2_000  # bytes


async def measure(web: Web, admin: str, readers: list[QuickReader]) -> dict[str, Any]:
    """Latencies in milliseconds over all readers and rounds."""
    latencies: list[float] = []
    async with httpx.AsyncClient(headers=bearer(admin), trust_env=False) as client:
        for number in range(ROUNDS):
            counts = [reader.count for reader in readers]
            body = {"name": f"{len(readers)}-{time.time_ns()}", "host": "h", "username": "u"}
            started = time.perf_counter()
            (await client.post(web.url("/api/v1/servers/"), json=body)).raise_for_status()
            await until_more(readers, counts)
            if number >= 5:  # without those that warmed up
                latencies += [1000 * (reader.at - started) for reader in readers]
            await asyncio.sleep(PAUSE)
    return {
        "median ms": round(statistics.median(latencies), 1),
        "p99 ms": round(statistics.quantiles(latencies, n=100)[-1], 1),
        "max ms": round(max(latencies), 1),
        "server RSS MB": round(web.memory("VmRSS") / 1024),
    }


async def until_more(readers: list[QuickReader], counts: list[int]) -> None:
    async with asyncio.timeout(60):
        while any(r.count <= count for r, count in zip(readers, counts, strict=True)):
            await asyncio.sleep(0.005)


async def run(portal: Portal, admin: str, viewer: str) -> list[dict[str, Any]]:
    web = portal.serve()
    quick = await crowd.open_many(CROWD, crowd.open_quick, web.port, viewer)
    without = {"stalled readers": 0} | await measure(web, admin, quick)
    stalled = await crowd.open_many(CROWD, crowd.open_stalled, web.port, viewer)
    counts = [reader.count + FLOOD - 1 for reader in quick]
    await asyncio.to_thread(crowd.emit, portal, FLOOD, FLOOD_SIZE)
    await until_more(quick, counts)
    beside = {"stalled readers": len(stalled)} | await measure(web, admin, quick)
    ratio = round(beside["p99 ms"] / without["p99 ms"], 2)
    for connection in stalled:
        connection.close()
    return [without, beside | {"p99 ratio": ratio}]


def main() -> None:
    settings = {"EVENTS_MAX_STREAMS_PER_USER": 2 * CROWD, "EVENTS_WRITE_TIMEOUT": 3600}
    with (
        crowd.open_files(3 * CROWD),
        TemporaryDirectory() as directory,
        Portal(Path(directory), **settings) as portal,
    ):
        portal.manage("migrate", "--verbosity=0")
        admin = make_user(portal, "admin", superuser=True)
        viewer = make_user(portal, "viewer", "Viewer")
        results = asyncio.run(run(portal, admin, viewer))
    for result in results:
        print(", ".join(f"{name}: {value}" for name, value in result.items()))
    measuring.write("stalled", results)


if __name__ == "__main__":
    main()
