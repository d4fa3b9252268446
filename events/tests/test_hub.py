"""The hub between log, channel layer and streams: every order of arrival, every loss."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from events import log, receiver, replay
from events.api import aemit
from events.bus import Draft, prepare
from events.cohorts import CACHED_CHUNKS, CHUNK_BYTES, Cohort, Filter
from events.hub import Hub, TooManyStreams, get_hub
from events.log import Entry
from events.models import Event, LogHead
from events.relay import relay
from events.streams import Stream
from events.tests.conftest import NoteEvent
from events.tests.streaming import streaming

pytestmark = pytest.mark.django_db(transaction=True)


def place(*texts: str) -> list[Entry]:
    """Appends and places events without a word to the channel layer."""
    Event.objects.bulk_create([prepare(Draft(NoteEvent.WRITTEN, {"text": t})) for t in texts])
    log.sequence()
    return log.tail(len(texts))


aplace = sync_to_async(place)


async def reaches(hub: Hub, position: int) -> None:
    async with asyncio.timeout(20):
        while hub.flushed < position:
            await asyncio.sleep(0.002)


@pytest.mark.asyncio
async def test_entries_in_any_order_and_twice_come_out_in_order_and_once(hub: Hub) -> None:
    entries = await aplace(*(str(number) for number in range(50)))
    shuffled = entries * 2
    random.Random(7).shuffle(shuffled)
    for entry in shuffled:
        hub.ingest([entry])
    await reaches(hub, 50)
    held = hub.ring.after(0, 50)
    assert [entry.position for entry in held] == list(range(1, 51))


@pytest.mark.asyncio
async def test_overtaking_messages_cost_no_reading_of_the_log(hub: Hub) -> None:
    hub.window = 5.0  # nothing below waits for it
    first, second = await aplace("a", "b")
    repaired_at = hub.repaired_at
    hub.ingest([second])
    hub.ingest([first])
    assert hub.ring.end == 2
    assert hub.repaired_at == repaired_at


@pytest.mark.asyncio
async def test_a_lost_message_is_read_from_the_log(hub: Hub) -> None:
    entries = await aplace("a", "b", "c")
    hub.ingest([entries[2]])
    await reaches(hub, 3)


@pytest.mark.asyncio
async def test_a_silent_loss_is_found_by_reconciliation(hub: Hub) -> None:
    await aplace("a")
    await reaches(hub, 1)


@pytest.mark.asyncio
async def test_what_nobody_placed_is_placed_by_reconciliation(hub: Hub) -> None:
    """A process that crashed between commit and sequencing."""
    await sync_to_async(prepare(Draft(NoteEvent.WRITTEN, {"text": "left"})).save)()
    await reaches(hub, 1)


@pytest.mark.asyncio
async def test_a_layer_that_forgot_the_groups_is_joined_again(
    in_memory_layer: None, hub: Hub
) -> None:
    layer = get_channel_layer()
    layer.groups.clear()
    hub._receiver._joined_at = float("-inf")
    await aplace("a")
    await reaches(hub, 1)
    async with asyncio.timeout(20):
        while "events.everyone" not in layer.groups:
            await asyncio.sleep(0.002)


@pytest.mark.asyncio
async def test_a_user_is_a_group_while_it_has_streams(
    in_memory_layer: None, hub: Hub, reader: User
) -> None:
    layer = get_channel_layer()
    group = f"events.user-{reader.pk}"
    async with streaming(reader):
        async with streaming(reader):
            pass
        assert group in layer.groups
    async with asyncio.timeout(20):
        while group in layer.groups:
            await asyncio.sleep(0.002)


@pytest.mark.asyncio
async def test_an_event_under_an_undeclared_key_arrives_too(hub: Hub, reader: User) -> None:
    async with streaming(reader) as client:
        await aemit(NoteEvent.WRITTEN, {"text": "a"}, permissions=["auth.view_user", "x.y"])
        await aemit(NoteEvent.WRITTEN, {"text": "hidden"}, permissions=["x.y"])
        await aemit(NoteEvent.WRITTEN, {"text": "b"})
        await client.until_texts("a", "b")


@pytest.mark.asyncio
async def test_a_log_that_went_back_makes_streams_refetch(hub: Hub, reader: User) -> None:
    """A restored backup."""
    await aplace("a", "b", "c")
    await reaches(hub, 3)
    async with streaming(reader) as client:
        await sync_to_async(restore_to)(1)
        data = await client.until_frame("stream.reset")
        assert data == {"reason": "unknown_cursor", "cursor": 1}


def restore_to(position: int) -> None:
    relay.stop()
    Event.objects.filter(position__gt=position).delete()
    LogHead.objects.update(position=position)


@pytest.mark.asyncio
async def test_a_hub_starts_with_the_logs_end_in_memory(transactional_db: Any) -> None:
    await aplace(*"abc")
    hub = await get_hub()
    assert (hub.ring.start, hub.ring.end, hub.flushed) == (0, 3, 3)
    await hub.stop()


@pytest.mark.asyncio
async def test_streams_opened_at_once_share_one_hub(transactional_db: Any) -> None:
    hubs = await asyncio.gather(*(get_hub() for _ in range(10)))
    assert len({id(hub) for hub in hubs}) == 1
    await hubs[0].stop()


@pytest.mark.asyncio
async def test_a_burst_is_read_in_bounded_writes(hub: Hub, reader: User) -> None:
    texts = ["x" * 10_000 for _ in range(40)]
    async with streaming(reader) as client:
        await aplace(*texts)
        await client.until_texts(*texts)
        assert len(client.writes) > 5
        assert max(client.writes) < CHUNK_BYTES + 12_000


TAKEN = 0.3  # seconds, as many thousand writes take


@pytest_asyncio.fixture
async def slow_writes(hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch) -> None:
    wake = Stream.wake

    def wake_slowly(stream: Stream) -> None:
        time.sleep(TAKEN)
        wake(stream)

    hub.open(0, reader.pk, Filter())
    monkeypatch.setattr(Stream, "wake", wake_slowly)


@pytest.mark.asyncio
async def test_writes_that_take_long_are_followed_by_as_long_a_rest(
    slow_writes: None, hub: Hub
) -> None:
    """Or a process with very many streams would do nothing but write, and let nobody in."""
    with hub.reserve():
        await aplace("first")
        await reaches(hub, 1)
        began = time.monotonic()
        await aplace("second")
        await reaches(hub, 2)
    assert time.monotonic() - began > 1.5 * TAKEN  # the rest, and the writes


@pytest.mark.asyncio
async def test_the_rest_is_short_where_nobody_arrives(slow_writes: None, hub: Hub) -> None:
    await aplace("first")
    await reaches(hub, 1)
    await asyncio.sleep(0)  # in which the hub takes its rest
    assert hub._rests_until < time.monotonic() + TAKEN / 2


@pytest.mark.asyncio
async def test_readers_who_return_leave_nothing_behind(hub: Hub, reader: User) -> None:
    """The bytes built for one cursor are of no use to the next."""
    hub.flushed = 0
    await aplace(*(str(number) for number in range(400)))
    await reaches(hub, 400)
    for cursor in range(400):
        stream = hub.open(cursor, reader.pk, Filter())
        assert await stream.next_chunk()
        hub.leave(stream)
    assert len(hub.chunks) <= CACHED_CHUNKS


@pytest.mark.asyncio
async def test_a_stream_that_was_sending_when_the_log_went_back_is_told(
    hub: Hub, reader: User
) -> None:
    """By the time it asks again, the log may have passed its cursor on another way."""
    await aplace("a", "b", "c")
    await reaches(hub, 3)
    stream = hub.open(3, reader.pk, Filter())
    assert await stream.admitted()
    hub._begin_anew(1, "unknown_cursor")
    hub._begin_anew(9, "retention")
    assert b'{"reason":"unknown_cursor","cursor":9}' in await stream.next_chunk()


class HungLayer:
    """A Redis that accepts connections and answers nothing."""

    async def new_channel(self) -> str:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.asyncio
async def test_a_layer_that_hangs_stops_neither_start_nor_end(
    transactional_db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "get_channel_layer", HungLayer)
    monkeypatch.setattr(receiver, "TIMEOUT", 0.05)
    hub = await get_hub()
    await aplace("a")
    await reaches(hub, 1)
    await hub.stop()


@pytest.mark.asyncio
async def test_a_hole_in_the_log_stops_no_hub(transactional_db: Any) -> None:
    await aplace(*"abcde")
    await Event.objects.filter(position=3).adelete()
    hub = await get_hub()
    assert (hub.ring.start, hub.ring.end) == (3, 5)
    await hub.stop()


@pytest.mark.asyncio
async def test_one_streams_error_in_the_sweep_is_no_others(
    hub: Hub, reader: User, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    streams = [hub.open(0, reader.pk, Filter()) for _ in range(5)]
    for stream in streams:
        stream.abort = fail
        stream.sending_since = float("-inf")
    hub._sweep(hub.time())
    assert [stream.outcome for stream in streams] == ["write_timeout"] * 5
    assert caplog.text.count("ZeroDivisionError") >= 5


@pytest.mark.asyncio
async def test_a_user_who_may_open_nothing_leaves_nothing_behind(
    hub: Hub, reader: User, settings: Any
) -> None:
    settings.EVENTS_MAX_STREAMS_PER_USER = 0
    with pytest.raises(TooManyStreams):
        hub.open(0, reader.pk, Filter())
    assert hub._readers.slices(10) == []


# What is read from the log for one reader


def read(after: int, upto: int, wanted: Callable[[Entry], bool]) -> tuple[list[Entry], list[str]]:
    with CaptureQueriesContext(connection) as queries:
        entries = replay.read(after, upto=upto, wanted=wanted)
    return entries, [query["sql"] for query in queries.captured_queries]


def test_what_a_reader_may_not_read_costs_one_look(db: Any) -> None:
    place(*(str(number) for number in range(log.BATCH + 1)))
    entries, queries = read(0, log.BATCH + 1, lambda entry: False)
    assert [entry.position for entry in entries] == list(range(1, log.BATCH + 1))
    assert {entry.frame for entry in entries} == {b""}
    assert len(queries) == 1
    assert '"data"' not in queries[0]


def test_a_few_readable_ones_among_many_are_found_in_one_reading(db: Any) -> None:
    placed = place(*(str(number) for number in range(300)))
    entries, queries = read(0, 300, lambda entry: entry.position % 100 == 0)
    assert [entry.position for entry in entries] == list(range(1, 301))
    assert [entry for entry in entries if entry.frame] == [placed[n] for n in (99, 199, 299)]
    assert len(queries) == 2


def test_a_reading_ends_with_the_chunk(db: Any) -> None:
    """What follows would only be read again."""
    placed = place(*("x" * CHUNK_BYTES for _ in range(3 * replay.STEP)))
    entries, queries = read(0, 100, lambda entry: True)
    assert entries == placed[: replay.STEP]
    assert len(queries) == 2


def test_a_reading_ends_where_it_was_told_and_begins_at_the_floor(db: Any) -> None:
    placed = place(*"abcdef")
    LogHead.objects.update(floor=3)
    assert read(0, 5, lambda entry: True)[0] == placed[2:5]
    assert read(6, 9, lambda entry: True)[0] == []


@pytest.mark.asyncio
async def test_a_replay_that_began_under_other_rights_is_begun_again(
    small_ring: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old rights passed over has no bytes, and would be lost."""
    await aplace(*"abcdefgh")
    await reaches(small_ring, 8)
    begun, may_return = asyncio.Event(), asyncio.Event()
    real = small_ring.replay

    async def slow(*arguments: Any) -> list[Entry]:
        entries = await real(*arguments)
        begun.set()
        await may_return.wait()
        return entries

    monkeypatch.setattr(small_ring, "replay", slow)
    stream = small_ring.open(0, reader.pk, Filter())
    assert await stream.admitted()
    rights = stream.cohort.rights
    stream.admit(small_ring.chunks.cohort(frozenset(), Filter()))
    chunk = asyncio.create_task(stream.next_chunk())
    await asyncio.wait_for(begun.wait(), 20)
    stream.admit(small_ring.chunks.cohort(rights, Filter()))
    may_return.set()
    assert b'"text":"a"' in await asyncio.wait_for(chunk, 20)


KEYS = ["everyone", "auth.view_user", "auth.add_user", "user:1", "user:2"]


@given(
    audiences=st.lists(st.frozensets(st.sampled_from(KEYS)), max_size=30),
    rights=st.frozensets(st.sampled_from(KEYS[:3])),
    user=st.sampled_from(KEYS[3:]),
)
def test_a_chunk_holds_what_may_be_read_and_nothing_else(
    audiences: list[frozenset[str]], rights: frozenset[str], user: str
) -> None:
    entries = [
        Entry(number, audience, "a.b", "", b"%d," % number)
        for number, audience in enumerate(audiences, start=1)
    ]
    chunk, last = Cohort(rights, Filter()).chunk(entries, user)
    allowed = [b"%d," % e.position for e in entries if e.audience & (rights | {user})]
    assert chunk == b"".join(allowed)
    assert last is None
