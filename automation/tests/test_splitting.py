"""Output in lines: all of it, and nothing but it."""

from __future__ import annotations

import random

import pytest

from automation.lines import LONGEST
from automation.splitting import Splitter


def split(*pieces: bytes) -> list[bytes]:
    splitter = Splitter()
    found = [line for piece in pieces for line in splitter.feed(piece)]
    return found + splitter.flush()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"\n", [b"\n"]),
        (b"a\nb", [b"a\n", b"b"]),
        (b"a\r\nb\rc\n\n", [b"a\r\n", b"b\rc\n", b"\n"]),
        (b"\0\x1b\n\x0b\x0c\x1c\x85\n", [b"\0\x1b\n", b"\x0b\x0c\x1c\x85\n"]),
        ("a\u2028b\n".encode(), ["a\u2028b\n".encode()]),
    ],
)
def test_a_line_ends_with_a_newline_and_with_nothing_else(text: bytes, lines: list[bytes]) -> None:
    assert split(text) == lines
    assert split(*(text[n : n + 1] for n in range(len(text)))) == lines


def test_no_byte_is_lost_or_changed() -> None:
    randomness = random.Random(3)
    for size in (10, 1000, 60_000):
        text = randomness.randbytes(size) + b"x" * size
        cuts = sorted(randomness.choices(range(len(text)), k=20))
        pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        lines = split(*pieces)
        assert b"".join(lines) == text
        assert max(map(len, lines)) <= LONGEST


def test_a_long_line_is_not_cut_within_a_character() -> None:
    text = ("x" + "日é🙂" * 9000).encode()
    lines = split(text)
    assert len(lines) > 3
    assert "".join(line.decode() for line in lines).encode() == text


def test_what_waits_is_shown_up_to_the_last_whole_character() -> None:
    splitter = Splitter()
    splitter.feed("10 % é".encode()[:-1])
    assert splitter.flush(final=False) == [b"10 % "]
    assert splitter.flush(final=False) == []
    assert splitter.feed(b"\xa9\n") == ["é\n".encode()]


def test_broken_bytes_do_not_wait_for_ever() -> None:
    assert split(b"\x80" * (LONGEST + 5)) == [b"\x80" * LONGEST, b"\x80" * 5]
    splitter = Splitter()
    splitter.feed(b"\xff\x80\x80\x80")
    assert splitter.flush(final=False) == [b"\xff\x80\x80\x80"]
