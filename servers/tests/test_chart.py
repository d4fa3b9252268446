"""What is drawn and said of a server's past."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from servers.chart import HEAD, HEIGHT, WIDTH, Chart
from servers.history import Bucket
from servers.templatetags.servers import percent, span, told

START = datetime(2026, 11, 24, tzinfo=UTC)


def bucket(*latencies: float | None) -> Bucket:
    measured = [latency for latency in latencies if latency is not None]
    return Bucket(
        START,
        checks=len(latencies),
        failed=len(latencies) - len(measured),
        lowest=min(measured, default=None),
        average=sum(measured) / len(measured) if measured else None,
        highest=max(measured, default=None),
    )


def test_a_gap_is_not_bridged_and_failures_are_marked() -> None:
    chart = Chart.of([bucket(10, 30), bucket(20), bucket(None), bucket(40, None)])
    assert len(chart.lines) == 2
    assert chart.failures == [WIDTH * 2.5 / 4, WIDTH * 3.5 / 4]
    assert (chart.checks, chart.failed) == (6, 2)
    assert (chart.lowest, chart.average, chart.highest) == (10, 25, 40)
    assert chart.lines[1] == f"M504.0 {float(HEAD)}L504.0 {float(HEAD)}"


def test_without_checks_nothing_is_drawn() -> None:
    chart = Chart.of([bucket(), bucket()])
    assert (chart.lines, chart.failures, chart.average) == ([], [], None)


def test_latencies_of_nothing_stay_in_the_image() -> None:
    [line] = Chart.of([bucket(0.0), bucket(0.0)]).lines
    assert all(0 <= float(point.split()[1]) <= HEIGHT for point in line[1:].split("L"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (119, "1 min"),
        (3_600, "1 h"),
        (11_520, "3 h 12 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 400 + 3_599, "400 d"),
    ],
)
def test_spans_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_what_was_down_for_a_moment_is_not_told_as_never_down() -> None:
    assert percent(0.999_999) == "99.99 %"
    assert percent(1.0) == "100.00 %"


def test_a_key_that_cannot_be_read_is_told_as_such() -> None:
    assert told("no key", "host_key") == "unreadable"
    assert told(None, "host_key") == told([], "tags") == "–"
