"""When a writer writes: the same for the project and its peers."""

from __future__ import annotations

import time
from collections.abc import Iterator


def batches(rate: float, seconds: float, size: int = 1) -> Iterator[range]:
    """The numbers of the events of each batch, from 0 on, each when it is due.

    `rate` is in events a second. A writer that is late writes on without a pause.
    """
    started = time.perf_counter()
    for first in range(0, round(rate * seconds), size):
        due = started + first / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        yield range(first, first + size)


def mark(number: int) -> str:
    """What a reader finds an event by: its number, and the moment before it is saved."""
    return f"bench {number} {time.time_ns()}"
