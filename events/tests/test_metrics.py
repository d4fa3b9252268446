"""What is counted, and what is not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import transaction

from events import layer, log, metrics
from events.bus import Draft, emit, emit_many, prepare
from events.hub import Hub
from events.metrics import Counter, Histogram
from events.relay import relay
from events.tests.conftest import NoteEvent
from events.tests.streaming import connected, streaming, until
from tests.services import ROOT

WRITTEN, SHOUTED = NoteEvent.WRITTEN, NoteEvent.SHOUTED
database = pytest.mark.django_db(transaction=True)


class Growth:
    """By how much the metrics have grown since this was made."""

    def __init__(self) -> None:
        self.start = metrics.snapshot()

    def of(self, counter: Counter, label: str = "") -> int:
        return counter.value(label) - int(self.start[counter.name].get(label, 0))

    def observations(self, histogram: Histogram) -> int:
        return int(sum(histogram.snapshot()["counts"]) - sum(self.start[histogram.name]["counts"]))


@sync_to_async
def write(*texts: str, type: str = WRITTEN) -> None:
    emit_many([Draft(type, {"text": text}) for text in texts])


class GivingWay(float):
    """Adding it lets the other threads go first."""

    def __radd__(self, other: float) -> Any:
        time.sleep(0)
        return other + float(self)


def test_no_addition_of_any_thread_is_lost() -> None:
    counter, histogram = Counter("c", ""), Histogram("h", "")

    def work() -> None:
        for _ in range(1000):
            counter.add(GivingWay(2))  # type: ignore[arg-type]
            histogram.observe(GivingWay(1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value() == 8_000
    assert histogram.snapshot()["sum"] == 4_000
    assert sum(histogram.snapshot()["counts"]) == 4_000


def test_each_value_of_a_label_has_its_sum() -> None:
    counter = Counter("c", "", "reason")
    assert counter.snapshot() == {}
    counter.add(of="a")
    counter.add(2, of="b")
    assert counter.snapshot() == {"a": 1, "b": 2}


def test_an_observation_counts_below_each_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram("h", "", (0.1, 1.0))
    for seconds in (-5.0, 0.1, 0.11, 1.0, 1.01):
        histogram.observe(seconds)
    assert histogram.snapshot()["counts"] == [2, 2, 1]
    assert histogram.snapshot()["sum"] == pytest.approx(0.1 + 0.11 + 1.0 + 1.01)


def test_a_forked_child_has_done_nothing_yet_and_waits_for_no_lock() -> None:
    code = """
import os
from events import metrics
metrics.appended.add(3)
with metrics.appended._lock:
    child = os.fork()
if child == 0:
    metrics.appended.add()
    os._exit(metrics.appended.value())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), metrics.appended.value())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "1 3\n", done.stderr


@database
def test_an_event_counts_as_appended_when_it_is_committed(reader: User) -> None:
    growth = Growth()
    with transaction.atomic():
        emit(WRITTEN, {"text": "a"})
        assert growth.of(metrics.appended) == 0
    assert growth.of(metrics.appended) == 1


@database
def test_what_is_rolled_back_counts_nowhere(reader: User) -> None:
    growth = Growth()
    with transaction.atomic():
        emit(WRITTEN, {"text": "a"})
        transaction.set_rollback(True)
    relay.stop()
    counters = (metrics.appended, metrics.sequenced, metrics.relayed)
    assert [growth.of(counter) for counter in counters] == [0, 0, 0]


@database
def test_the_relay_counts_what_it_places_and_how_long_that_took(reader: User) -> None:
    growth = Growth()
    emit_many([Draft(WRITTEN, {"text": text}) for text in "abc"])
    relay.stop()
    assert log.head().position == 3
    assert growth.of(metrics.sequenced) == growth.of(metrics.relayed) == 3
    assert growth.observations(metrics.relay_lag) == 3
    assert 0 < metrics.relay_lag.snapshot()["sum"] - growth.start["relay_lag_seconds"]["sum"] < 60


class BrokenLayer:
    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        raise ConnectionError("the layer is down")


@database
def test_what_the_layer_refuses_is_a_failure_and_not_relayed(
    reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "get_channel_layer", BrokenLayer)
    growth = Growth()
    emit(WRITTEN, {"text": "a"})
    relay.stop()
    assert growth.of(metrics.sequenced) == 1
    assert growth.of(metrics.relayed) == 0
    assert growth.of(metrics.layer_failures, "publish") == 1


@database
@pytest.mark.asyncio
async def test_an_event_is_delivered_once_for_each_stream_that_gets_it(
    hub: Hub, reader: User, outsider: User
) -> None:
    """Each stream with its own bytes; for the outsider there is only the last event."""
    growth = Growth()
    async with (
        streaming(reader) as first,
        streaming(reader) as second,
        streaming(outsider) as other,
    ):
        await write("a", "b", "c")
        await write("end", type=SHOUTED)
        clients = (first, second, other)
        for client in clients:
            await client.until(lambda client=client: "end" in client.texts)
        await until(lambda: growth.of(metrics.delivered) >= 9)
        assert growth.of(metrics.delivered) == 9
        written = sum(sum(client.writes) for client in clients)
        await until(lambda: growth.of(metrics.sent_bytes) == written)


