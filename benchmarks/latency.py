"""From a POST to the line that `curl -N` prints: `make bench`.

Real processes on both stacks: on SQLite without Redis one web process; on PostgreSQL and Redis two
web processes that stream and a third that takes the writes. Prints a table and writes
benchmarks/results/latency.json, with the conditions.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks import measuring
from tests.portal import Portal
from tests.readers import STREAM, bearer, make_user
from tests.services import Postgres, Redis, wait_until

ROUNDS = 50


class Curl:
    """`curl -N` on a stream; `seen` maps a server's name to when its line was printed."""

    def __init__(self, url: str, token: str) -> None:
        self.seen: dict[str, float] = {}
        self.is_open = False
        command = ["curl", "-sN", "-H", f"Authorization: Bearer {token}", url]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            now = time.perf_counter()
            self.is_open = True
            if line.startswith(b"data: ") and b'"server.created"' in line:
                event = json.loads(line[6:])
                if event.get("type") == "server.created":
                    self.seen[event["data"]["name"]] = now


def measure(writer: str, streams: list[str], reader: str, admin: str) -> list[float]:
    """Milliseconds from before each POST until the last of the curls had printed its event."""
    curls = [Curl(url, reader) for url in streams]
    wait_until(lambda: all(curl.is_open for curl in curls), 20, "open streams")
    latencies = []
    with httpx.Client(headers=bearer(admin), trust_env=False) as client:
        for number in range(ROUNDS + 5):
            body = {"name": f"bench-{number}", "host": "127.0.0.1", "username": "root"}
            started = time.perf_counter()
            client.post(f"{writer}/api/v1/servers/", json=body).raise_for_status()
            wait_until(lambda: all(body["name"] in c.seen for c in curls), 20, "the event")  # noqa: B023
            latencies.append(1000 * (max(c.seen[body["name"]] for c in curls) - started))
            time.sleep(0.05)
    for curl in curls:
        curl.process.kill()
    return latencies[5:]  # without those that warmed up


def run(stack: str, portal: Portal, webs: int) -> dict[str, Any]:
    portal.manage("migrate", "--verbosity=0")
    admin = make_user(portal, "admin", superuser=True)
    reader = make_user(portal, "reader", "Viewer")
    processes = [portal.serve() for _ in range(webs)]
    streams = [process.url(STREAM) for process in processes[:2]]
    latencies = measure(processes[-1].url(""), streams, reader, admin)
    return {
        "stack": stack,
        "web processes": webs,
        "rounds": len(latencies),
        "median ms": round(statistics.median(latencies), 1),
        "p95 ms": round(statistics.quantiles(latencies, n=20)[-1], 1),
        "max ms": round(max(latencies), 1),
    }


def main() -> None:
    with ExitStack() as running:
        directory = Path(running.enter_context(TemporaryDirectory()))
        (directory / "embedded").mkdir()
        (directory / "scaled").mkdir()
        postgres, redis = running.enter_context(Postgres()), running.enter_context(Redis())
        results = []
        with Portal(directory / "embedded") as portal:
            results.append(run("SQLite, no Redis", portal, webs=1))
        url = postgres.create_database("bench")
        with Portal(directory / "scaled", url, redis.url) as portal:
            results.append(run("PostgreSQL, Redis", portal, webs=3))
    for result in results:
        print(", ".join(f"{name}: {value}" for name, value in result.items()))
    measuring.write("latency", results)


if __name__ == "__main__":
    main()
