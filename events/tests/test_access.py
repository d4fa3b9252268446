"""Streams follow the rights: at the position of each change, on every hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, connections
from django.db.models import Model
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework_simplejwt.tokens import AccessToken

from events import hub as hubs
from events.api import access_changed, aemit, everyones_access_changed
from events.cohorts import Filter
from events.hub import Hub, get_hub
from events.models import Event
from events.rights import rights_of
from events.streams import Stream
from events.tests.conftest import NoteEvent, empty_log
from events.tests.streaming import connected, streaming
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
        (lambda u, g: everyones_access_changed("by hand", ended=True), ["all"], True),
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
    await sync_to_async(everyones_access_changed)("all")
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
    async with streaming(reader, last_event_id="1") as client:
        await revoke(reader)
        await aemit(WRITTEN, {"text": "secret"})
        await aemit(SHOUTED, {"text": "for all"})
        await client.until_texts("for all")


@pytest.mark.asyncio
async def test_a_log_that_went_back_ends_what_credentials_opened(hub: Hub, reader: User) -> None:
    """They may have ended in the part that is lost. The reset comes first: by the time the client
    is back, its cursor may be one that the log has given again.
    """
    async with streaming(reader) as client:
        for _ in range(3):
            await sync_to_async(access_changed)(reader, "something")
        await reaches(hub, 3)
        async with asyncio.timeout(20):
            while {stream.cursor for stream in hub.streams} != {3}:
                await asyncio.sleep(0.005)
        await sync_to_async(restore_to)(1)
        await client.until(lambda: client.ended)
        assert client.frames[1:] == [
            b'id: 1\nevent: stream.reset\ndata: {"reason":"unknown_cursor","cursor":1}\n\n',
            b'event: stream.closing\ndata: {"reason":"access_revoked"}\n\n',
        ]


class HeldReading:
    """A reading of rights that begins, and comes back when it may."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.begun, self.may_return = asyncio.Event(), asyncio.Event()

    async def __call__(self, pks: list[Any]) -> dict[Any, frozenset[str]]:
        found = await self.hub._read_rights(pks)
        self.begun.set()
        await self.may_return.wait()
        return found