@database
@pytest.mark.asyncio
async def test_what_is_replayed_from_the_log_is_delivered_too(
    small_ring: Hub, reader: User
) -> None:
    await write(*"abcdefgh")
    await until(lambda: small_ring.ring.start > 0 and small_ring.flushed == 8)
    growth = Growth()
    async with streaming(reader, last_event_id="0") as client:
        await client.until_texts(*"abcdefgh")
    await until(lambda: growth.of(metrics.delivered) == 8)


@database
@pytest.mark.asyncio
async def test_heartbeats_are_bytes_and_no_deliveries(
    reader: User, outsider: User, hub: Hub
) -> None:
    hub.heartbeat = 0.05
    growth = Growth()
    async with streaming(reader) as client:
        await client.until_frame("heartbeat")
    await until(lambda: growth.of(metrics.sent_bytes) >= sum(client.writes[:2]) > 0)
    assert growth.of(metrics.delivered) == 0


@database
@pytest.mark.asyncio
async def test_a_delivery_is_timed_when_its_bytes_are_taken_and_no_sooner(
    hub: Hub, reader: User
) -> None:
    growth = Growth()
    async with streaming(reader) as client:
        (stream,) = hub.streams
        client.may_write.clear()
        await write("a")
        await until(lambda: stream.carried == 1)
        assert growth.observations(metrics.delivery_lag) == 0
        client.may_write.set()
        await client.until_texts("a")
        await until(lambda: growth.observations(metrics.delivery_lag) == 1)


@database
@pytest.mark.asyncio
async def test_a_write_that_was_under_way_does_not_answer_for_a_later_event(
    hub: Hub, reader: User
) -> None:
    """Else a stream that is slow would look quick."""
    growth = Growth()
    async with streaming(reader) as client:
        (stream,) = hub.streams
        client.may_write.clear()
        await write("a")
        await until(lambda: stream.carried == 1)
        stream.probe = None
        await write("b")
        await until(lambda: stream.probe is not None)
        stream.sent()  # the write of "a"
        assert growth.observations(metrics.delivery_lag) == 0
        client.may_write.set()
        await client.until_texts("a", "b")
        await until(lambda: growth.observations(metrics.delivery_lag) == 1)


@database
@pytest.mark.asyncio
async def test_a_stream_that_may_not_see_the_event_times_nothing(hub: Hub, outsider: User) -> None:
    growth = Growth()
    async with streaming(outsider) as client:
        (stream,) = hub.streams
        await write("for others")
        await until(lambda: stream.cursor == hub.ring.end == 1 and stream.waiter is not None)
        assert stream.probe is None
        stream.heartbeat_at = 0.0  # of the loop's clock: long ago
        await client.until_frame("heartbeat")
    assert growth.observations(metrics.delivery_lag) == 0


@database
@pytest.mark.asyncio
async def test_streams_are_counted_as_they_come_and_go(hub: Hub, reader: User) -> None:
    growth = Growth()
    async with streaming(reader):
        pass
    await until(lambda: growth.of(metrics.closed, "left") == 1)
    async with streaming(reader) as client:
        next(iter(hub.streams)).end("lifetime")
        await client.until(lambda: client.ended)
    assert growth.of(metrics.opened) == 2
    assert growth.of(metrics.closed, "left") == growth.of(metrics.closed, "lifetime") == 1
    assert growth.of(metrics.slow_closes) == 0


@database
@pytest.mark.asyncio
async def test_a_refusal_is_counted_by_its_status_and_opens_nothing(
    hub: Hub, reader: User, settings: Any
) -> None:
    settings.EVENTS_MAX_STREAMS_PER_USER = 0
    growth = Growth()
    async with connected() as nobody, connected(reader) as one_too_many:
        await nobody.until(lambda: nobody.ended)
        await one_too_many.until(lambda: one_too_many.ended)
    assert growth.of(metrics.refused, "401") == growth.of(metrics.refused, "429") == 1
    assert growth.of(metrics.opened) == 0


@database
@pytest.mark.asyncio
async def test_a_client_that_takes_no_bytes_is_one_slow_close(
    hub: Hub, reader: User, settings: Any
) -> None:
    settings.EVENTS_WRITE_TIMEOUT = 0.05
    growth = Growth()
    async with streaming(reader) as client:
        client.may_write.clear()
        await write("a")
        await until(lambda: not hub.streams)
        assert growth.of(metrics.slow_closes) == 1
        assert growth.of(metrics.closed, "write_timeout") == 1
        assert growth.of(metrics.delivered) == 0


@database
@pytest.mark.asyncio
async def test_a_reset_is_counted_by_its_reason(hub: Hub, reader: User) -> None:
    growth = Growth()
    async with streaming(reader, last_event_id="999") as client:
        await client.until_frame("stream.reset")
    assert growth.of(metrics.resets, "unknown_cursor") == 1
    assert growth.of(metrics.resets, "retention") == 0


def place_unpublished() -> None:
    """An event that no relay sees before it has its position."""
    with transaction.atomic():
        prepare(Draft(WRITTEN, {"text": "lost"})).save()
        log.sequence()


@database
@pytest.mark.asyncio
async def test_a_reading_of_the_log_is_a_repair(hub: Hub, reader: User) -> None:
    growth = Growth()
    assert hub.repaired_at is None
    await sync_to_async(place_unpublished)()
    await until(lambda: hub.flushed == 1)
    assert growth.of(metrics.repairs) == 1
    assert hub.repaired_at is not None
    assert hub.head == 1
