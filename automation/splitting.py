"""A stream of bytes, cut into lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from automation.lines import LONGEST


class Splitter:
    """Keeps the line that is not complete; no byte is lost or changed."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, each with its newline; a long one comes in parts."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        lines: list[bytes] = []
        for line in complete:
            lines.extend(_parts(line + b"\n"))
        if len(self._rest) > LONGEST:
            *full, self._rest = _parts(self._rest)
            lines += full
        return lines

    def flush(self, *, final: bool = True) -> list[bytes]:
        """What there is of the line that is not complete.

        Unless it is final, a character that has only begun stays.
        """
        cut = len(self._rest) if final else _boundary(self._rest, len(self._rest))
        part, self._rest = self._rest[:cut], self._rest[cut:]
        return [part] if part else []


def _parts(line: bytes) -> Iterator[bytes]:
    while len(line) > LONGEST:
        cut = _boundary(line, LONGEST) or LONGEST
        yield line[:cut]
        line = line[cut:]
    yield line


def _boundary(data: bytes, end: int) -> int:
    """The greatest place up to `end` that is not within a character of UTF-8."""
    for back in range(1, min(4, end + 1)):
        byte = data[end - back]
        if byte < 0x80:
            break
        if byte >= 0xC0:  # the first byte of a character
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end - back if length > back else end
    return end
