"""1,000 streams at several rates: the project beside what people would use instead.

    python -m benchmarks.streams [--rounds N] [--streams N] [--seconds N] [--only NAME]…
    python -m benchmarks.streams --quick      two minutes, few streams, ratios only

The subjects alternate, each anew in each round; the table shows medians, and the worst round of
what may not happen at all. The cost is the CPU time of the streaming process, from before the
writer is started until the last delivery, for a million deliveries. With --only or --quick nothing
is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from benchmarks import measuring
from benchmarks.load import Job
from benchmarks.measuring import Reader
from benchmarks.subjects import PEERS, Subject, left_out, peer, project

OURS = "OpsPortal"
SAMPLES = 20
# Events a second, and how many are written in one go.
RATES: dict[float, int] = {10: 1, 50: 1, 167: 1, 500: 10, 1_000: 50}
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

# What runs in Python beside the project, where a regression of either shows soon.
IN_PROCESS = [OURS, "bare epoll writer", "sse-starlette", "django-eventstream"]
QUICK_RATES = [10, 50]


def measure(
    subject: Subject, streams: int, rate: float, seconds: float, **options: Any
) -> dict[str, Any]:
    """One run with this many streams. Options are those of a Job."""
    job = Job(subject.port, streams, SAMPLES, [subject.path], subject.tokens)
    before = measuring.resident_kilobytes(subject.pid)
    with Reader(replace(job, **options)) as reader:
        memory = measuring.resident_kilobytes(subject.pid) - before
        expected = round(rate * seconds)
        cpu = measuring.cpu_seconds(subject.pid)
        writer = subject.write(rate, seconds, RATES.get(rate, 1))
        reader.start_waiting(expected, patience=20)
        measuring.said(writer)
        read = reader.answer()
        spent = measuring.cpu_seconds(subject.pid) - cpu
    deliveries, chunks = expected * streams, read["chunks of a sample"]
    delivered = deliveries * (1 - read["lost"] / (expected * read["sampled"]))
    return {
        "CPU-seconds a million deliveries": round(spent * 1e6 / deliveries, 2),
        "p50 ms": read["latency ms"].get("p50"),
        "p99 ms": read["latency ms"].get("p99"),
        "max ms": read["latency ms"].get("p100"),
        "deliveries a second": round(delivered / max(read["seconds"], seconds)),
        "lost of the samples": read["lost"],
        "fewest frames of a stream": read["frames of a stream"][0],
        "doubled": read["doubled"],
        "disordered": read["disordered"],
        "KB a stream": round(memory / streams, 1),
        "bytes an event": round(read["bytes"] / deliveries),
        "events a write": round(expected / max(chunks, 1), 1) if chunks else None,
        "CPU-seconds": round(spent, 2),
        "load generator cores": read["load generator cores"],
        "limited by the load generator": read["limited by the load generator"],
    }


def subject_named(name: str) -> AbstractContextManager[Subject]:
    if name == OURS:
        return project()
    module, environment = PEERS[name]
    return peer(name, module, **environment)


def run(
    names: Sequence[str], rates: Sequence[int], streams: int, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """The medians of each subject at each rate that it bears; the subjects take turns."""
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name in names:
            for rate in rates:
                if rate <= LIMITS.get(name, rate):
                    with subject_named(name) as subject:
                        row = measure(subject, streams, rate, seconds)
                    print(f"{name}, {rate}/s: {row}", flush=True)
                    rows.setdefault((name, rate), []).append(row)
    return [
        {"subject": name, "events a second": rate, "streams": streams} | measuring.median_of(found)
        for (name, rate), found in rows.items()
    ]


def print_ratios(results: Sequence[dict[str, Any]]) -> None:
    """What each subject costs beside the project."""
    for row in results:
        rate, cost = row["events a second"], row["CPU-seconds a million deliveries"]
        own = next(r for r in results if r["subject"] == OURS and r["events a second"] == rate)
        ratio = cost / own["CPU-seconds a million deliveries"]
        print(f"{rate:>5}/s  {row['subject']:32} {cost:8.2f} CPU-s a million  × {ratio:.2f}")


def main() -> None:
    parser = measuring.options(__doc__)
    parser.add_argument("--rates", type=int, nargs="*", default=list(RATES))
    parser.add_argument("--only", action="append", choices=[OURS, *PEERS])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        print_ratios(run(IN_PROCESS, QUICK_RATES, streams=300, seconds=4, rounds=1))
        return
    names = options.only or [OURS, *PEERS]
    for name in names:
        if need := left_out(name):
            print(f"{name} is left out for want of {need}", flush=True)
    names = [name for name in names if not left_out(name)]
    results = run(names, options.rates, options.streams, options.seconds, options.rounds)
    if not options.only:
        measuring.write("streams", results)
        print_ratios(results)


if __name__ == "__main__":
    main()
