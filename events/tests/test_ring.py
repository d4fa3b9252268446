import pytest

from events.log import Entry
from events.ring import Ring


def entry(position: int, size: int = 1) -> Entry:
    return Entry(position, frozenset(), "a.b", "", b"x" * size)


def positions(entries: object) -> list[int]:
    return [item.position for item in entries]  # type: ignore[attr-defined]


def test_an_empty_ring_starts_and_ends_where_it_is_told() -> None:
    ring = Ring(10, 1000, 7)
    assert (ring.start, ring.end, len(ring)) == (7, 7, 0)
    assert positions(ring.after(7, 7)) == []


def test_what_follows_a_position_is_found() -> None:
    ring = Ring(10, 1000, 7)
    ring.extend(entry(position) for position in (8, 9, 10))
    assert positions(ring.after(7, 10)) == [8, 9, 10]
    assert positions(ring.after(8, 9)) == [9]
    assert positions(ring.after(10, 10)) == []


@pytest.mark.parametrize("position", [7, 9, 0])
def test_a_gap_is_refused(position: int) -> None:
    with pytest.raises(ValueError, match="does not follow"):
        Ring(10, 1000, 7).append(entry(position))


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_no_more_events_are_kept_than_its_size(size: int) -> None:
    ring = Ring(size, 10_000, 0)
    for position in range(1, 500):
        ring.append(entry(position))
        assert len(ring) <= size
        assert ring.end == position
        assert positions(ring.after(ring.start, ring.end))[0] == ring.start + 1
    assert len(ring) >= size * 7 // 8


def test_no_more_bytes_are_kept_than_its_limit() -> None:
    ring = Ring(1000, 100, 0)
    for position in range(1, 50):
        ring.append(entry(position, 30))
        assert ring.bytes == 30 * len(ring) <= 100
    assert len(ring) > 0


def test_an_event_larger_than_the_limit_is_passed_over_to_the_log() -> None:
    ring = Ring(1000, 100, 0)
    ring.extend([entry(1), entry(2, 200)])
    assert (ring.start, ring.end, ring.bytes) == (2, 2, 0)
    ring.append(entry(3))
    assert positions(ring.after(2, 3)) == [3]
