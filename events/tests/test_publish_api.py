"""Publishing over REST: who may, all or nothing, and the positions that are answered."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from rest_framework.test import APIClient

from events import log, publishing
from events.bus import Draft, emit, prepare
from events.hub import Hub
from events.log import Record
from events.models import Event
from events.relay import Relay, relay
from events.tests.conftest import NoteEvent, empty_log
from events.tests.polling import EVENTS, client_of, poll
from events.tests.streaming import streaming
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DEADLINE = 20  # seconds; must not be met


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take its time to place what is published."""
    monkeypatch.setattr(publishing, "PLACING_TIMEOUT", 60)


@pytest.fixture
def publisher(outsider: User) -> User:
    """May publish, and read nothing but what everyone may. The log is empty."""
    outsider.user_permissions.add(Permission.objects.get(codename="emit_event"))
    empty_log()
    return outsider


def note(text: Any = "a", **fields: Any) -> dict[str, Any]:
    return {"type": "note.written", "data": {"text": text}, **fields}


def post(user: User, body: Any) -> Any:
    """The test client's response."""
    return client_of(user).post(EVENTS, json.dumps(body), content_type="application/json")


def publish(user: User, body: Any) -> Any:
    """The answer's body."""
    response = post(user, body)
    assert response.status_code == 201, response.content
    return response.json()


def assert_refused(response: Any, status: int) -> None:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    assert isinstance(response.json()["detail"], str)
    assert not Event.objects.exists()


def test_whoever_may_not_publish_is_refused(reader: User) -> None:
    assert_refused(post(reader, note()), 403)
    assert_refused(APIClient().post(EVENTS, note()), 401)


def test_an_event_is_answered_as_its_readers_get_it(publisher: User, reader: User) -> None:
    published = publish(publisher, note(subject="notes.note/1"))
    assert published["id"] == log.head().position == 1
    assert published["actor"] == {"id": publisher.pk, "username": "outsider"}
    assert poll(reader)["events"] == [published]


def test_a_request_names_itself_in_what_it_publishes(publisher: User) -> None:
    response = client_of(publisher).post(EVENTS, note(), headers={"X-Request-ID": "abc-1"})
    assert response.status_code == 201
    assert Event.objects.get().request_id == "abc-1"


def test_a_publisher_sees_what_it_sent_and_nothing_more(publisher: User) -> None:
    emit(NoteEvent.WRITTEN, {"text": "a secret"})
    published = publish(publisher, note("its own"))
    assert set(published) == {"id", "type", "timestamp", "subject", "actor", "data"}
    assert published["data"] == {"text": "its own"}
    assert poll(publisher)["events"] == []


def test_events_go_to_those_they_are_for_and_nobody_else(publisher: User, reader: User) -> None:
    other = User.objects.create(username="other")
    items = [
        note("declared"),
        note("everyone", permissions=[]),
        note("addressed", users=[other.pk]),
        note("another right", permissions=["auth.add_user"]),
    ]
    publish(publisher, items)
    assert texts_of(reader) == ["declared", "everyone"]
    assert texts_of(other) == ["everyone", "addressed"]


def texts_of(user: User) -> list[str]:
    return [event["data"]["text"] for event in poll(user)["events"]]


def test_a_list_is_answered_in_its_order(publisher: User) -> None:
    published = publish(publisher, [note(text) for text in "abc"])
    assert [(event["id"], event["data"]["text"]) for event in published] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]


def test_one_bad_event_refuses_the_list(publisher: User) -> None:
    bad = [note(), note(1.5, colour="red"), note(), {"type": "note.burnt", "data": {}}, "text"]
    response = post(publisher, bad)
    assert_refused(response, 400)
    errors = response.json()["errors"]
    assert {index: list(found) for index, found in errors.items()} == {
        "1": ["colour"],
        "3": ["type"],
        "4": ["non_field_errors"],
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data": {}}, "type"),
        ({"type": "note.written"}, "data"),
        ({"type": "note.burnt", "data": {}}, "type"),
        ({"type": "note.whispered", "data": {"text": "a"}}, "type"),
        ({"type": "access.changed", "data": {"user": "", "reason": "", "ended": True}}, "type"),
        ({"type": "note.written", "data": []}, "data"),
        ({"type": "note.written", "data": {"text": None}}, "data"),
        ({"type": "note.written", "data": {"text": "a", "undeclared": 1}}, "data"),
        (note(subject="no subject"), "subject"),
        (note(permissions=["no permission"]), "permissions"),
        (note(permissions="auth.view_user"), "permissions"),
        (note(users=["somebody"]), "users"),
        (note(id=1), "id"),
        (note(actor={"id": 1, "username": "somebody else"}), "actor"),
        (note(timestamp="2026-11-23T09:00:00Z"), "timestamp"),
        (note(audience=["auth.view_user"]), "audience"),
        (note(detail="x"), "detail"),
        ("text", "non_field_errors"),
        (None, "non_field_errors"),
    ],
)
def test_a_bad_event_is_refused_by_field(publisher: User, body: Any, field: str) -> None:
    response = post(publisher, body)
    assert_refused(response, 400)
    assert list(response.json()["errors"]) == [field]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_list_of_another_length_is_refused(publisher: User, count: int) -> None:
    assert_refused(post(publisher, [note()] * count), 400)


