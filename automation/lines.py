"""Lines of a log as bytes. Pure: no Django, nothing of ours.

A batch is compressed: one line of JSON with target, stream, microseconds since the epoch and length
of each line, then the raw bytes of them all. So what a program printed is kept letter for letter.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

STDOUT: Final = "stdout"
STDERR: Final = "stderr"
SYSTEM: Final = "system"  # what the portal itself remarks
STREAMS: Final = (STDOUT, STDERR, SYSTEM)

LONGEST: Final = 16_384  # bytes of a line; a longer one is stored in parts
LEVEL: Final = 3  # of compression
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Line(NamedTuple):
    """A line with its end, or a part of one: `raw` ends with a newline where the line ends.

    `target` is the position of the run's target that it came from, 0 for the run itself; `at` is
    in microseconds since the epoch.
    """

    target: int
    stream: str
    at: int
    raw: bytes


def pack(lines: Sequence[Line]) -> bytes:
    header = [[line.target, STREAMS.index(line.stream), line.at, len(line.raw)] for line in lines]
    text = json.dumps(header, separators=(",", ":")).encode()
    return zlib.compress(b"\n".join((text, b"".join(line.raw for line in lines))), LEVEL)


def unpack(body: bytes) -> Iterator[Line]:
    header, _, raw = zlib.decompress(body).partition(b"\n")
    begin = 0
    for target, stream, at, length in json.loads(header):
        yield Line(target, STREAMS[stream], at, raw[begin : begin + length])
        begin += length


def shown(seq: int, server: str, line: Line) -> dict[str, Any]:
    """A line as events and the API tell it.

    `text` is without the newline, and what is no UTF-8 is replaced; `partial` is there where the
    line does not end, and goes on in the next one of its server and stream.
    """
    ends = line.raw.endswith(b"\n")
    text = (line.raw[:-1] if ends else line.raw).decode(errors="replace")
    told = {
        "seq": seq,
        "server": server,
        "stream": line.stream,
        "text": text,
        "timestamp": timestamp(line.at),
    }
    return told if ends else told | {"partial": True}


@functools.lru_cache(maxsize=256)  # many lines come in one piece
def timestamp(at: int) -> str:
    """RFC 3339 in UTC, with microseconds."""
    moment = _EPOCH + timedelta(microseconds=at)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def groups(lines: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Shown lines in groups that take about `size` bytes each, as JSON."""
    group: list[dict[str, Any]] = []
    room = size
    for line in lines:
        taken = len(line["text"]) + 120  # its other fields
        if group and taken > room:
            yield group
            group, room = [], size
        group.append(line)
        room -= taken
    if group:
        yield group
