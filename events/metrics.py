"""What this process has done, in numbers that only grow. Safe from any thread.

Count a chunk, never an event of it: a process delivers a million events a second.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from threading import Lock
from typing import Any, Final

# Seconds: from what a delivery takes on one machine up to a minute's outage.
LAG_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


class Counter:
    """A sum, or one for each value of `label` where that is named."""

    def __init__(self, name: str, text: str, label: str = "") -> None:
        self.name = name
        self.text = text
        self.label = label
        self.reset()

    def reset(self) -> None:
        self._lock = Lock()
        self._sums: dict[str, int] = {} if self.label else {"": 0}

    def add(self, amount: int = 1, of: str = "") -> None:
        """`of` is the label's value; there must be few of them."""
        with self._lock:
            self._sums[of] = self._sums.get(of, 0) + amount

    def value(self, of: str = "") -> int:
        return self._sums.get(of, 0)

    def snapshot(self) -> dict[str, int]:
        """The sums by the label's value, which is "" without a label."""
        with self._lock:
            return dict(self._sums)


class Histogram:
    """How many observations, in seconds, were at most each of the bounds; the rest come last."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...] = LAG_BOUNDS) -> None:
        self.name = name
        self.text = text
        self.bounds = bounds
        self.reset()

    def reset(self) -> None:
        self._lock = Lock()
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """What is below zero is zero: the clocks of two machines differ."""
        seconds = max(seconds, 0.0)
        with self._lock:
            self._counts[bisect_left(self.bounds, seconds)] += 1
            self._sum += seconds

    def snapshot(self) -> dict[str, Any]:
        """`{"bounds": […], "counts": […], "sum": s}`, one count more than bounds, not cumulated."""
        with self._lock:
            return {"bounds": self.bounds, "counts": list(self._counts), "sum": self._sum}


appended = Counter("appended", "Events committed to the log by this process.")
sequenced = Counter("sequenced", "Events given their position by this process.")
relayed = Counter("relayed", "Events published to the channel layer by this process.")
delivered = Counter("delivered", "Events written to streams, each once for every stream.")
sent_bytes = Counter("sent_bytes", "Bytes written to streams.")
repairs = Counter("repairs", "Readings of the log for what the channel layer did not bring.")
resets = Counter("resets", "Streams told to fetch their state anew.", "reason")
slow_closes = Counter("slow_closes", "Streams dropped because their clients took no bytes.")
layer_failures = Counter("layer_failures", "Failures of the channel layer.", "operation")
opened = Counter("streams_opened", "Streams opened.")
refused = Counter("streams_refused", "Streams refused, by the status of the answer.", "status")
closed = Counter("streams_closed", "Streams that ended, by who or what ended them.", "reason")
relay_lag = Histogram(
    "relay_lag_seconds", "From an event's emission until it had its place in the log."
)
delivery_lag = Histogram(
    "delivery_lag_seconds",
    "From the emission of a flush's first event until it was written, on one stream a flush.",
)

COUNTERS: Final = (
    *(appended, sequenced, relayed, delivered, sent_bytes, repairs, resets, slow_closes),
    *(layer_failures, opened, refused, closed),
)
HISTOGRAMS: Final = (relay_lag, delivery_lag)


def snapshot() -> dict[str, Any]:
    """All of them by name, for JSON."""
    return {metric.name: metric.snapshot() for metric in (*COUNTERS, *HISTOGRAMS)}


def reset() -> None:
    """Begins anew, with locks that nobody holds."""
    for metric in (*COUNTERS, *HISTOGRAMS):
        metric.reset()


# A child of a fork has done nothing yet, whatever its parent has.
os.register_at_fork(after_in_child=reset)
