"""Secrets never come through, wherever the output is cut, and all else does."""

from __future__ import annotations

import random

import pytest

from automation.masking import MASK, Mask, masked, patterns


def through(hidden: list[bytes], *pieces: bytes) -> bytes:
    mask = Mask(hidden)
    return b"".join(mask.feed(piece) for piece in pieces) + mask.end()


@pytest.mark.parametrize(
    ("hidden", "text", "shown"),
    [
        ([b"swordfish"], b"my swordfish!", b"my ********!"),
        ([b"swordfish"], b"swordfis", b"swordfis"),
        ([b"swordfish"], b"swordfisswordfish", b"swordfis********"),
        ([b"abcd", b"abcdef"], b"abcdef abcde", b"******** ********e"),
        ([b"abcd", b"cdxy"], b"-abcdxy-", b"-********-"),
        ([b"aaaa"], b"aaaaaaaaaaa b", b"******** b"),
        ([b"aaaa"], b"aaa b", b"aaa b"),
        ([b"a\nb\n"], b"xa\nb\ny", b"x********y"),
        ([b"\xff\xfe00"], b"\xff\xff\xfe00", b"\xff********"),
        ([b"abab"], b"ababab", b"********"),
        ([], b"swordfish", b"swordfish"),
    ],
)
def test_secrets_are_masked_however_the_output_is_cut(
    hidden: list[bytes], text: bytes, shown: bytes
) -> None:
    assert through(hidden, text) == shown
    assert through(hidden, *(text[n : n + 1] for n in range(len(text)))) == shown
    for cut in range(len(text)):
        assert through(hidden, text[:cut], text[cut:]) == shown


def test_any_cuts_of_random_texts_come_to_the_same() -> None:
    randomness = random.Random(7)
    for _ in range(3000):
        hidden = [bytes(randomness.choices(b"ab", k=randomness.randint(1, 5))) for _ in range(3)]
        text = bytes(randomness.choices(b"abc", k=40))
        cuts = sorted(randomness.choices(range(41), k=5))
        pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, 40], strict=True)]
        shown = through(hidden, *pieces)
        assert shown == through(hidden, text)
        assert not any(secret in shown for secret in hidden)
        kept = [n for n in range(40) if not any(covers(secret, text, n) for secret in hidden)]
        assert bytes(text[n] for n in kept) == shown.replace(MASK, b"")


def covers(secret: bytes, text: bytes, place: int) -> bool:
    begins = range(max(place - len(secret) + 1, 0), place + 1)
    return any(text.startswith(secret, begin) for begin in begins)


def test_what_cannot_begin_a_secret_is_shown_at_once() -> None:
    mask = Mask([b"swordfish"])
    assert mask.feed(b"Password: ") == b"Password: "
    assert mask.feed(b"swor") == b""
    assert mask.feed(b"d") == b""
    assert mask.feed(b"s") == b"sword"  # the s may begin it anew
    assert mask.end() == b"s"


def test_each_line_of_a_secret_is_one() -> None:
    key = "-----BEGIN KEY-----\r\nabc\nMIIEvQ\n"
    found = patterns([key, ""])
    assert b"MIIEvQ" in found
    assert key.encode() in found
    assert b"-----BEGIN KEY-----" in found
    assert b"abc" not in found  # three letters stand in many words
    assert through(found, b"2: MIIEvQ\r\n") == b"2: ********\r\n"


def test_words_of_the_portal_are_masked_too() -> None:
    assert masked("no command “swordfish”", [b"swordfish"]) == "no command “********”"
