"""A server's latencies as a line to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Self

from servers.history import Bucket

WIDTH: Final = 576
HEIGHT: Final = 64
FOOT: Final = 12  # below the line, where failed checks are marked
HEAD: Final = 4


@dataclass(frozen=True, slots=True)
class Chart:
    """In the units of an image WIDTH × HEIGHT. `lines` are the d of paths, each without a gap;
    `failures` are where in the width checks failed. Latencies are in milliseconds, None without.
    """

    lines: list[str]
    failures: list[float]
    checks: int
    failed: int
    lowest: float | None
    average: float | None
    highest: float | None

    width = WIDTH
    height = HEIGHT

    @classmethod
    def of(cls, buckets: Sequence[Bucket]) -> Self:
        step = WIDTH / len(buckets)
        highest = max((b.highest for b in buckets if b.highest is not None), default=None)
        points = [
            (round((number + 0.5) * step, 1), _height(bucket.average, highest))
            for number, bucket in enumerate(buckets)
        ]
        measured = [(b.average, b.checks - b.failed) for b in buckets if b.average is not None]
        successes = sum(weight for _, weight in measured)
        return cls(
            lines=_lines(points),
            failures=[x for (x, _), bucket in zip(points, buckets, strict=True) if bucket.failed],
            checks=sum(bucket.checks for bucket in buckets),
            failed=sum(bucket.failed for bucket in buckets),
            lowest=min((b.lowest for b in buckets if b.lowest is not None), default=None),
            average=sum(a * w for a, w in measured) / successes if successes else None,
            highest=highest,
        )


def _height(latency: float | None, highest: float | None) -> float | None:
    """From the top; nothing is at the foot, so that twice as long is twice as high."""
    if latency is None or highest is None:
        return None
    room = HEIGHT - FOOT - HEAD
    return round(HEAD + room * (1 - latency / (highest or 1)), 1)


def _lines(points: Sequence[tuple[float, float | None]]) -> list[str]:
    """A lone point is a line of no length, which round ends make a dot."""
    lines = []
    for known, run in groupby(points, key=lambda point: point[1] is not None):
        if known:
            first, *rest = [f"{x} {y}" for x, y in run]
            lines.append("M" + "L".join([first, *(rest or [first])]))
    return lines
