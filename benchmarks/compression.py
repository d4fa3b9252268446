"""Compression paid once: bytes and CPU of streams with gzip and without.

python -m benchmarks.compression [--rounds N] [--seconds N] [--streams N]
"""

from __future__ import annotations

from typing import Any

from benchmarks import measuring
from benchmarks.streams import measure
from benchmarks.subjects import project

RATES = [10, 167, 500]


def main() -> None:
    options = measuring.options(__doc__).parse_args()
    found: dict[tuple[int, bool], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for rate in RATES:
            for gzip in (False, True):
                with project() as subject:
                    row = measure(subject, options.streams, rate, options.seconds, gzip=gzip)
                print(f"{rate}/s, gzip {gzip}: {row}", flush=True)
                found.setdefault((rate, gzip), []).append(row)
    rows = [
        {"events a second": rate, "gzip": gzip, "streams": options.streams}
        | measuring.median_of(same)
        for (rate, gzip), same in found.items()
    ]
    measuring.write("compression", rows)


if __name__ == "__main__":
    main()
