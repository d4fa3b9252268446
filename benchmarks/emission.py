"""Durable events a second, and how soon they are published: eight writers, a relay in each.

    python -m benchmarks.emission [--writers N] [--seconds N] [--rounds N] [--quick]

On PostgreSQL, which waits for the disk at each commit, and Redis, with a `manage.py serve` that is
told of all events; no worker. An event is a server's status that changes. First as many as the
writers can, one a transaction, also without events, then in batches: until the last one has its
position. Then 167 a second, and for each the time from its commit until a member of its group on
the channel layer has it.

Writes benchmarks/results/emission.json. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks import measuring
from benchmarks.load import percentiles
from benchmarks.portals import Called, DurablePostgres, portal_on
from tests.database import query
from tests.portal import Portal
from tests.services import Postgres, wait_until

RATE = 167  # events a second: what the guide has for 1,000 users
BATCH = 100
BOUND = 0.05  # seconds: the aim
PATIENCE = 60  # seconds

HEAD = "SELECT position FROM events_loghead"
PENDING = "SELECT EXISTS (SELECT FROM events_event WHERE position IS NULL)"


def throughput(
    portal: Portal, postgres: Postgres, writers: int, seconds: float, batch: int, how: str
) -> dict[str, Any]:
    """Events that are committed and have their positions, a second; and who spent how much."""
    arguments = f"{writers}, {seconds}, {batch}, 0, {how!r}"
    with Called(portal, f"benchmarks.emitters.write({arguments})") as writer:
        writer.wait_until_ready()
        wait_until(lambda: placed(portal), PATIENCE, "the writers' own rows have positions")
        before = query(portal, HEAD)[0][0]
        pids = {
            "the writers": writer.process.pid,
            "PostgreSQL": int((postgres.data / "postmaster.pid").read_text().split()[0]),
            "manage.py serve": portal.processes[0].pid,
        }
        cpu = {name: measuring.family_cpu_seconds(pid) for name, pid in pids.items()}
        started = time.perf_counter()
        writer.begin()
        emitted = sum(result["emitted"] for result in writer.result())
        wait_until(lambda: placed(portal), PATIENCE, "all events have positions")
        spent = time.perf_counter() - started
        used = {n: measuring.family_cpu_seconds(pid) - cpu[n] for n, pid in pids.items()}
    after = query(portal, HEAD)[0][0]
    expected = 0 if how == "save_silently" else emitted
    assert after - before == expected, f"{emitted} emitted, {after - before} placed"
    return {
        "changes a second": round(emitted / spent),
        "events": after - before,
        "seconds": round(spent, 2),
        "CPU milliseconds a change": {
            name: round(1000 * seconds / emitted, 2) for name, seconds in used.items()
        },
    }


def placed(portal: Portal) -> bool:
    return not query(portal, PENDING)[0][0]


def lag(portal: Portal, writers: int, seconds: float, rate: float) -> dict[str, Any]:
    """Milliseconds from each event's commit until it has come over the channel layer."""
    expected = writers * round(rate / writers * seconds)
    with Called(portal, f"benchmarks.emitters.write({writers}, {seconds}, 1, {rate})") as writer:
        writer.wait_until_ready()
        with Called(portal, f"benchmarks.emitters.receive({expected})") as receiver:
            receiver.wait_until_ready()
            receiver.begin()
            writer.begin()
            results = writer.result()
            arrived = {(name, number): at for name, number, at in receiver.result()}
    committed = {(r["name"], number): at for r in results for number, at in r["committed"]}
    published = [(arrived[key] - at) / 1e6 for key, at in committed.items() if key in arrived]
    bounds = results[0]["lag"]["bounds"]
    counts = [sum(column) for column in zip(*(r["lag"]["counts"] for r in results), strict=True)]
    soon = sum(counts[: bounds.index(BOUND) + 1])
    return {
        "changes a second": rate,
        "events": len(committed),
        "not published": len(committed) - len(published),
        "from commit to published, ms": percentiles(published, 50, 90, 99, 100),
        "% placed within 50 ms of emission": round(100 * soon / max(sum(counts), 1), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--quick", action="store_true", help="one round of two seconds, nothing written"
    )
    options = parser.parse_args()
    seconds, rounds = (2, 1) if options.quick else (options.seconds, options.rounds)
    rows: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as running:
        postgres = running.enter_context(DurablePostgres())
        portal = running.enter_context(portal_on(postgres))
        portal.serve()
        alone = partial(throughput, portal, postgres, options.writers, seconds)
        for _ in range(rounds):
            for name, measure in {
                "one a transaction": partial(alone, 1, "save"),
                "the same without events": partial(alone, 1, "save_silently"),
                f"{BATCH} a transaction, bulk_update()": partial(alone, BATCH, "bulk_update"),
                f"{BATCH} a transaction, update()": partial(alone, BATCH, "update"),
                "lag": partial(lag, portal, options.writers, seconds, RATE),
            }.items():
                row = {"measured": name, "writers": options.writers} | measure()
                print(", ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
                rows.setdefault(name, []).append(row)
    results = [measuring.median_of(found) for found in rows.values()]
    if not options.quick:
        measuring.write("emission", results)


if __name__ == "__main__":
    main()
