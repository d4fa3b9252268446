"""Columns to be drawn as SVG. The pages' scripts draw the same ones (charts.js)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from servers.history import Uptime

HEIGHT: Final = 40
STEP: Final = 10  # from one column to the next
LEAST: Final = 3  # that can be seen


@dataclass(frozen=True, slots=True)
class Column:
    """In the units of an image that is HEIGHT high."""

    x: int
    y: float
    height: float


def columns(values: Sequence[float]) -> list[Column]:
    """The highest value is as high as the image; what is more than nothing can be seen."""
    highest = max(values, default=0) or 1
    heights = [round(max(HEIGHT * value / highest, LEAST if value else 0), 1) for value in values]
    return [Column(STEP * n, round(HEIGHT - high, 1), high) for n, high in enumerate(heights)]


@dataclass(frozen=True, slots=True)
class Loss:
    """A span's column: `whole` is how high it is, nothing where nothing is known, and `height` how
    much of that, from the top, was down."""

    x: int
    whole: int
    height: float


def losses(uptimes: Sequence[Uptime]) -> list[Loss]:
    shares = [uptime.down / (uptime.up + uptime.down or 1) for uptime in uptimes]
    heights = [round(max(HEIGHT * share, LEAST if share else 0), 1) for share in shares]
    wholes = [HEIGHT if uptime.ratio is not None else 0 for uptime in uptimes]
    return [Loss(STEP * n, *each) for n, each in enumerate(zip(wholes, heights, strict=True))]
