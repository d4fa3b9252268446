"""Growth: what an event, a write and an open stream cost one streaming process.

    python -m benchmarks.scale [--rounds N] [--seconds N] [--quick]

CPU against streams and rate, with a fit of CPU = a·events + b·writes + c·streams·seconds, the
memory of a stream, and how long an event takes to reach all of many streams.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import measuring
from benchmarks.load import Job
from benchmarks.measuring import Reader
from benchmarks.streams import measure
from benchmarks.subjects import project

# Streams, and events a second; 0 is silence, but for heartbeats.
GRID = [
    (100, 50),
    (100, 167),
    (300, 167),
    (1_000, 10),
    (1_000, 50),
    (1_000, 167),
    (3_000, 10),
    (3_000, 50),
    (10_000, 0),
    (10_000, 1),
    (10_000, 5),
]
QUICK = [(100, 50), (300, 50), (1_000, 0), (1_000, 10)]
SAMPLES = 1_000  # read in full, where an event has to reach everybody


@dataclass(frozen=True)
class Costs:
    """CPU-seconds of the streaming process."""

    event: float
    write: float
    stream_second: float

    def of(self, events: float, writes: float, stream_seconds: float) -> float:
        return self.event * events + self.write * writes + self.stream_second * stream_seconds


def fitted(rows: Sequence[dict[str, Any]]) -> Costs:
    """By least squares of the relative errors, so that small runs count as much as large ones.

    None may be negative: what would be is left out of the fit.
    """
    names = ["events", "writes", "stream-seconds"]
    spent = np.array([row["CPU-seconds"] for row in rows])
    kept = list(names)
    while True:
        terms = np.array([[row[name] for name in kept] for row in rows], dtype=float)
        found, *_ = np.linalg.lstsq(terms / spent[:, None], np.ones(len(rows)), rcond=None)
        if (found >= 0).all():
            costs = dict(zip(kept, map(float, found), strict=True))
            return Costs(*(costs.get(name, 0.0) for name in names))
        kept.pop(int(np.argmin(found)))


def run(streams: int, rate: int, seconds: float) -> dict[str, Any]:
    with project() as subject:
        if rate == 0:
            found = silence(subject.port, subject.pid, streams, subject.tokens, seconds)
        else:
            found = measure(subject, streams, rate, seconds, samples=min(SAMPLES, streams // 5))
            found["events"] = round(rate * seconds)
            found["writes"] = round(found["events"] / found["events a write"] * streams)
    return found | {"stream-seconds": streams * seconds}


def silence(port: int, pid: int, streams: int, tokens: list[str], seconds: float) -> dict[str, Any]:
    """What open streams cost where nothing happens."""
    before = measuring.resident_kilobytes(pid)
    with Reader(Job(port, streams, 1, ["/api/v1/events/stream"], tokens)):
        memory = measuring.resident_kilobytes(pid) - before
        cpu = measuring.cpu_seconds(pid)
        time.sleep(seconds)
        spent = measuring.cpu_seconds(pid) - cpu
    memory_each = round(memory / streams, 1)
    return {"CPU-seconds": round(spent, 2), "KB a stream": memory_each, "events": 0, "writes": 0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--quick", action="store_true", help="a small grid, once")
    options = parser.parse_args()
    grid, rounds = (QUICK, 1) if options.quick else (GRID, options.rounds)
    found: dict[tuple[int, int], list[dict[str, Any]]] = {point: [] for point in grid}
    for _ in range(rounds):
        for streams, rate in grid:
            row = run(streams, rate, options.seconds)
            print(f"{streams} streams, {rate}/s: {row}", flush=True)
            found[streams, rate].append(row)
    rows = [
        {"streams": streams, "events a second": rate} | measuring.median_of(same)
        for (streams, rate), same in found.items()
    ]
    costs = fitted([row for row in rows if row["CPU-seconds"] > 0])
    fit = {
        "microseconds an event": round(1e6 * costs.event, 1),
        "microseconds a write": round(1e6 * costs.write, 2),
        "microseconds an open stream and second": round(1e6 * costs.stream_second, 2),
    }
    for row in rows:
        of = costs.of(row["events"], row["writes"], row["stream-seconds"])
        row["fitted CPU-seconds"] = round(of, 2)
    print(fit)
    if not options.quick:
        measuring.write("scale", {"fit": [fit], "runs": rows})


if __name__ == "__main__":
    main()