def test_the_longest_list_is_placed_too(publisher: User) -> None:
    published = publish(publisher, [note("")] * 1000)
    assert [event["id"] for event in published] == list(range(1, 1001))


def test_an_event_that_cannot_be_placed_in_time_has_no_id_and_is_not_lost(
    publisher: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "PLACING_TIMEOUT", 0.1)
        patch.setattr(log, "sequence", failing)
        assert publish(publisher, note())["id"] is None
    relay.ring()
    wait_until(lambda: log.head().position == 1, DEADLINE, "its position")


def failing() -> list[Record]:
    raise OperationalError("the database is restarting")


@pytest.mark.asyncio
async def test_publishers_at_once_are_each_answered_the_right_positions(
    publisher: User, reader: User, hub: Hub
) -> None:
    publishers, turns, size = 8, 3, 5

    def work(number: int) -> list[list[dict[str, Any]]]:
        try:
            return [
                publish(publisher, [note(f"{number}.{turn}.{n}") for n in range(size)])
                for turn in range(turns)
            ]
        finally:
            connection.close()

    def publish_all() -> list[list[dict[str, Any]]]:
        with ThreadPoolExecutor(publishers) as pool:
            return [batch for found in pool.map(work, range(publishers)) for batch in found]

    async with streaming(reader) as client:
        batches = await sync_to_async(publish_all)()
        count = publishers * turns * size
        await client.until(lambda: len(client.events) >= count)
    for batch in batches:
        assert [event["id"] for event in batch] == sorted(event["id"] for event in batch)
        assert [event["data"]["text"][-1] for event in batch] == list("01234")
    answered = sorted((event for batch in batches for event in batch), key=lambda e: e["id"])
    assert [event["id"] for event in answered] == list(range(1, count + 1))
    assert client.events == answered


# What the answer waits for.


@pytest.fixture
def fresh() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.stop()


def append_in_silence(text: str) -> None:
    prepare(Draft(NoteEvent.WRITTEN, {"text": text})).save()


def test_what_was_committed_before_is_placed_after_the_wait(fresh: Relay) -> None:
    for number in range(20):
        append_in_silence(str(number))
        assert fresh.placed(DEADLINE)
        assert not log.has_pending()


def test_more_than_one_batch_is_waited_for(fresh: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = log.sequence
    monkeypatch.setattr(log, "BATCH", 2)
    monkeypatch.setattr(log, "sequence", lambda: sequence(limit=2))
    for text in "abcde":
        append_in_silence(text)
    assert fresh.placed(DEADLINE)
    assert log.head().position == 5


def test_a_round_that_began_before_is_not_enough(
    fresh: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have looked at the log before the commit."""
    sequence, begun, may_end = log.sequence, threading.Event(), threading.Event()

    def slow() -> list[Record]:
        found = sequence()
        begun.set()
        may_end.wait(DEADLINE)
        return found

    monkeypatch.setattr(log, "sequence", slow)
    fresh.ring()
    assert begun.wait(DEADLINE)
    append_in_silence("a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fresh.placed, DEADLINE)
        may_end.set()
        assert waiting.result()
    assert not log.has_pending()


def test_rounds_that_fail_are_not_enough(fresh: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    append_in_silence("a")
    with monkeypatch.context() as patch:
        patch.setattr(log, "sequence", failing)
        assert not fresh.placed(0.5)
    assert fresh.placed(DEADLINE)
    assert not log.has_pending()


def test_a_relay_that_was_stopped_places_again(fresh: Relay) -> None:
    assert fresh.placed(DEADLINE)
    fresh.stop()
    append_in_silence("a")
    assert fresh.placed(DEADLINE)
    assert not log.has_pending()


def test_nobody_waits_for_ever_for_a_relay_that_is_being_stopped(
    fresh: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def stuck() -> list[Record]:
        begun.set()
        may_end.wait(DEADLINE)
        return []

    monkeypatch.setattr(log, "sequence", stuck)
    with ThreadPoolExecutor(2) as pool:
        fresh.ring()
        assert begun.wait(DEADLINE)
        stopping = pool.submit(fresh.stop)
        assert not pool.submit(fresh.placed, 0.1).result()
        may_end.set()
        stopping.result()


def test_a_forked_child_waits_for_a_relay_of_its_own() -> None:
    """Also where a thread that the child does not have holds the parent's lock."""
    connection.close()
    with ThreadPoolExecutor(1) as pool, relay_locked_by(pool):
        child = os.fork()
        if child == 0:
            try:
                signal.alarm(DEADLINE)
                connection.connect()
                append_in_silence("a")
                placed = relay.placed(DEADLINE)
                relay.stop()
                os._exit(0 if placed and log.head().position == 1 else 1)
            except BaseException:
                os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@contextmanager
def relay_locked_by(pool: ThreadPoolExecutor) -> Iterator[None]:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with relay._rounds:
            held.set()
            release.wait(DEADLINE)

    pool.submit(hold)
    assert held.wait(DEADLINE)
    try:
        yield
    finally:
        release.set()
