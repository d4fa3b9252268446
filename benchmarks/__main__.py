"""All benchmarks, one after the other, then the tables and drawings: `make bench`."""

from __future__ import annotations

import subprocess
import sys

NAMES = [
    "streams",
    "scale",
    "window",
    "rights",
    "compression",
    "storm",
    "emission",
    "polling",
    "deduplication",
    "servers",
    "latency",
    "stalled",
    "checks",
    "pages",
    "long_log",
    "tables",
    "plots",
]


def main() -> None:
    for name in NAMES:
        print(f"— {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
