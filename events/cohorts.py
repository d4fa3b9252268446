"""Readers who see the same: their bytes are built once and shared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from events import compression, wire
from events.audience import USER_PREFIX
from events.log import Entry
from events.ring import Ring

CHUNK_BYTES: Final = 20 * 1024  # in one write; as much waits where readers take no bytes
CHUNK_EVENTS: Final = 500  # the most that one chunk looks through
CACHED_CHUNKS: Final = 256  # of CHUNK_BYTES and little more each
CACHED_BYTES: Final = CACHED_CHUNKS * CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Filter:
    """What a stream asked for. Empty `types`, or an empty subject, is everything.

    A type ending in `.*` stands for every type below that name.
    """

    types: frozenset[str] = frozenset()
    subject: str = ""
    prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wildcards = tuple(name[:-1] for name in self.types if name.endswith(".*"))
        object.__setattr__(self, "prefixes", wildcards)

    def names(self, event_type: str) -> bool:
        return not self.types or event_type in self.types or event_type.startswith(self.prefixes)

    def admits(self, entry: Entry) -> bool:
        if self.subject and entry.subject != self.subject:
            return False
        return self.names(entry.type)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Readers with the same rights and the same filter: what one may see, all may see.

    The key of a single user is kept apart from `rights`, or no two readers would share a chunk.
    Compared by identity; the hub hands out one object for all.
    """

    rights: frozenset[str]
    filter: Filter

    def chunk(self, entries: Iterable[Entry], user_key: str) -> tuple[bytes, int | None]:
        """The readable entries' frames, CHUNK_BYTES or little more, and the last position read.

        The position is None where every entry was read.
        """
        frames: list[bytes] = []
        size = 0
        for entry in entries:
            if self.admits(entry, user_key):
                frames.append(entry.frame)
                size += len(entry.frame)
                if size >= CHUNK_BYTES:
                    return b"".join(frames), entry.position
        return b"".join(frames), None

    def admits(self, entry: Entry, user_key: str) -> bool:
        """Whether this user, one of the cohort, may read the entry and asked for it."""
        readable = user_key in entry.audience or not self.rights.isdisjoint(entry.audience)
        return readable and self.filter.admits(entry)


class Shared:
    """What bytes become on their way, made once for all who are sent them at the same time.

    Kept until `clear()`, or until all that is kept takes more than CACHED_BYTES.
    """

    def __init__(self, make: Callable[[bytes], bytes]) -> None:
        self._make = make
        self._made: dict[bytes, bytes] = {}
        self.size = 0  # bytes

    def __call__(self, body: bytes) -> bytes:
        made = self._made.get(body)
        if made is None:
            made = self._make(body)
            size = len(body) + len(made)
            if self.size + size > CACHED_BYTES:
                self.clear()
            self.size += size
            self._made[body] = made
        return made

    def clear(self) -> None:
        self._made.clear()
        self.size = 0


class Chunks:
    """The bytes for each cohort in each span of the ring, until the next flush."""

    def __init__(self) -> None:
        self._cohorts: WeakValueDictionary[tuple[frozenset[str], Filter], Cohort]
        self._cohorts = WeakValueDictionary()
        self._built: dict[tuple[Cohort, str, int, int], tuple[bytes, int, int]] = {}
        self._addressed: dict[tuple[int, int], frozenset[str]] = {}
        self.deflated = Shared(compression.deflated)
        self.http_chunk = Shared(wire.http_chunk)

    def __len__(self) -> int:
        return len(self._built)

    def cohort(self, rights: frozenset[str], wanted: Filter) -> Cohort:
        """The one object for all readers with these rights and this filter."""
        key = (rights, wanted)
        cohort = self._cohorts.get(key)
        if cohort is None:
            cohort = self._cohorts[key] = Cohort(rights, wanted)
        return cohort

    def clear(self) -> None:
        self._built.clear()
        self._addressed.clear()
        self.deflated.clear()
        self.http_chunk.clear()

    def get(
        self, ring: Ring, cohort: Cohort, user_key: str, after: int, limit: int
    ) -> tuple[bytes, int, int]:
        """The bytes for these readers in (after, limit], the position reached, and how many
        events it are.

        Built once and shared by all readers of a cohort, but for those users whom an event in
        this span addresses by name.
        """
        upto = min(limit, after + CHUNK_EVENTS)
        addressed = user_key in self._addressed_in(ring, after, upto)
        key = (cohort, user_key if addressed else "", after, upto)
        found = self._built.get(key)
        if found is None:
            # Readers who return choose their cursors: what they ask for must not pile up.
            if len(self._built) >= CACHED_CHUNKS:
                self.clear()
            joined, last = cohort.chunk(ring.after(after, upto), key[1])
            position = upto if last is None else last
            found = self._built[key] = (joined, position, wire.count_frames(joined))
        return found

    def _addressed_in(self, ring: Ring, after: int, upto: int) -> frozenset[str]:
        """The keys of single users among the audiences in (after, upto]."""
        found = self._addressed.get((after, upto))
        if found is None:
            keys = (key for entry in ring.after(after, upto) for key in entry.audience)
            found = frozenset(key for key in keys if key.startswith(USER_PREFIX))
            self._addressed[after, upto] = found
        return found
