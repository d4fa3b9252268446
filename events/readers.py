"""The users who have streams in this process, and their rights at each position."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from events.audience import user_key
from events.streams import Stream

logger = logging.getLogger(__name__)

REMEMBERED_ENDINGS: Final = 1000
RETRY_DELAY: Final = 0.5  # seconds before rights that could not be read are tried again

Rights = frozenset[str]


@dataclass(eq=False, slots=True)
class Reader:
    """A user with open streams. `rights` are the audience keys shared with others; None: no access.

    `changes` counts the changes of rights that are known; `read` is what it was when the rights in
    hand began to be read. While that is behind, nothing from `held_from` on may be delivered: the
    position of the first change that these rights may lack. Positions themselves cannot tell, as a
    log that is restored from a backup goes back.
    """

    pk: Any
    key: str
    rights: Rights | None = None
    changes: int = 1
    read: int = 0
    held_from: int = 0
    streams: set[Stream] = field(default_factory=set)

    @property
    def is_current(self) -> bool:
        return self.read == self.changes

    def changed(self, position: int) -> None:
        if self.is_current or position < self.held_from:
            self.held_from = position
        self.changes += 1

    def limit(self, flushed: int) -> int:
        """The last position that these rights decide on."""
        return flushed if self.is_current else min(flushed, self.held_from - 1)


class Readers:
    """Rights are read once for a user, however many streams it has, and all that changed together.

    `read` takes primary keys and gives rights by primary key; a key that is missing has no access.
    `admit` is called with each stream whose reader's rights have come. `endings` counts the times
    that credentials have ended.
    """

    def __init__(
        self,
        read: Callable[[list[Any]], Awaitable[Mapping[Any, Rights]]],
        admit: Callable[[Stream, Rights], None],
    ) -> None:
        self._read = read
        self._admit = admit
        self.endings = 0
        self._endings: deque[tuple[int, str]] = deque(maxlen=REMEMBERED_ENDINGS)
        self._by_key: dict[str, Reader] = {}
        self._reading: asyncio.Task[None] | None = None

    def get(self, pk: Any) -> Reader:
        """The reader; one that is new is current only after its rights have been read."""
        key = user_key(pk)
        reader = self._by_key.get(key)
        if reader is None:
            reader = self._by_key[key] = Reader(pk, key)
            self._refresh()
        return reader

    def forget(self, reader: Reader) -> None:
        """To be called when the reader's last stream is gone."""
        del self._by_key[reader.key]

    def changed(self, key: str, position: int, *, ended: bool) -> None:
        """Holds the streams of this user, or of everybody where the key is empty, at a position.

        `ended` says that credentials given before are good no more: the streams must end, and
        their clients come back with new ones.
        """
        affected = list(self._by_key.values()) if not key else [self._by_key.get(key)]
        for reader in filter(None, affected):
            reader.changed(position)
            if ended:
                self._end(reader.streams)
        if ended:
            self._remember_ending(key)
        self._refresh()

    def passed_over(self, position: int) -> None:
        """Changes up to a position may have been missed, of rights and of credentials."""
        self.changed("", position, ended=True)

    def count_streams(self, pk: Any) -> int:
        """How many are open; whoever has none is not known for being asked about."""
        reader = self._by_key.get(user_key(pk))
        return len(reader.streams) if reader else 0

    def slices(self, size: int) -> list[list[Reader]]:
        """All readers, at most `size` at a time."""
        readers = list(self._by_key.values())
        return [readers[start : start + size] for start in range(0, len(readers), size)]

    async def read_again(self, readers: Iterable[Reader]) -> None:
        """Looks for changes that nobody told of. Meanwhile the rights in hand stay good.

        What was told meanwhile is read by a reading of its own, and this one is then too old.
        Raises what `read` raises.
        """
        known = {reader: reader.changes for reader in readers if self._is_settled(reader)}
        if not known:
            return
        found = await self._read([reader.pk for reader in known])
        for reader, changes in known.items():
            rights = found.get(reader.pk)
            if reader.changes == changes and rights != reader.rights:
                reader.rights = rights
                self._settle(reader)

    def _is_settled(self, reader: Reader) -> bool:
        return reader.is_current and self._by_key.get(reader.key) is reader

    def has_ended(self, pk: Any, *, since: int) -> bool:
        """Whether this user's credentials may have ended after there had been `since` endings.

        A stream that is about to be opened is not among those that an ending closes.
        """
        recent = [key for number, key in self._endings if number > since]
        return self.endings - since > len(recent) or not {"", user_key(pk)}.isdisjoint(recent)

    def _remember_ending(self, key: str) -> None:
        self.endings += 1
        self._endings.append((self.endings, key))

    async def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _refresh(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_until_current())

    async def _read_until_current(self) -> None:
        """A reading that began before a change is of no use, and is made again."""
        while stale := [reader for reader in self._by_key.values() if not reader.is_current]:
            known = {reader: reader.changes for reader in stale}
            try:
                found = await self._read([reader.pk for reader in stale])
            except Exception as error:
                logger.warning("Rights cannot be read, streams are held: %r", error)
                await asyncio.sleep(RETRY_DELAY)
                continue
            for reader, changes in known.items():
                reader.rights, reader.read = found.get(reader.pk), changes
                self._settle(reader)

    def _settle(self, reader: Reader) -> None:
        if not reader.is_current:
            return
        if reader.rights is None:
            self._end(reader.streams)
        else:
            for stream in reader.streams:
                self._admit(stream, reader.rights)

    @staticmethod
    def _end(streams: Iterable[Stream]) -> None:
        for stream in streams:
            stream.end("access_revoked")
