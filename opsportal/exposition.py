"""The reports of processes as metrics of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from django.utils import timezone
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from events import metrics, wire
from events.models import ProcessReport

PREFIX: Final = "opsportal_events_"


def seconds_since(moment: str | None) -> float | None:
    """From an RFC 3339 text until now."""
    if moment is None:
        return None
    return max(timezone.now().timestamp() - wire.parse_timestamp(moment), 0.0)


Hub = dict[str, Any]  # as events.reports.describe gives it
Gauge = tuple[str, str, Callable[[Hub], float | None]]
GAUGES: Final[tuple[Gauge, ...]] = (
    ("streams", "Open streams.", lambda hub: hub["streams"]),
    ("stream_users", "Users with open streams.", lambda hub: hub["users"]),
    ("head_position", "The log's last position that the process knows.", lambda hub: hub["head"]),
    ("lag_events", "Events in the log that the process lacks.", lambda hub: hub["lag"]),
    ("ring_events", "Events kept in memory.", lambda hub: hub["ring"]["events"]),
    ("ring_bytes", "Bytes of the events kept in memory.", lambda hub: hub["ring"]["bytes"]),
    (
        "ring_span_seconds",
        "Since the emission of the oldest event kept in memory.",
        lambda hub: seconds_since(hub["ring"]["oldest"]),
    ),
    (
        "last_repair_timestamp_seconds",
        "When the process last read from the log what it had not received, in Unix time.",
        lambda hub: hub["repaired_at"] and wire.parse_timestamp(hub["repaired_at"]),
    ),
    ("draining", "1 while the process ends its streams.", lambda hub: float(hub["draining"])),
)


class Reports(Collector):
    """The metrics of some processes, each with the label `process`."""

    def __init__(self, rows: list[ProcessReport]) -> None:
        self.rows = rows

    def collect(self) -> Iterator[Metric]:
        yield self._ages()
        for gauge in GAUGES:
            yield self._gauge(*gauge)
        for counter in metrics.COUNTERS:
            yield self._counter(counter)
        for histogram in metrics.HISTOGRAMS:
            yield self._histogram(histogram)

    def _ages(self) -> Metric:
        text = "Age of the numbers of a process."
        family = GaugeMetricFamily(f"{PREFIX}report_age_seconds", text, labels=["process", "kind"])
        for row in self.rows:
            age = (timezone.now() - row.reported_at).total_seconds()
            family.add_metric([row.process, row.report["kind"]], max(age, 0.0))
        return family

    def _gauge(self, name: str, text: str, read: Callable[[Hub], float | None]) -> Metric:
        """Of processes with a hub only: a worker has no streams."""
        family = GaugeMetricFamily(PREFIX + name, text, labels=["process"])
        for row in self.rows:
            value = told(read, row.report["hub"])
            if value is not None:
                family.add_metric([row.process], value)
        return family

    def _counter(self, counter: metrics.Counter) -> Metric:
        labels = ["process", *filter(None, [counter.label])]
        family = CounterMetricFamily(PREFIX + counter.name, counter.text, labels=labels)
        for process, sums in self._told(counter.name):
            for value, total in sums.items():
                family.add_metric([process, *filter(None, [value])], total)
        return family

    def _histogram(self, histogram: metrics.Histogram) -> Metric:
        family = HistogramMetricFamily(PREFIX + histogram.name, histogram.text, labels=["process"])
        for process, told in self._told(histogram.name):
            family.add_metric([process], list(cumulated(told)), told["sum"])
        return family

    def _told(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """By process; one of another version may not know this metric."""
        for row in self.rows:
            if name in row.report["metrics"]:
                yield row.process, row.report["metrics"][name]


def told(read: Callable[[Hub], float | None], hub: Hub | None) -> float | None:
    """None where there is no hub, or where one of another version does not tell this."""
    try:
        return None if hub is None else read(hub)
    except KeyError:
        return None


def cumulated(told: dict[str, Any]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip([*told["bounds"], "+Inf"], told["counts"], strict=True):
        total += count
        yield str(bound), total
