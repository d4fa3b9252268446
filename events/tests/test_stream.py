"""The stream as its clients see it, by the rows of docs/protocol.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from events import log
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
    async with streaming(reader, x_request_id="r-1") as client:
        await write("after")
        await client.until_texts("after")
        assert client.status == 200
        assert client.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "vary": "accept-encoding",
            "x-request-id": "r-1",
        }
        assert client.frames[0] == (
            b"retry: 3000\nid: 1\nevent: stream.open\n"
            b'data: {"cursor":1,"heartbeat":30,"types":["note.shouted","note.written"]}\n\n'
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


async def test_the_oldest_kept_event_is_still_replayed(hub: Hub, reader: User) -> None:
    await write("a", "b", "c")
    await held(hub, 3)
    await LogHead.objects.aupdate(floor=3)
    await Event.objects.filter(position__lt=3).adelete()
    hub._begin_anew(3, "retention")
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


@pytest.mark.parametrize("accept", ["*/*", "text/*", "text/event-stream", "text/html, */*;q=0.1"])
async def test_clients_that_accept_events_get_them(hub: Hub, reader: User, accept: str) -> None:
    async with streaming(reader, accept=accept) as client:
        assert client.status == 200


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


async def test_a_stream_that_is_being_opened_when_the_drain_begins_is_refused(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = hub.position

    async def drained_meanwhile(last_event_id: int | None) -> int:
        await hub.drain(0)
        return await original(last_event_id)

    monkeypatch.setattr(hub, "position", drained_meanwhile)
    async with connected(reader) as client:
        await client.until(lambda: client.ended)
        assert client.status == 503


async def test_a_client_that_leaves_silences_nobody(hub: Hub, reader: User) -> None:
    async with streaming(reader) as stays:
        async with streaming(reader):
            await write("a")
        await write("b")
        await stays.until_texts("a", "b")
        assert len(hub.streams) == 1


async def test_a_request_that_its_server_gives_up_leaves_no_stream(hub: Hub, reader: User) -> None:
    async with streaming(reader) as client:
        (stream,) = hub.streams
        client.request.cancel()
        await asyncio.wait([client.request], timeout=20)
        assert client.request.cancelled()
        assert hub.streams == set()
        assert stream.reader.streams == set()


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

    monkeypatch.setattr(log, "look", broken)
    async with connected(reader) as client:
        await client.until(lambda: client.ended)
        assert client.status == 503
        assert "detail" in json.loads(client.body)
