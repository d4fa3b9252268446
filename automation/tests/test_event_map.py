"""What is published as a line of a log is one."""

from __future__ import annotations

from typing import Any

import pytest

from events.api import InvalidEventData
from events.bus import Draft, prepare

LINE: dict[str, Any] = {
    "seq": 1,
    "server": "web-01",
    "stream": "stdout",
    "text": "hello",
    "timestamp": "2026-11-30T00:00:00.000001Z",
}


def log_added(*lines: Any) -> Draft:
    return Draft("log.added", {"id": 1, "run": 1, "lines": list(lines)})


def test_lines_are_taken_as_they_are() -> None:
    lines = [LINE, LINE | {"text": "\x1b[1m\0", "partial": True, "server": ""}]
    assert prepare(log_added(*lines)).data["lines"] == lines


@pytest.mark.parametrize(
    "line",
    [
        "text",
        {},
        LINE | {"password": "swordfish"},
        {k: v for k, v in LINE.items() if k != "text"},
        LINE | {"seq": 0},
        LINE | {"seq": "1"},
        LINE | {"seq": True},
        LINE | {"text": 5},
        LINE | {"stream": "stdin"},
        LINE | {"timestamp": "now"},
        LINE | {"partial": "yes"},
    ],
)
def test_what_is_no_line_is_refused(line: Any) -> None:
    with pytest.raises(InvalidEventData):
        prepare(log_added(LINE, line))
