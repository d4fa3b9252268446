"""Lines keep every byte, and are told as text."""

from __future__ import annotations

import random

import pytest

from automation import lines
from automation.lines import Line

MOMENT = 1_764_460_800_123_456


def test_every_byte_comes_back() -> None:
    randomness = random.Random(1)
    added = [
        Line(n % 3, lines.STREAMS[n % 3], MOMENT + n, randomness.randbytes(n % 40) + b"\n")
        for n in range(500)
    ]
    added.append(Line(1, lines.STDOUT, MOMENT, bytes(range(256))))
    assert list(lines.unpack(lines.pack(added))) == added


@pytest.mark.parametrize(
    ("raw", "text", "partial"),
    [
        (b"hello\n", "hello", False),
        (b"hello", "hello", True),
        (b"\n", "", False),
        (b"a\r\n", "a\r", False),
        (b"\x00\x1b[31m\x7f\n", "\x00\x1b[31m\x7f", False),
        (b"caf\xe9\n", "caf�", False),
        ("日本\n".encode(), "日本", False),
    ],
)
def test_a_line_as_text(raw: bytes, text: str, partial: bool) -> None:
    told = lines.shown(7, "web-01", Line(1, lines.STDERR, MOMENT, raw))
    wanted = {
        "seq": 7,
        "server": "web-01",
        "stream": "stderr",
        "text": text,
        "timestamp": "2025-11-30T00:00:00.123456Z",
    }
    assert told == (wanted | {"partial": True} if partial else wanted)


def test_groups_are_bounded_and_leave_nothing_out() -> None:
    shown = [lines.shown(n, "a", Line(1, lines.STDOUT, MOMENT, b"x" * n)) for n in range(1, 300)]
    groups = list(lines.groups(shown, 2000))
    assert [line for group in groups for line in group] == shown
    assert len(groups) > 20
    assert all(sum(len(line["text"]) + 120 for line in group) <= 2000 for group in groups)
