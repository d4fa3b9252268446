"""1,000 streams at several rates: the project beside what people would use instead.

    python -m benchmarks.streams [--rounds N] [--streams N] [--seconds N] [--only NAME]…

The subjects alternate, each anew in each round; the table shows medians. It costs what a streaming
process spends from the first event to the last delivery, in CPU-seconds a million deliveries.
"""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from typing import Any

from benchmarks import measuring
from benchmarks.load import Job
from benchmarks.measuring import Reader
from benchmarks.subjects import PEERS, Subject, left_out, peer, project

SAMPLES = 20
# Events a second, and how many are written in one go.
RATES = {10: 1, 50: 1, 167: 1, 500: 10, 1_000: 50}
# Beyond these a peer is saturated, and what it is late with would be measured for minutes.
LIMITS = {
    "sse-starlette": 50,
    "django-eventstream": 50,
    "django-eventstream, storage": 50,
    "Channels groups, core layer": 10,
    "Channels groups, pub/sub layer": 10,
    "NestJS": 50,
    "nchan": 500,
}


def measure(subject: Subject, streams: int, rate: int, seconds: float) -> dict[str, Any]:
    job = Job(subject.port, streams, SAMPLES, [subject.path], subject.tokens)
    before = measuring.resident_kilobytes(subject.pid)
    with Reader(job) as reader:
        memory = measuring.resident_kilobytes(subject.pid) - before
        expected = round(rate * seconds)
        cpu = measuring.cpu_seconds(subject.pid)
        writer = subject.write(rate, seconds, RATES[rate])
        reader.start_waiting(expected, patience=20)
        written = measuring.said(writer)
        read = reader.answer()
        spent = measuring.cpu_seconds(subject.pid) - cpu
    deliveries = expected * streams
    return {
        "CPU-seconds a million deliveries": round(spent * 1e6 / deliveries, 2),
        "p50 ms": read["latency ms"].get("p50"),
        "p99 ms": read["latency ms"].get("p99"),
        "deliveries a second": round(deliveries / max(written["seconds"], 1)),
        "lost of the samples": read["lost"],
        "fewest frames of a stream": read["frames of a stream"][0],
        "doubled": read["doubled"],
        "disordered": read["disordered"],
        "KB a stream": round(memory / streams, 1),
        "bytes an event": round(read["bytes"] / deliveries),
        "load generator cores": read["load generator cores"],
        "limited by the load generator": read["limited by the load generator"],
    }


def subject_named(name: str) -> AbstractContextManager[Subject]:
    if name == "OpsPortal":
        return project()
    module, environment = PEERS[name]
    return peer(name, module, **environment)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rates", type=int, nargs="*", default=list(RATES))
    parser.add_argument("--only", action="append", choices=["OpsPortal", *PEERS])
    options = parser.parse_args()
    names = options.only or ["OpsPortal", *PEERS]
    for name in names:
        if need := left_out(name):
            print(f"{name} is left out for want of {need}", flush=True)
    names = [name for name in names if not left_out(name)]
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for name in names:
            for rate in options.rates:
                if rate <= LIMITS.get(name, rate):
                    with subject_named(name) as subject:
                        row = measure(subject, options.streams, rate, options.seconds)
                    print(f"{name}, {rate}/s: {row}", flush=True)
                    rows.setdefault((name, rate), []).append(row)
    results = [
        {"subject": name, "events a second": rate, "streams": options.streams}
        | measuring.median_of(found)
        for (name, rate), found in rows.items()
    ]
    measuring.write("streams", "make bench", results)


if __name__ == "__main__":
    main()
