"""The project's ASGI application under several servers: `manage.py serve`, and what else there is.

    python -m benchmarks.servers [--only NAME]… [--rates N…] [--streams N] [--seconds N] [--quick]

1,000 streams at 167 and at 10 events a second, measured as benchmarks.streams does it, each server
with one process that answers. All share one PostgreSQL and one Redis. The servers but for uvicorn
are in benchmarks/requirements.in. CPU and memory are those of the process that answers. What a
server makes of a reader that takes nothing, and of SIGTERM, is not measured here.

Writes benchmarks/results/servers.json. Takes about three and a half minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from benchmarks import measuring
from benchmarks.load import raise_open_files_limit
from benchmarks.portals import DurablePostgres, portal_on
from benchmarks.streams import RATES, measure
from benchmarks.subjects import Subject
from tests.portal import Portal
from tests.readers import make_user
from tests.services import Process, free_port

APPLICATION = "opsportal.asgi:application"
START_TIMEOUT = 60  # seconds
COMMANDS = {
    "manage.py serve": ["manage.py", "serve", "--port", "{port}"],
    "uvicorn": ["-m", "uvicorn", "--port", "{port}", "--lifespan", "off", APPLICATION],
    "daphne": ["-m", "daphne", "-p", "{port}", "-v", "0", APPLICATION],
    "granian": ["-m", "granian", "--interface", "asginl", "--port", "{port}", APPLICATION],
    "hypercorn": ["-m", "hypercorn", "--workers", "0", "-b", "127.0.0.1:{port}", APPLICATION],
}
# Which print a line for each request where they are not told otherwise.
QUIET = {"uvicorn": ["--no-access-log"], "granian": ["--no-access-log"]}


@contextmanager
def served(portal: Portal, name: str, token: str) -> Iterator[Subject]:
    port = free_port()
    command = [part.format(port=port) for part in [*COMMANDS[name], *QUIET.get(name, [])]]
    output = portal.directory / f"{name.replace(' ', '-')}.log"
    server = Process([sys.executable, *command], output, env=portal.environment)
    try:
        server.wait_until(lambda: answers(port), START_TIMEOUT, "answers")
        yield Subject.of_portal(name, portal, port, working(server.pid), [token])
    finally:
        server.kill()


def answers(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/healthz"
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def working(pid: int) -> int:
    """The process that answers: the one with the most memory of the server's."""
    return max(measuring.family(pid), key=measuring.resident_kilobytes)


def version(name: str) -> str:
    return importlib.metadata.version("uvicorn" if name == "manage.py serve" else name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(COMMANDS))
    parser.add_argument("--rates", type=int, nargs="*", default=[167, 10], choices=list(RATES))
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="100 streams, 2 seconds, nothing written"
    )
    options = parser.parse_args()
    if options.quick:
        options.streams, options.seconds = 100, 2
    raise_open_files_limit()
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with DurablePostgres() as postgres, portal_on(postgres) as portal:
        token = make_user(portal, "reader", "Viewer")
        for _ in range(options.rounds):
            for name in options.only or COMMANDS:
                for rate in options.rates:
                    with served(portal, name, token) as subject:
                        row = measure(subject, options.streams, rate, options.seconds)
                    print(f"{name}, {rate}/s: {row}", flush=True)
                    rows.setdefault((name, rate), []).append(row)
    results = [
        {"server": name, "version": version(name), "events a second": rate}
        | {"streams": options.streams}
        | measuring.median_of(found)
        for (name, rate), found in rows.items()
    ]
    if not (options.quick or options.only):
        measuring.write("servers", results)


if __name__ == "__main__":
    main()
