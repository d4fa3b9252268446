"""Fault runs: `make faults`. On each stack, writers and readers at work while faults happen.

Prints a line a fault, then a table by their kinds. Ends with 1 where an event was lost, doubled,
reordered, shown to somebody without the right to it, or told of what was never committed, or where
the streams did not recover; then it says where to look. With its seed, the same faults happen in
the same order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import signal
import sys
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from faults.run import Run
from faults.stage import Stage
from tests.services import MissingService

STACKS: Final = ("embedded", "scaled")
SECONDS: Final = 120.0  # of faults on all stacks together; beginnings and ends come on top
SHOWN: Final = 20  # findings that are printed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    lasting = parser.add_mutually_exclusive_group()
    lasting.add_argument("--seconds", type=float, default=SECONDS, help="of faults, on all stacks")
    lasting.add_argument("--minutes", type=lambda text: 60 * float(text), dest="seconds")
    parser.add_argument("--stack", choices=STACKS, help="only this one")
    return parser.parse_args()


def run(stack: str, seed: int, seconds: float) -> bool:
    """Whether all went well. What there is to look at otherwise is kept, and said where."""
    print(f"— {stack}: {seconds:g} s of faults with the seed {seed}", flush=True)
    with TemporaryDirectory(prefix="opsportal-faults-") as directory:
        with Stage(stack, Path(directory), seed) as stage:
            played = Run(stage, seconds, random.Random(seed))
            problems = asyncio.run(played.play())
            findings = played.judge()
            print(played.table(findings), flush=True)
            if not problems and not findings:
                return True
            kept = Path(tempfile.mkdtemp(prefix=f"opsportal-faults-{stack}-{seed}-"))
            played.keep(kept, findings)
        for problem in problems:
            print(f"  {problem}")
        for finding in findings[:SHOWN]:
            print(f"  {played.told(finding)}")
        if len(findings) > SHOWN:
            print(f"  … and {len(findings) - SHOWN} more")
        print(
            f"FAILED on {stack} with the seed {seed}: make faults STACK={stack} SEED={seed}\n"
            f"{kept} has all findings, the log, what each reader got, the writers' journals and "
            "what the processes have printed.",
            flush=True,
        )
        return False


def main() -> int:
    # What a shell starts in its background is deaf to Ctrl-C; a run that is told to end cleans up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = arguments()
    stacks = [asked.stack] if asked.stack else STACKS
    try:
        well = [run(stack, asked.seed, asked.seconds / len(stacks)) for stack in stacks]
    except MissingService as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
