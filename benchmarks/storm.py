"""A storm: 5,000 streams drop at once and return with their last ids, while events go on.

    python -m benchmarks.storm [--streams N] [--rounds N]

How long until all are open again, whether any lost or doubled an event, and how many queries the
web process made meanwhile, beside those that it makes in as many seconds without a storm. The
writer logs in to PostgreSQL under another name, so that its queries are not counted.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks import measuring
from benchmarks.load import Job
from benchmarks.measuring import Reader
from benchmarks.portals import CountingPostgres, portal_on
from benchmarks.subjects import Subject
from tests.readers import STREAM, make_user

RATE = 167
SECONDS = 30.0
BEFORE = 5.0  # seconds of the writing before the storm, and for which queries are counted
AFTER = 5.0  # seconds after all are back, which belong to the storm


def run(streams: int) -> dict[str, Any]:
    with CountingPostgres() as postgres, portal_on(postgres) as portal:
        web = portal.serve()
        tokens = [make_user(portal, f"reader-{n}", "Viewer") for n in range(3)]
        url = postgres.url_as("writer", portal.environment["DATABASE_URL"])
        subject = Subject.of_portal("", portal, web.port, web.pid, tokens, DATABASE_URL=url)
        with Reader(Job(web.port, streams, 20, [STREAM], tokens, resume=True)) as reader:
            expected = round(RATE * SECONDS)
            writer = subject.write(RATE, SECONDS)
            calm, calm_seconds = counted(postgres, lambda: reader.read_for(BEFORE))
            back: dict[str, Any] = {}

            def storm() -> None:
                back.update(reader.reopen())
                reader.read_for(AFTER)

            stormy, stormy_seconds = counted(postgres, storm)
            reader.start_waiting(expected, patience=20)
            measuring.said(writer)
            read = reader.answer()
    own = 5  # two of `stream.open`, and the server that the writer begins with, twice changed
    fewest, _, most = read["frames of a stream"]
    return {
        "streams": streams,
        "seconds until all were open": back["seconds"],
        "refused": sum(read["refused"].values()),
        "open at the end": read["open"],
        "fewest events of a stream": fewest - own,
        "most events of a stream": most - own,
        "events": expected,
        "lost of the samples": read["lost"],
        "doubled": read["doubled"],
        "disordered": read["disordered"],
        "p99 ms": read["latency ms"]["p99"],
        "queries a second before": round(calm / calm_seconds, 1),
        "queries in the storm": stormy,
        "of them beyond those of before": round(stormy - calm / calm_seconds * stormy_seconds),
    }


def counted(postgres: CountingPostgres, work: Any) -> tuple[int, float]:
    """How many queries the portal's role made during the work, and how many seconds it took."""
    before, started = postgres.statements("opsportal")["queries"], time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return postgres.statements("opsportal")["queries"] - before, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=5_000)
    options = parser.parse_args()
    rows = []
    for _ in range(options.rounds):
        rows.append(run(options.streams))
        print(rows[-1], flush=True)
    measuring.write("storm", [measuring.median_of(rows)])


if __name__ == "__main__":
    main()