@asynccontextmanager
async def regular_reading(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """In the block, everybody's rights have been read again, and not been taken over."""
    reading = HeldReading(hub)
    monkeypatch.setattr(hub._readers, "_read", reading)
    again = asyncio.gather(*map(hub._readers.read_again, hub._readers.slices(1)))
    await asyncio.wait_for(reading.begun.wait(), 20)
    monkeypatch.setattr(hub._readers, "_read", hub._read_rights)
    yield
    reading.may_return.set()
    await again


@pytest.mark.asyncio
async def test_reading_unchanged_rights_again_holds_nobody(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with streaming(reader) as client, regular_reading(hub, monkeypatch):
        await aemit(WRITTEN, {"text": "meanwhile"})
        await client.until_texts("meanwhile")


@pytest.mark.asyncio
async def test_rights_that_changed_during_the_regular_reading_are_not_taken_from_it(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with streaming(reader) as client:
        async with regular_reading(hub, monkeypatch):
            await revoke(reader)
            await aemit(SHOUTED, {"text": "for all"})
            await client.until_texts("for all")
        await aemit(WRITTEN, {"text": "secret"})
        await aemit(SHOUTED, {"text": "again"})
        await client.until_texts("for all", "again")


@pytest.mark.asyncio
async def test_all_readers_are_in_one_slice_each(hub: Hub, reader: User, outsider: User) -> None:
    streams = [hub.open(0, user.pk, Filter()) for user in (reader, outsider)]
    assert all(await asyncio.gather(*(stream.admitted() for stream in streams)))
    slices = hub._readers.slices(1)
    assert [[each.pk for each in readers] for readers in slices] == [[reader.pk], [outsider.pk]]


def test_a_groups_permissions_are_read_once_for_all_its_users(reader: User) -> None:
    group = Group.objects.create(name="Readers")
    group.permissions.set(Permission.objects.all()[:7])
    users = [User.objects.create(username=f"member-{number}") for number in range(5)]
    group.user_set.set(users)
    with CaptureQueriesContext(connection) as queries:
        found = rights_of([user.pk for user in users])
    assert set(found.values()) == {frozenset({"everyone", *users[0].get_all_permissions()})}
    with connection.cursor() as cursor:
        rows = [cursor.execute(query["sql"]).fetchall() for query in queries.captured_queries]
    assert sum(map(len, rows)) == len(users) + 7


@pytest.mark.asyncio
async def test_a_stream_that_waits_for_its_rights_can_be_ended(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While rights cannot be read, a process must be able to stop all the same."""
    monkeypatch.setattr(hub._readers, "_read", HeldReading(hub))
    async with connected(reader) as client:
        async with asyncio.timeout(20):
            while not hub.streams:
                await asyncio.sleep(0.005)
            await hub.drain(0)
        await client.until(lambda: client.ended)
        assert (client.status, hub.streams) == (503, set())


@pytest.mark.asyncio
async def test_credentials_that_end_while_rights_are_read_open_nothing(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub._readers, "_read", HeldReading(hub))
    async with connected(reader) as client:
        async with asyncio.timeout(20):
            while not hub.streams:
                await asyncio.sleep(0.005)
        await sync_to_async(access_changed)(reader, "logout", ended=True)
        await client.until(lambda: client.ended)
        assert client.status == 401
        assert "www-authenticate" in client.headers


@pytest.mark.asyncio
async def test_a_token_that_ends_while_rights_are_read_opens_nothing(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub._readers, "_read", HeldReading(hub))
    token = AccessToken.for_user(reader)
    token.set_exp(lifetime=timedelta(seconds=2))
    async with connected(authorization=f"Bearer {token}") as client:
        await client.until(lambda: client.ended)
        assert (client.status, hub.streams) == (401, set())


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


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["permissions", "is_active"])
async def test_what_no_signal_tells_of_takes_effect_after_a_while(
    reader: User, outsider: User, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("events.hub.RIGHTS_INTERVAL", 0.05)
    hub = await get_hub()
    async with streaming(reader) as client:
        (stream,) = hub.streams
        if way == "is_active":
            await User.objects.filter(pk=reader.pk).aupdate(is_active=False)
            assert await client.until_frame("stream.closing") == {"reason": "access_revoked"}
        else:
            rows = User.user_permissions.through._base_manager.filter(user_id=reader.pk)
            await rows.adelete()
            async with asyncio.timeout(20):
                while "auth.view_user" in stream.cohort.rights:
                    await asyncio.sleep(0.005)
            await aemit(WRITTEN, {"text": "secret"})
            await aemit(SHOUTED, {"text": "for all"})
            await client.until_texts("for all")
    await hub.stop()
    hubs._hubs.clear()


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


class Person:
    """A user, the ways in which it may read notes at this moment, and what its streams got."""

    def __init__(self, name: str) -> None:
        self.user = User.objects.create(username=name)
        self.ways: set[str] = set()
        self.delivered: list[list[int]] = []

    def toggle(self, way: str, group: Group) -> None:
        """One change of rights, and so one event."""
        self.ways ^= {way}
        begins = way in self.ways
        if way == "permission":
            held = self.user.user_permissions
            (held.add if begins else held.remove)(view_user())
        elif way == "group":
            (self.user.groups.add if begins else self.user.groups.remove)(group)
        else:
            save(self.user, is_superuser=begins)

    def check(self, history: list[tuple[str, dict[str, bool]]]) -> None:
        """Against the log's own account: at each position what it was, and who had the right."""
        name = self.user.username
        for position, (kind, rights) in enumerate(history, start=1):
            later = [known[name] for _kind, known in history[position:]]
            for positions in self.delivered:
                assert positions == sorted(set(positions))
                if kind == "right" or (not rights[name] and True not in later):
                    assert position not in positions
                elif rights[name] and False not in later:
                    assert position in positions


async def live_through(deeds: list[tuple[str, int]], people: list[Person], group: Group) -> None:
    """Does what the deeds say, one after the other, while two hubs serve everybody's streams."""
    serving, tasks = [Hub(), Hub()], []
    history: list[tuple[str, dict[str, bool]]] = []
    for each in serving:
        await each.start()
        for person in people:
            person.delivered.append([])
            stream = each.open(0, person.user.pk, Filter())
            tasks.append(asyncio.create_task(collect(stream, person.delivered[-1])))
    for kind, number in deeds:
        if kind == "wait":
            await asyncio.gather(*(reaches(each, len(history)) for each in serving))
            continue
        if kind == "event":
            await aemit(WRITTEN, {"text": "x"})
        else:
            await sync_to_async(people[number].toggle)(kind, group)
        rights = {person.user.username: bool(person.ways) for person in people}
        history.append(("event" if kind == "event" else "right", rights))
    for each in serving:
        await finish(each, len(history))
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)
    for each in serving:
        await each.stop()
    for person in people:
        person.check(history)


async def finish(hub: Hub, position: int) -> None:
    """Ends the hub's streams once they have come to this position."""
    await reaches(hub, position)
    async with asyncio.timeout(20):
        while any(stream.cursor < position for stream in hub.streams):
            await asyncio.sleep(0.005)
    for stream in hub.streams:
        stream.end("lifetime")


KINDS = ["event", "event", "event", "permission", "group", "superuser", "wait"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1)), min_size=10, max_size=40))
def test_no_event_under_ended_rights_and_none_withheld(deeds: list[tuple[str, int]]) -> None:
    """Random grants, revocations and events, over two hubs and two users.

    An event must not be delivered where its reader had no right at its position and none began
    after it; it must be delivered where there was a right that did not end any more.
    """
    User.objects.all().delete()
    Group.objects.all().delete()
    group = Group.objects.create(name="Readers")
    group.permissions.add(view_user())
    people = [Person("ann"), Person("bob")]
    empty_log()
    try:
        asyncio.run(live_through(deeds, people, group))
    finally:
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()
