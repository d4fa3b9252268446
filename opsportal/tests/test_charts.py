"""Columns: as high as their values, and never too low to be seen."""

from __future__ import annotations

from opsportal import charts
from servers.history import Uptime


def test_the_highest_fills_the_image_and_nothing_is_nothing() -> None:
    found = charts.columns([0, 1, 400, 200])
    assert [column.height for column in found] == [0, charts.LEAST, charts.HEIGHT, 20]
    assert all(column.y + column.height == charts.HEIGHT for column in found)


def test_without_a_value_there_is_no_column() -> None:
    assert [column.height for column in charts.columns([0, 0])] == [0, 0]
    assert charts.columns([]) == []


def test_a_moments_loss_is_seen_and_what_is_not_known_is_no_loss() -> None:
    found = charts.losses([Uptime(0, 0), Uptime(3600, 0), Uptime(3599, 1), Uptime(0, 60)])
    assert [(loss.whole, loss.height) for loss in found] == [
        (0, 0),
        (charts.HEIGHT, 0),
        (charts.HEIGHT, charts.LEAST),
        (charts.HEIGHT, charts.HEIGHT),
    ]
