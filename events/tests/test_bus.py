"""Publishing: what gets into the log, and what never does."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.forms import model_to_dict
from django.utils import timezone
from rest_framework import serializers

from events import log
from events.api import (
    InvalidEventData,
    InvalidSubject,
    UnknownEventType,
    acting,
    aemit,
    declare,
    emit,
)
from events.bus import Draft, append, emit_many
from events.catalogue import SystemEvent, catalogue
from events.models import Event
from events.tests.conftest import Note, NoteEvent

pytestmark = pytest.mark.django_db

WRITTEN = NoteEvent.WRITTEN


def test_an_event_is_appended_with_everything_but_its_position() -> None:
    event = emit(WRITTEN, {"text": "hello"}, subject="notes.note/1")
    row = Event.objects.get()
    assert (row.pk, row.type, row.subject) == (event.pk, "note.written", "notes.note/1")
    assert row.data == {"text": "hello"}
    assert row.audience == ["auth.view_user"]
    assert row.position is None


def test_an_undeclared_type_is_refused() -> None:
    with pytest.raises(UnknownEventType, match=r"note\.burnt"):
        emit("note.burnt", {"text": ""})
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "text"),
        ({"text": None}, "text"),
        ({"text": "x", "number": "many"}, "number"),
        ({"text": "x", "secret": "s3cr3t"}, "secret"),
        ([], "data"),
        ("text", "data"),
    ],
)
def test_data_that_breaks_the_schema_is_refused_by_field(data: Any, field: str) -> None:
    with pytest.raises(InvalidEventData) as refusal:
        emit(WRITTEN, data)
    assert field in refusal.value.errors
    assert not Event.objects.exists()


@pytest.mark.parametrize("subject", ["a", "a/", "/1", "a b/1", "a/1\n", "a/1\ndata: x", "a" * 300])
def test_a_malformed_subject_is_refused(subject: str) -> None:
    with pytest.raises(InvalidSubject):
        emit(WRITTEN, {"text": ""}, subject=subject)


def test_one_bad_event_of_many_leaves_none() -> None:
    drafts = [Draft(WRITTEN, {"text": "good"}), Draft(WRITTEN, {})]
    with pytest.raises(InvalidEventData):
        emit_many(drafts)
    assert not Event.objects.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_lacks_is_refused(value: float) -> None:
    class Loose(serializers.Serializer):
        any = serializers.DictField()

    declare({NoteEvent.LOOSE: Loose}, permission="auth.view_user")
    with pytest.raises(InvalidEventData, match="Not JSON"):
        emit(NoteEvent.LOOSE, {"any": {"number": value}})


@pytest.mark.parametrize("name", ["Note.capital", "note.", "note.*", "note written", ""])
def test_a_type_that_no_stream_could_ask_for_cannot_be_declared(name: str) -> None:
    base: Any = SystemEvent  # called as an enumeration's class is
    wrong = base("WrongEvent", {"WRONG": (name, "Wrong")})
    with pytest.raises(ImproperlyConfigured, match="event type"):
        declare({wrong.WRONG: Note}, permission="everyone")
    assert name not in catalogue.types


def test_an_internal_type_stays_internal_whatever_is_named() -> None:
    emit(NoteEvent.WHISPERED, {"text": ""}, permissions=[], users=[7])
    assert Event.objects.get().audience == ["internal"]


@pytest.mark.parametrize("users", ["12", [None], [User()]])
def test_what_is_no_user_is_refused(users: Any) -> None:
    with pytest.raises(ValueError, match="user"):
        emit(WRITTEN, {"text": ""}, users=users)


@pytest.mark.parametrize("text", ["\r\n", "\x01", "🚀", "x" * 200_000, ""])
def test_any_text_is_kept_as_it_is(text: str) -> None:
    emit(WRITTEN, {"text": text})
    assert Event.objects.get().data == {"text": text}


def test_the_log_keeps_what_a_database_has_no_letters_for() -> None:
    """A type whose schema allows it, as the lines of a run do, may hold any character."""
    event = Event(type="x", timestamp=timezone.now())
    event.audience, event.data = [], {"line": "\x00\ud800"}
    append([event])
    assert Event.objects.get().data == {"line": "\x00\ud800"}


def test_what_is_appended_is_what_is_read_in_order_and_to_the_microsecond() -> None:
    alice = User.objects.create(username="álice")
    with acting(lambda: alice, "request-1"):
        appended = emit_many([Draft(WRITTEN, {"text": f"line {n}\n"}) for n in range(1_200)])
    rows = list(Event.objects.order_by("pk"))
    assert [model_to_dict(row) for row in rows] == [model_to_dict(event) for event in appended]
    assert [row.timestamp for row in rows] == [event.timestamp for event in appended]
    assert not any(event._state.adding for event in appended)


def test_the_actor_is_whoever_acts() -> None:
    alice = User.objects.create(username="alice")
    with acting(lambda: alice, "request-1"):
        emit(WRITTEN, {"text": "hers"})
    emit(WRITTEN, {"text": "nobody's"})
    hers, nobodys = Event.objects.order_by("pk")
    assert (hers.actor_id, hers.actor_username, hers.request_id) == (alice.pk, "alice", "request-1")
    assert (nobodys.actor_id, nobodys.actor_username, nobodys.request_id) == (None, "", "")


def test_history_keeps_an_actor_who_is_gone() -> None:
    alice = User.objects.create(username="alice")
    with acting(lambda: alice):
        emit(WRITTEN, {"text": "hers"})
    alice.delete()
    assert Event.objects.get(type="note.written").actor_username == "alice"


@pytest.mark.django_db(transaction=True)
def test_a_rollback_emits_nothing() -> None:
    with transaction.atomic():
        emit(WRITTEN, {"text": "never"})
        transaction.set_rollback(True)
    log.sequence()
    assert not Event.objects.exists()
    assert log.head().position == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_coroutines_emit_too() -> None:
    event = await aemit(WRITTEN, {"text": "from a coroutine"}, users=[1])
    row = await Event.objects.aget(pk=event.pk)
    assert row.audience == ["user:1"]
