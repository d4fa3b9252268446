"""All benchmarks, one after the other, then the tables and drawings: `make bench`.

One that fails keeps its last result, and the others are run all the same.
"""

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
    failed = []
    for name in NAMES:
        print(f"— {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
