"""Processes under measurement: what they cost, and the readers and writers that work them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.load import Job
from tests.services import ROOT, program_version

RESULTS = Path(__file__).with_name("results")
TICKS = os.sysconf("SC_CLK_TCK")
PACKAGES = ["Django", "channels", "channels-redis", "uvicorn", "uvloop"]
SERVERS = {"PostgreSQL": ("postgres", "postgresql"), "Redis": ("redis-server", "redis-server")}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of the children that it has waited for."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, stat[11:15])) / TICKS


def family(pid: int) -> set[int]:
    """The process and all its descendants that are running."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def family_cpu_seconds(pid: int) -> float:
    """As `cpu_seconds`, of all of them: PostgreSQL is a process for each connection."""
    total = 0.0
    for member in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            total += cpu_seconds(member)
    return total


def resident_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


class Reader:
    """A context manager: `benchmarks.load` in a process of its own."""

    def __init__(self, job: Job) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask(asdict(job))

    def read_for(self, seconds: float) -> None:
        self._ask({"read": seconds})

    def reopen(self) -> dict[str, Any]:
        return self._ask({"reopen": True})

    def start_waiting(self, expect: int, patience: float = 10) -> None:
        self._tell({"expect": expect, "patience": patience})

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        self._tell(question)
        return self.answer()

    def _tell(self, question: Mapping[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def said(writer: subprocess.Popen[str]) -> dict[str, Any]:
    """What a writer printed at its end. Raises RuntimeError where it failed."""
    printed, _ = writer.communicate()
    if writer.returncode:
        raise RuntimeError(f"the writer ended with {writer.returncode}")
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found


def options(description: str | None, streams: int = 1_000, rounds: int = 3) -> ArgumentParser:
    """A parser of what most measurements can be told."""
    parser = ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--streams", type=int, default=streams)
    parser.add_argument("--seconds", type=float, default=10, help="of events, each time")
    return parser


def median_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of numbers the median, or the worst where that is what counts (WORST); of what is the same in
    all rows that."""
    rows = list(rows)
    return {name: WORST.get(name, _median)([row[name] for row in rows]) for name in rows[0]}


def _most(values: Iterable[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


# A median would hide an event that was lost in one round of three.
WORST: Final[Mapping[str, Callable[[list[Any]], Any]]] = {
    "lost of the samples": max,
    "doubled": max,
    "disordered": max,
    "refused": max,
    "not published": max,
    "fewest frames of a stream": min,
    "fewest events of a stream": min,
    "most events of a stream": max,
    "limited by the load generator": any,
    "max ms": _most,
    "p100": _most,
}


def _median(values: list[Any]) -> Any:
    if all(isinstance(value, dict) for value in values):
        return median_of(values)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return round(statistics.median(values), 3)
    return values[0] if all(value == values[0] for value in values) else values


def conditions(command: str) -> dict[str, str]:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cores = f"{os.cpu_count()} shared cores of {model[1] if model else platform.machine()}"
    return {
        "machine": f"{cores}, everything on them",
        "versions": ", ".join(
            [f"Python {platform.python_version()}"]
            + [f"{name} {version(name)}" for name in PACKAGES]
            + [f"{name} {program_version(*program)}" for name, program in SERVERS.items()]
        ),
        "commit": commit(),
        "command": command,
    }


def commit() -> str:
    """That of the code which runs, `-dirty` where a file is changed that is none of the outcome."""
    code = [".", ":!benchmarks/results", ":!docs", ":!*.md"]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *code)
    return _git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip()


def write(name: str, results: Any, **settings: object) -> None:
    """The result file of the program of this name, as it was called; `settings` are those of the
    project that were not its own."""
    command = " ".join([f"python -m benchmarks.{name}", *sys.argv[1:]])
    found = {"conditions": conditions(command) | settings, "results": results}
    text = json.dumps(found, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
