"""The stream as its clients see it, by the rows of docs/protocol.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken

from events import access, log
from events.api import aemit
from events.bus import Draft, emit_many, prepare
from events.cohorts import Cohort
from events.hub import Hub
from events.models import Event, LogHead
from events.tests.conftest import NoteEvent
from events.tests.streaming import connected, parse, streaming

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

WRITTEN, SHOUTED, WHISPERED = NoteEvent.WRITTEN, NoteEvent.SHOUTED, NoteEvent.WHISPERED


async def write(*texts: str) -> None:
    """One transaction, so one batch."""
    await sync_to_async(emit_many)([Draft(WRITTEN, {"text": text}) for text in texts])


async def held(hub: Hub, position: int) -> None:
    """Waits until the hub has flushed this position."""
    async with asyncio.timeout(20):
        while hub.flushed < position:
            await asyncio.sleep(0.005)


async def test_a_stream_opens_at_the_head_and_carries_what_follows(hub: Hub, reader: User) -> None:
    await write("before")
    await held(hub, 1)
    async with streaming(reader) as client:
        await write("after")
        await client.until_texts("after")
        assert client.status == 200
        assert client.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        assert client.frames[0] == (
            b"retry: 3000\nid: 1\nevent: stream.open\n"
            b'data: {"cursor":1,"heartbeat":30,"types":["note.shouted","note.written"]}\n\n'
        )


async def test_an_event_is_the_protocols_bytes(hub: Hub, reader: User) -> None:
    async with streaming(reader) as client:
        event = await aemit(WRITTEN, {"text": "a"}, subject="notes.note/1")
        await client.until_texts("a")
        stamp = event.timestamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        assert client.frames[1] == (
            b"id: 1\nevent: note.written\n"
            b'data: {"id":1,"type":"note.written","timestamp":"' + stamp + b'",'
            b'"subject":"notes.note/1","actor":null,"data":{"text":"a"}}\n\n'
        )


async def test_nobody_sees_what_they_may_not(hub: Hub, reader: User, outsider: User) -> None:
    """The last event is for everyone: once it is there, nothing before it can follow."""
    async with streaming(reader) as allowed, streaming(outsider) as other:
        await aemit(WRITTEN, {"text": "for readers"})
        await aemit(WRITTEN, {"text": "for the other"}, users=[outsider])
        await aemit(WRITTEN, {"text": "for another right"}, permissions=["auth.add_user"])
        await aemit(WHISPERED, {"text": "for nobody"})
        await aemit(SHOUTED, {"text": "for all"})
        await allowed.until_texts("for readers", "for all")
        await other.until_texts("for the other", "for all")
        assert "note.written" not in parse(other.frames[0])["types"]
        assert b"for nobody" not in allowed.body + other.body


async def test_a_superuser_sees_every_right_but_not_what_is_internal(hub: Hub) -> None:
    root = await User.objects.acreate(username="root", is_superuser=True)
    async with streaming(root) as client:
        await aemit(WHISPERED, {"text": "for nobody"})
        await aemit(WRITTEN, {"text": "for one"}, users=[root.pk + 1])
        await aemit(WRITTEN, {"text": "for a right"}, permissions=["auth.add_user"])
        await client.until_texts("for a right")


async def test_a_right_by_group_counts(hub: Hub, outsider: User) -> None:
    group = await sync_to_async(_readers_group)()
    await outsider.groups.aadd(group)
    async with streaming(outsider) as client:
        await write("by group")
        await client.until_texts("by group")


def _readers_group() -> Group:
    group = Group.objects.create(name="Readers")
    group.permissions.add(Permission.objects.get(codename="view_user"))
    return group


@pytest.mark.parametrize("by", ["header", "parameter"])
async def test_a_reader_resumes_after_its_last_id(hub: Hub, reader: User, by: str) -> None:
    await write("a", "b", "c")
    await held(hub, 3)
    header = {"last_event_id": "1"} if by == "header" else {}
    query = "last_event_id=1" if by == "parameter" else ""
    async with streaming(reader, query, **header) as client:
        await client.until_texts("b", "c")
        assert parse(client.frames[0])["cursor"] == 1
        await write("d")
        await client.until_texts("b", "c", "d")


async def test_the_header_wins_over_the_parameter(hub: Hub, reader: User) -> None:
    await write("a", "b", "c")
    await held(hub, 3)
    async with streaming(reader, "last_event_id=0", last_event_id="2") as client:
        await client.until_texts("c")


async def test_what_the_ring_forgot_is_replayed_from_the_log(small_ring: Hub, reader: User) -> None:
    hub = small_ring
    texts = [f"{number}" for number in range(1200)]
    await write(*texts)
    await held(hub, 1200)
    assert hub.ring.start > 1000
    async with streaming(reader, last_event_id="0") as client:
        await client.until(lambda: len(client.texts) >= 1200)
        await write("live")
        await client.until_texts(*texts, "live")
        assert [event["id"] for event in client.events] == list(range(1, 1202))


async def test_replay_counts_the_rights_of_now(hub: Hub, outsider: User) -> None:
    """Events from before a right was given are readable once it is there, and the other way."""
    await write("early")
    await held(hub, 1)
    permission = await Permission.objects.aget(codename="view_user")
    await outsider.user_permissions.aadd(permission)
    async with streaming(outsider, last_event_id="0") as client:
        await client.until_texts("early")
    await outsider.user_permissions.aremove(permission)
    async with streaming(outsider, last_event_id="0") as client:
        await aemit(SHOUTED, {"text": "for all"})
        await client.until_texts("for all")


async def test_a_cursor_newer_than_the_head_is_told_to_refetch(hub: Hub, reader: User) -> None:
    await write("a")
    await held(hub, 1)
    async with streaming(reader, last_event_id="1" + "0" * 30) as client:
        data = await client.until_frame("stream.reset")
        assert data == {"reason": "unknown_cursor", "cursor": 1}
        assert client.frames[1].startswith(b"id: 1\n")
        await write("b")
        await client.until_texts("b")


async def test_a_cursor_older_than_the_floor_is_told_to_refetch(hub: Hub, reader: User) -> None:
    await write("a", "b", "c")
    await held(hub, 3)
    await LogHead.objects.aupdate(floor=3)
    await Event.objects.filter(position__lt=3).adelete()
    hub._begin_anew(3)  # as a hub that was started after the floor rose
    async with streaming(reader, last_event_id="1") as client:
        data = await client.until_frame("stream.reset")
        assert data == {"reason": "retention", "cursor": 3}
        await write("d")
        await client.until_texts("d")


async def test_the_oldest_kept_event_is_still_replayed(hub: Hub, reader: User) -> None:
    await write("a", "b", "c")
    await held(hub, 3)
    await LogHead.objects.aupdate(floor=3)
    await Event.objects.filter(position__lt=3).adelete()
    hub._begin_anew(3)
    async with streaming(reader, last_event_id="2") as client:
        await client.until_texts("c")
        assert b"stream.reset" not in client.body


async def test_a_position_the_hub_has_not_seen_yet_is_no_unknown_one(
    hub: Hub, reader: User
) -> None:
    """Another process placed it, and its client came here with it."""
    await sync_to_async(_append_silently)("a")
    async with streaming(reader, last_event_id="1") as client:
        await write("b")
        await client.until_texts("b")
        assert b"stream.reset" not in client.body


def _append_silently(text: str) -> None:
    prepare(Draft(WRITTEN, {"text": text})).save()
    log.sequence()


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("types=note.written", ["written"]),
        ("types=note.shouted,note.other", ["shouted"]),
        ("types=note.*", ["written", "shouted"]),
        ("types=not.*", []),
        ("subject=notes.note/7", ["shouted"]),
        ("types=note.written&subject=notes.note/7", []),
    ],
)
async def test_filters_let_through_what_they_name(
    hub: Hub, reader: User, query: str, texts: list[str]
) -> None:
    async with streaming(reader) as everything, streaming(reader, query) as client:
        await aemit(WRITTEN, {"text": "written"}, subject="notes.note/71")
        await aemit(SHOUTED, {"text": "shouted"}, subject="notes.note/7")
        await everything.until_texts("written", "shouted")
        await client.until(lambda: len(client.texts) >= len(texts))
        for stream in hub.streams:
            assert stream.cursor == 2
        assert client.texts == texts


async def test_a_filter_names_the_types_it_will_carry(hub: Hub, reader: User) -> None:
    async with streaming(reader, "types=note.written") as client:
        assert parse(client.frames[0])["types"] == ["note.written"]


async def test_a_silent_stream_says_it_is_alive(hub: Hub, reader: User) -> None:
    hub.heartbeat = 0.2
    async with streaming(reader) as client:
        await aemit(WHISPERED, {"text": "for nobody"})
        await held(hub, 1)
        await client.until(lambda: b'data: {"cursor":1}' in client.body)
        assert b'id: 1\nevent: heartbeat\ndata: {"cursor":1}\n\n' in client.frames
        assert client.events == []


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        ({"query": "types=a b"}, 400, "types"),
        ({"query": "types=*"}, 400, "types"),
        ({"query": "types=note.w*"}, 400, "types"),
        ({"query": "subject=7"}, 400, "subject"),
        ({"query": "subject=a.b/1%0d%0aX: y"}, 400, "subject"),
        ({"query": "last_event_id=-1"}, 400, "last_event_id"),
        ({"query": "last_event_id=abc"}, 400, "last_event_id"),
        ({"query": "last_event_id=1&last_event_id=2"}, 400, "last_event_id"),
        ({"query": "colour=red"}, 400, "colour"),
        ({"query": "types=%ff"}, 400, "query"),
        ({"last_event_id": "-1"}, 400, "Last-Event-ID"),
        ({"last_event_id": "1\x0d\x0aid: 9"}, 400, "Last-Event-ID"),
        ({"last_event_id": "٣".encode().decode("latin-1")}, 400, "Last-Event-ID"),
        ({"last_event_id": "x" * 1_000_000}, 400, "Last-Event-ID"),
        ({"accept": "application/json"}, 406, "text/event-stream"),
        ({"accept": "text/event-stream;q=0"}, 406, "text/event-stream"),
        ({"accept": "text/event-stream;q*=xx'en'1"}, 406, "text/event-stream"),
        ({"method": "POST"}, 405, "POST"),
        ({"method": "DELETE"}, 405, "DELETE"),
        ({"host": "evil.example"}, 400, "host"),
    ],
)
async def test_what_is_refused_before_the_stream(
    hub: Hub, reader: User, request_: dict[str, str], status: int, detail: str
) -> None:
    async with connected(reader, **request_) as client:
        await client.until(lambda: client.ended)
        assert client.status == status
        assert client.headers["content-type"] == "application/json"
        assert detail in json.loads(client.body)["detail"]
        assert not hub.streams


@pytest.mark.parametrize("accept", ["*/*", "text/*", "text/event-stream", "text/html, */*;q=0.1"])
async def test_clients_that_accept_events_get_them(hub: Hub, reader: User, accept: str) -> None:
    async with streaming(reader, accept=accept) as client:
        assert client.status == 200


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic cjpw"])
async def test_without_good_credentials_there_is_no_stream(hub: Hub, token: str) -> None:
    headers = {"authorization": token} if token else {}
    async with connected(None, **headers) as client:
        await client.until(lambda: client.ended)
        assert client.status == 401
        assert client.headers["www-authenticate"].startswith("Bearer")
        assert json.loads(client.body)["detail"]


async def test_an_inactive_user_is_forbidden(hub: Hub, reader: User) -> None:
    token = await sync_to_async(AccessToken.for_user)(reader)
    await User.objects.filter(pk=reader.pk).aupdate(is_active=False)
    async with connected(authorization=f"Bearer {token}") as client:
        await client.until(lambda: client.ended)
        assert client.status == 403


async def test_a_session_opens_a_stream(hub: Hub, reader: User) -> None:
    cookie = await sync_to_async(_session_cookie)(reader)
    async with connected(cookie=cookie) as client:
        await client.until_frame("stream.open")
        await write("by session")
        await client.until_texts("by session")


async def test_the_session_of_an_inactive_user_is_forbidden(hub: Hub, reader: User) -> None:
    cookie = await sync_to_async(_session_cookie)(reader)
    await User.objects.filter(pk=reader.pk).aupdate(is_active=False)
    async with connected(cookie=cookie) as client:
        await client.until(lambda: client.ended)
        assert client.status == 403


def _session_cookie(user: User) -> str:
    browser = Client()
    browser.force_login(user)
    return f"sessionid={browser.cookies['sessionid'].value}"


async def test_a_stream_ends_with_its_token(hub: Hub, reader: User) -> None:
    token = AccessToken.for_user(reader)
    token.set_exp(lifetime=timedelta(seconds=1.5))
    async with connected(authorization=f"Bearer {token}") as client:
        await client.until(lambda: client.ended)
        assert client.frames[-1] == b'event: stream.closing\ndata: {"reason":"token_expired"}\n\n'
        assert not hub.streams


async def test_a_stream_rotates_after_its_lifetime(settings: Any, hub: Hub, reader: User) -> None:
    settings.EVENTS_STREAM_LIFETIME = 0.2
    async with connected(reader) as client:
        await client.until(lambda: client.ended)
        assert client.frames[-1] == b'event: stream.closing\ndata: {"reason":"lifetime"}\n\n'
        assert not hub.streams


async def test_a_draining_hub_ends_its_streams_and_opens_no_more(hub: Hub, reader: User) -> None:
    async with streaming(reader) as client:
        await hub.drain(0)
        await client.until(lambda: client.ended)
        assert b'event: stream.closing\ndata: {"reason":"drain"}' in client.frames[-1]
        assert client.frames[-1].startswith(b"retry: ")
        async with connected(reader) as late:
            await late.until(lambda: late.ended)
            assert late.status == 503
            assert int(late.headers["retry-after"]) > 0


async def test_a_stream_that_is_being_opened_when_the_drain_begins_is_refused(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = access.aauthenticate

    async def drained_meanwhile(scope: dict[str, Any]) -> access.Identity:
        await hub.drain(0)
        identity: access.Identity = await original(scope)
        return identity

    monkeypatch.setattr(access, "aauthenticate", drained_meanwhile)
    async with connected(reader) as client:
        await client.until(lambda: client.ended)
        assert client.status == 503


@pytest.mark.parametrize(
    ("limit", "status"), [("EVENTS_MAX_STREAMS", 503), ("EVENTS_MAX_STREAMS_PER_USER", 429)]
)
async def test_limits_are_kept_and_given_back(
    settings: Any, hub: Hub, reader: User, limit: str, status: int
) -> None:
    setattr(settings, limit, 1)
    async with streaming(reader), connected(reader) as second:
        await second.until(lambda: second.ended)
        assert second.status == status
        assert int(second.headers["retry-after"]) > 0
    async with streaming(reader):
        assert len(hub.streams) == 1
    assert not hub.streams


async def test_a_client_that_leaves_silences_nobody(hub: Hub, reader: User) -> None:
    async with streaming(reader) as stays:
        async with streaming(reader):
            await write("a")
        await write("b")
        await stays.until_texts("a", "b")
        assert len(hub.streams) == 1


async def test_a_client_that_takes_no_bytes_is_closed_and_delays_nobody(
    settings: Any, hub: Hub, reader: User
) -> None:
    settings.EVENTS_WRITE_TIMEOUT = 0.3
    async with streaming(reader) as quick, streaming(reader) as stalled:
        stalled.may_write.clear()
        await write("a")
        await quick.until_texts("a")
        async with asyncio.timeout(20):
            while len(hub.streams) > 1:
                await asyncio.sleep(0.01)
        await write("b")
        await quick.until_texts("a", "b")


async def test_streams_of_one_cohort_share_their_bytes(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    original: Callable[..., Any] = Cohort.chunk

    def counted(self: Cohort, *args: Any) -> Any:
        built.append(1)
        return original(self, *args)

    monkeypatch.setattr(Cohort, "chunk", counted)
    async with streaming(reader) as one, streaming(reader) as two, streaming(reader) as three:
        await write("shared")
        for client in (one, two, three):
            await client.until_texts("shared")
    assert len(built) == 1


async def test_a_database_that_is_gone_is_answered_as_unavailable(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no database")

    monkeypatch.setattr(log, "head", broken)
    async with connected(reader) as client:
        await client.until(lambda: client.ended)
        assert client.status == 503
        assert "detail" in json.loads(client.body)
