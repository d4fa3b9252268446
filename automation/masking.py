"""Secrets taken out of what a program prints, however its output is cut into pieces. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from automation.parameters import SHORTEST_SECRET

MASK: Final = b"********"


def patterns(secrets: Iterable[str]) -> list[bytes]:
    """What must not be shown of these: each whole, and each line of one that has several.

    A line that is too short to be a secret by itself is not masked by itself.
    """
    found = set()
    for secret in secrets:
        for text in (secret, secret.strip(), *secret.splitlines()):
            if len(text.strip()) >= SHORTEST_SECRET:
                found.add(text.encode())
    return sorted(found)


def masked(text: str, hidden: list[bytes]) -> str:
    """A text without what is hidden, for what the portal itself says."""
    mask = Mask(hidden)
    return (mask.feed(text.encode(errors="replace")) + mask.end()).decode(errors="replace")


class Mask:
    """Masks a stream of bytes: each that belongs to anything hidden goes, and MASK comes instead.

    What may be the beginning of something hidden is held back until it is known.
    """

    def __init__(self, hidden: list[bytes]) -> None:
        self._hidden = hidden
        self._held = b""
        self._gone = 0  # bytes at the beginning of what is held that are masked already

    def feed(self, data: bytes) -> bytes:
        """What can be shown after these bytes have come."""
        if not self._hidden:
            return data
        text = self._held + data
        return self._take(text, len(text) - self._beginning(text))

    def end(self) -> bytes:
        """What was held back: nothing follows."""
        return self._take(self._held, len(self._held))

    def _beginning(self, text: bytes) -> int:
        """How many bytes at the end may begin something hidden."""
        return max(_overlap(text, hidden) for hidden in self._hidden)

    def _take(self, text: bytes, length: int) -> bytes:
        """The first `length` bytes, masked; holds back the others."""
        shown: list[bytes] = []
        at = self._gone
        for begin, end in self._spans(text):
            if begin >= length:
                break
            shown.append(text[at:begin])
            if begin or not self._gone:
                shown.append(MASK)
            at = end
        if at < length:
            shown.append(text[at:length])
        self._held, self._gone = text[length:], max(at - length, 0)
        return b"".join(shown)

    def _spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where something hidden stands, in order; what overlaps is one."""
        found = [(0, self._gone)] if self._gone else []
        for hidden in self._hidden:
            at = text.find(hidden)
            while at >= 0:
                found.append((at, at + len(hidden)))
                at = text.find(hidden, at + 1)
        found.sort()
        begin = end = 0
        for first, last in found:
            if first >= end:
                if end > 0:
                    yield begin, end
                begin = first
            end = max(end, last)
        if end > 0:
            yield begin, end


def _overlap(text: bytes, hidden: bytes) -> int:
    """The length of the longest end of `text` that `hidden` begins with, but is more than."""
    at = max(len(text) - len(hidden) + 1, 0)
    while (at := text.find(hidden[:1], at)) >= 0:
        if hidden.startswith(text[at:]):
            return len(text) - at
        at += 1
    return 0
