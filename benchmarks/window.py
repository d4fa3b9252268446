"""The flush window: what gathering for longer saves, and what it costs in latency.

python -m benchmarks.window [--rounds N] [--seconds N] [--streams N]
"""

from __future__ import annotations

from typing import Any

from benchmarks import measuring
from benchmarks.streams import measure
from benchmarks.subjects import project

RATE = 167
WINDOWS = [5, 10, 20, 30, 40, 60, 80]  # milliseconds


def main() -> None:
    options = measuring.options(__doc__).parse_args()
    found: dict[int, list[dict[str, Any]]] = {window: [] for window in WINDOWS}
    for _ in range(options.rounds):
        for window, rows in found.items():
            with project(EVENTS_FLUSH_WINDOW=window / 1000) as subject:
                rows.append(measure(subject, options.streams, RATE, options.seconds))
            print(f"{window} ms: {rows[-1]}", flush=True)
    rows = [
        {"window ms": window, "streams": options.streams, "events a second": RATE}
        | measuring.median_of(same)
        for window, same in found.items()
    ]
    measuring.write("window", rows)


if __name__ == "__main__":
    main()
