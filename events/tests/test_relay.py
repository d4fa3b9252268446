"""The relay: quick, and never the writer's problem."""

from __future__ import annotations

import os
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from events import layer, log
from events.api import emit
from events.bus import Draft, prepare
from events.log import Record
from events.models import Event
from events.relay import Relay, relay
from events.tests.conftest import NoteEvent
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_commit_is_placed_without_anyone_asking() -> None:
    emit(NoteEvent.WRITTEN, {"text": "a"})
    relay.stop()
    assert log.head().position == 1


def test_nothing_is_placed_before_the_commit() -> None:
    with transaction.atomic():
        emit(NoteEvent.WRITTEN, {"text": "a"})
        relay.stop()
        assert log.head().position == 0
    relay.stop()
    assert log.head().position == 1


def test_a_writer_pays_for_its_own_insert_only() -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        emit(NoteEvent.WRITTEN, {"text": "a"})
    statements = [query["sql"] for query in queries if "events_event" in query["sql"]]
    assert len(statements) == 1


def test_a_change_whose_event_cannot_be_appended_is_not_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where somebody goes on as if nothing had happened."""
    user = User.objects.create(username="before")
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(username="after")
        monkeypatch.setattr(log, "append", failing)
        with pytest.raises(OperationalError):
            emit(NoteEvent.WRITTEN, {"text": "a"})
    user.refresh_from_db()
    assert user.username == "before"


def failing(*_: Any) -> list[Event]:
    raise OperationalError("the database is restarting")


class BrokenLayer:
    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        raise ConnectionError("the layer is down")


def test_a_layer_that_fails_fails_no_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "get_channel_layer", BrokenLayer)
    emit(NoteEvent.WRITTEN, {"text": "a"})
    relay.stop()
    assert log.head().position == 1


def test_a_database_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    original = log.sequence

    def flaky() -> list[Record]:
        attempts.append(1)
        if len(attempts) == 1:
            raise OperationalError("the database is restarting")
        return original()

    monkeypatch.setattr(log, "sequence", flaky)
    fresh = Relay()
    with transaction.atomic():
        prepare(Draft(NoteEvent.WRITTEN, {"text": "a"})).save()
    fresh.ring()
    wait_until(lambda: log.head().position, 20, "the second attempt")
    fresh.stop()
    assert len(attempts) > 1


def test_a_forked_child_relays_with_a_thread_of_its_own() -> None:
    emit(NoteEvent.WRITTEN, {"text": "starts the thread"})
    wait_until(lambda: log.head().position == 1, 20, "an idle relay")
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            connection.connect()
            emit(NoteEvent.WRITTEN, {"text": "from the child"})
            relay.stop()
            os._exit(0 if log.head().position == 2 else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_message_goes_to_each_group_of_its_audience_in_order() -> None:
    records = [
        Record(["a.b", "c.d"], {"id": 1, "type": "x.y"}),
        Record(["a.b"], {"id": 2, "type": "x.y"}),
        Record([], {"id": 3, "type": "x.y"}),
    ]
    sent = {
        group: [item["event"]["id"] for item in message["events"]]
        for group, message in layer.messages(records)
    }
    assert sent == {"events.a.b": [1, 2], "events.c.d": [1]}


def test_a_large_batch_is_sent_in_messages_of_bounded_size() -> None:
    records = [Record(["a.b"], {"id": n, "type": "x.y"}) for n in range(1, 251)]
    sizes = [len(message["events"]) for _, message in layer.messages(records)]
    assert sizes == [100, 100, 50]


def test_the_relay_outlives_whatever_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(log, "public", None)
        emit(NoteEvent.WRITTEN, {"text": "a"})
        wait_until(lambda: log.has_pending(), 20, "a failed attempt")
    wait_until(lambda: log.head().position == 1, 20, "the next attempt")


@pytest.mark.asyncio
async def test_any_consumer_in_the_group_gets_the_whole_event() -> None:
    """The layer's message, as a consumer of another app would see it."""
    channel_layer = get_channel_layer()
    channel = await channel_layer.new_channel()
    await channel_layer.group_add("events.a.b", channel)
    event = {"id": 1, "type": "x.y", "data": {"text": "hello"}}
    await layer.publish([Record(["a.b"], event)])
    message = await channel_layer.receive(channel)
    assert message["type"] == "system.events"
    assert message["events"] == [{"audience": ["a.b"], "event": event}]
