"""The tables of docs/performance.md, each made of a result file.

    python -m benchmarks.tables    writes them anew

A block begins with `<!-- results: NAME -->` and ends with `<!-- end -->`; NAME may be followed by a
part of the results, as in `pages.storms`. Nothing between the two is written by hand, and a test
fails where it is not what the file says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

RESULTS = Path(__file__).with_name("results")
DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- results: (\w+)(?:\.(\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)

Row = Mapping[str, Any]

# Headings and the names of what stands below them.
STREAMS: Final = {
    "CPU-s per million": "CPU-seconds a million deliveries",
    "p50 ms": "p50 ms",
    "p99 ms": "p99 ms",
    "lost": "lost of the samples",
    "doubled": "doubled",
    "KB a stream": "KB a stream",
}
LIMITED: Final = ("deliveries a second", "p50 ms", "p99 ms", "max ms")
COLUMNS: Final[dict[str, dict[str, str]]] = {
    "streams": {
        "": "subject",
        "events/s": "events a second",
        "deliveries/s": "deliveries a second",
        **STREAMS,
    },
    "scale.runs": {
        "streams": "streams",
        "events/s": "events a second",
        "CPU-s": "CPU-seconds",
        "of the fit": "fitted CPU-seconds",
        "p50 ms": "p50 ms",
        "p99 ms": "p99 ms",
        "max ms": "max ms",
        "KB a stream": "KB a stream",
    },
    "window": {"window ms": "window ms", "events a write": "events a write", **STREAMS},
    "rights": {
        "sets of rights": "sets of rights",
        "times the CPU of one": "times the CPU of one set",
        **STREAMS,
    },
    "storm": {
        "streams": "streams",
        "s until all were open": "seconds until all were open",
        "refused": "refused",
        "events": "events",
        "fewest of a stream": "fewest events of a stream",
        "most": "most events of a stream",
        "disordered": "disordered",
        "p99 ms": "p99 ms",
        "queries": "queries in the storm",
        "beyond those of before": "of them beyond those of before",
    },
    "emission": {
        "": "measured",
        "writers": "writers",
        "changes/s": "changes a second",
        "CPU-ms a change": "CPU milliseconds a change",
        "from commit to published, ms": "from commit to published, ms",
    },
    "servers": {
        "server": "server",
        "version": "version",
        "events/s": "events a second",
        **STREAMS,
    },
    "polling": {
        "": "how",
        "users": "users",
        "requests an hour": "requests an hour",
        "wanted": "requests wanted an hour",
        "queries an hour": "queries an hour",
        "KB an hour": "KB an hour",
        "cores of the web process": "cores of the web process",
        "s until a user knew": "latency s",
        "the stream takes": "the stream takes",
    },
    "deduplication": {
        "": "measured",
        "requests": "requests",
        "computations": "computations",
        "s until the last answer": "seconds until the last answer",
        "ms of a hit": "ms, hit",
        "of the same view without": "ms, without",
        "paired difference": "ms of a hit beyond: without",
    },
    "compression": {
        "events/s": "events a second",
        "gzip": "gzip",
        "bytes an event": "bytes an event",
        **STREAMS,
    },
}


def table(name: str, rows: Sequence[Row]) -> str:
    columns = COLUMNS.get(name) or {key: key for row in rows for key in row}
    lines = [list(columns), ["---"] + ["---:"] * (len(columns) - 1)]
    lines += [[marked(row, key) for key in columns.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def marked(row: Row, key: str) -> str:
    """A cell; what the load generator limited has a dagger."""
    is_limited = key in LIMITED and row.get("limited by the load generator")
    return cell(row.get(key)) + ("†" if is_limited else "")


def cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(part)}" for key, part in value.items()) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if value == int(value) else f"{value:,}"
    return "–" if value is None else str(value)


def conditions(found: Mapping[str, str]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in found.items() if name != "command")
    return f"`{found['command']}`: {said}.\n"


def rendered(text: str, read: Callable[[str], Any]) -> str:
    """The document with its blocks made anew; `read(name)` is the content of a result file."""

    def block(found: re.Match[str]) -> str:
        beginning, name, part, end = found.groups()
        content = read(name)
        results = content["results"]
        rows = results[part] if part else results
        drawn = table(f"{name}.{part}" if part else name, rows)
        return f"{beginning}{drawn}\n{conditions(content['conditions'])}{end}"

    return BLOCK.sub(block, text)


def read_results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def main() -> None:
    DOCUMENT.write_text(rendered(DOCUMENT.read_text(), read_results))


if __name__ == "__main__":
    main()
