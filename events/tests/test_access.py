"""Streams follow the rights: at the position of each change, on every hub."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.models import Model
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from events.api import access_changed, aemit
from events.cohorts import Filter
from events.hub import Hub
from events.models import Event
from events.rights import rights_of
from events.streams import Stream
from events.tests.conftest import NoteEvent
from events.tests.streaming import streaming
from events.tests.test_hub import reaches, restore_to
from events.wire import parse_event

pytestmark = pytest.mark.django_db(transaction=True)

WRITTEN, SHOUTED = NoteEvent.WRITTEN, NoteEvent.SHOUTED


def view_user() -> Permission:
    return Permission.objects.get(codename="view_user")


async def grant(user: User) -> None:
    await user.user_permissions.aadd(await sync_to_async(view_user)())


async def revoke(user: User) -> None:
    await user.user_permissions.aremove(await sync_to_async(view_user)())


def save(user: User, **values: Any) -> None:
    for name, value in values.items():
        setattr(user, name, value)
    user.save()


# What is told of

Change = Callable[[User, Group], Any]


@pytest.mark.parametrize(
    ("change", "told", "ended"),
    [
        (lambda u, g: u.groups.add(g), ["user"], False),
        (lambda u, g: g.user_set.add(u), ["user"], False),
        (lambda u, g: g.user_set.remove(u), ["user"], False),
        (lambda u, g: u.groups.set([g]), ["user"], False),
        (lambda u, g: u.user_permissions.add(view_user()), ["user"], False),
        (lambda u, g: view_user().user_set.add(u), ["user"], False),
        (lambda u, g: g.permissions.add(view_user()), [], False),
        (lambda u, g: g.delete(), ["all"], False),
        (lambda u, g: view_user().delete(), ["all"], False),
        (lambda u, g: u.delete(), ["user"], True),
        (lambda u, g: User.objects.filter(pk=u.pk).delete(), ["user"], True),
        (lambda u, g: save(u, is_active=False), ["user"], True),
        (lambda u, g: save(u, password="!"), ["user"], True),
        (lambda u, g: save(u, is_superuser=True), ["user"], False),
        (lambda u, g: save(u, email="a@b.c"), [], False),
        (lambda u, g: u.save(update_fields=["last_login"]), [], False),
        (lambda u, g: u.groups.add(), [], False),
        (lambda u, g: access_changed(u, "by hand"), ["user"], False),
        (lambda u, g: access_changed(None, "by hand", ended=True), ["all"], True),
    ],
)
def test_each_change_of_rights_is_an_event(
    outsider: User, change: Change, told: list[str], ended: bool
) -> None:
    key = f"user:{outsider.pk}"
    group = Group.objects.create(name="Readers")
    change(outsider, group)
    events = Event.objects.filter(type="access.changed").order_by("pk")
    assert ["user" if event.data["user"] == key else "all" for event in events] == told
    assert all(event.audience == ["internal"] for event in events)
    assert all(event.data["ended"] is ended for event in events)


def test_a_groups_permissions_concern_whoever_is_in_it(outsider: User) -> None:
    group = Group.objects.create(name="Readers")
    outsider.groups.add(group)
    group.permissions.add(view_user())
    view_user().group_set.clear()
    told = Event.objects.filter(type="access.changed").order_by("pk")
    assert [event.data["user"] for event in told] == [f"user:{outsider.pk}", "", ""]


def test_a_logout_ends_what_the_session_opened(outsider: User) -> None:
    browser = Browser()
    browser.force_login(outsider)
    browser.logout()
    event = Event.objects.get(type="access.changed")
    assert (event.data["reason"], event.data["ended"]) == ("logout", True)


# What is read


def test_rights_are_those_of_django_in_few_queries(reader: User, outsider: User) -> None:
    group = Group.objects.create(name="Readers")
    group.permissions.add(Permission.objects.get(codename="add_user"))
    outsider.groups.add(group)
    root = User.objects.create(username="root", is_superuser=True)
    gone = User.objects.create(username="gone", is_active=False, is_superuser=True)
    people: list[Model] = [reader, outsider, root, gone]
    with CaptureQueriesContext(connection) as queries:
        found = rights_of([person.pk for person in people])
    assert len(queries) <= 4
    assert gone.pk not in found
    for person in (reader, outsider, root):
        assert found[person.pk] == {"everyone", *person.get_all_permissions()}


@pytest.mark.asyncio
async def test_many_streams_of_many_users_read_their_rights_together(
    hub: Hub, reader: User, outsider: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Any]] = []

    def counted(pks: list[Any]) -> dict[Any, frozenset[str]]:
        asked.append(pks)
        return rights_of(pks)

    monkeypatch.setattr("events.hub.rights_of", counted)
    streams = [hub.open(0, user.pk, Filter()) for user in (reader, outsider) for _ in range(50)]
    assert all(await asyncio.gather(*(stream.admitted() for stream in streams)))
    assert asked == [[reader.pk, outsider.pk]]
    await sync_to_async(access_changed)(None, "all")
    await reaches(hub, 1)
    assert all(await asyncio.gather(*(stream.admitted() for stream in streams)))
    assert asked[1:] == [[reader.pk, outsider.pk]]


# What is delivered


@pytest.mark.asyncio
async def test_a_right_that_ends_ends_for_open_streams(hub: Hub, reader: User) -> None:
    async with streaming(reader) as client:
        await aemit(WRITTEN, {"text": "before"})
        await client.until_texts("before")
        await revoke(reader)
        await aemit(WRITTEN, {"text": "secret"})
        await aemit(SHOUTED, {"text": "for all"})
        await client.until_texts("before", "for all")


@pytest.mark.asyncio
async def test_a_right_that_begins_begins_for_open_streams(hub: Hub, outsider: User) -> None:
    async with streaming(outsider) as client:
        await grant(outsider)
        await aemit(WRITTEN, {"text": "after"})
        await client.until_texts("after")


@pytest.mark.asyncio
@pytest.mark.parametrize("field", ["is_active", "password"])
async def test_a_user_without_access_is_sent_away(hub: Hub, reader: User, field: str) -> None:
    async with streaming(reader) as client:
        setattr(reader, field, False if field == "is_active" else "!")
        await reader.asave()
        await client.until(lambda: client.ended)
        assert client.frames[-1] == b'event: stream.closing\ndata: {"reason":"access_revoked"}\n\n'


@pytest.mark.asyncio
async def test_nothing_is_delivered_while_the_rights_are_being_read(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading that began before a revocation comes back after it, with the old rights."""
    old = await sync_to_async(rights_of)([reader.pk])
    begun, may_return = asyncio.Event(), asyncio.Event()

    async def slow(pks: list[Any]) -> dict[Any, frozenset[str]]:
        begun.set()
        await may_return.wait()
        monkeypatch.setattr(hub._readers, "_read", hub._read_rights)
        return old

    async with streaming(reader) as client:
        monkeypatch.setattr(hub._readers, "_read", slow)
        await sync_to_async(access_changed)(reader, "something else")
        await asyncio.wait_for(begun.wait(), 20)
        await revoke(reader)
        await aemit(WRITTEN, {"text": "secret"})
        await aemit(SHOUTED, {"text": "for all"})
        await reaches(hub, 4)
        assert client.texts == []
        may_return.set()
        await client.until_texts("for all")


