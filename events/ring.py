"""The last events of the log, in memory, already encoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from events.log import Entry


class Ring:
    """Entries at consecutive positions, the oldest forgotten beyond `size` events or `limit` bytes.

    `start` is the position before the oldest entry held: a reader at `start` or after it misses
    nothing. `end` is the position of the newest.
    """

    def __init__(self, size: int, limit: int, position: int) -> None:
        self.size = size
        self.limit = limit
        self.start = self.end = position
        self.bytes = 0
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Entry) -> None:
        """Raises ValueError where the entry is not the next one: the ring never has a gap."""
        if entry.position != self.end + 1:
            raise ValueError(f"position {entry.position} does not follow {self.end}")
        self._entries.append(entry)
        self.end = entry.position
        self.bytes += len(entry.frame)
        if len(self._entries) > self.size or self.bytes > self.limit:
            self._trim()

    def extend(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.append(entry)

    def after(self, position: int, upto: int) -> Sequence[Entry]:
        """The entries in (position, upto], where position is `start` or after it."""
        return self._entries[position - self.start : upto - self.start]

    def copy(self) -> list[Entry]:
        """All entries, in one step, so that any thread may ask."""
        return self._entries[:]

    def _trim(self) -> None:
        """Forgets an eighth more than it must, so that the list is seldom moved."""
        surplus = max(len(self._entries) - self.size, 0) + self.size // 8
        count = 0
        while count < len(self._entries) and (count < surplus or self.bytes > self.limit):
            self.bytes -= len(self._entries[count].frame)
            count += 1
        del self._entries[:count]
        self.start += count