@pytest.mark.asyncio
async def test_a_second_change_does_not_let_go_of_the_first(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two changes, before either has been read, the old rights are not good either."""
    may_return = asyncio.Event()

    async def slow(pks: list[Any]) -> dict[Any, frozenset[str]]:
        await may_return.wait()
        return await hub._read_rights(pks)

    async with streaming(reader) as client:
        monkeypatch.setattr(hub._readers, "_read", slow)
        await revoke(reader)
        await aemit(WRITTEN, {"text": "secret"})
        await sync_to_async(access_changed)(reader, "something else")
        await aemit(SHOUTED, {"text": "for all"})
        await reaches(hub, 4)
        (stream,) = hub.streams
        assert stream.reader.limit(hub.flushed) == 0
        may_return.set()
        await client.until_texts("for all")


@pytest.mark.asyncio
async def test_a_log_that_went_back_makes_rights_be_read_again(hub: Hub, reader: User) -> None:
    """And changes count from then on, though their positions have been there before."""
    async with streaming(reader) as client:
        for _ in range(5):
            await sync_to_async(access_changed)(reader, "something")
        await reaches(hub, 5)
        await sync_to_async(restore_to)(1)
        await client.until_frame("stream.reset")
        await revoke(reader)
        await aemit(WRITTEN, {"text": "secret"})
        await aemit(SHOUTED, {"text": "for all"})
        await client.until_texts("for all")


@pytest.mark.asyncio
async def test_rights_that_cannot_be_read_hold_the_stream(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def broken(pks: list[Any]) -> dict[Any, frozenset[str]]:
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("no database")
        return rights_of(pks)

    async with streaming(reader) as client:
        monkeypatch.setattr("events.hub.rights_of", broken)
        await sync_to_async(access_changed)(reader, "something")
        await aemit(WRITTEN, {"text": "after"})
        await client.until_texts("after")
        assert len(attempts) == 2


async def collect(stream: Stream, into: list[int]) -> None:
    """Reads the stream to its end, the position of each event."""
    assert await stream.admitted()
    while chunk := await stream.next_chunk():
        for frame in chunk.split(b"\n\n")[:-1]:
            event = parse_event(frame)
            if "type" in event:
                into.append(event["id"])
        stream.sent()
        await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(6))
async def test_no_event_under_ended_rights_and_none_withheld(
    hub: Hub, outsider: User, seed: int
) -> None:
    """Random grants, revocations and events, over two hubs, against the log's own account.

    An event must not be delivered where its reader had no right at its position and none began
    after it; it must be delivered where there was a right that did not end any more.
    """
    chance = random.Random(seed)
    second = Hub()
    await second.start()
    delivered: list[list[int]] = [[], []]
    streams = [each.open(0, outsider.pk, Filter()) for each in (hub, second)]
    tasks = [
        asyncio.create_task(collect(stream, into))
        for stream, into in zip(streams, delivered, strict=True)
    ]
    allowed, history = False, []
    for _ in range(40):
        deed = chance.random()
        if deed < 0.25:
            await (revoke if allowed else grant)(outsider)
            allowed = not allowed
            history.append(("right", allowed))
        else:
            await aemit(WRITTEN, {"text": "x"})
            history.append(("event", allowed))
        if chance.random() < 0.3:
            await reaches(hub, len(history))
    for each in (hub, second):
        await reaches(each, len(history))
    for stream in streams:
        async with asyncio.timeout(20):
            while stream.cursor < len(history):
                await asyncio.sleep(0.005)
        stream.end("lifetime")
    await asyncio.gather(*tasks, return_exceptions=True)
    await second.stop()

    for position, (kind, had_right) in enumerate(history, start=1):
        later = [value for what, value in history[position:] if what == "right"]
        for positions in delivered:
            assert positions == sorted(set(positions))
            if kind == "event" and not had_right and True not in later:
                assert position not in positions
            if kind == "event" and had_right and not later:
                assert position in positions
            if kind == "right":
                assert position not in positions
