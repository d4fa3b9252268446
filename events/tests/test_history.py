"""The log read in pages: what the stream gives, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework import serializers
from rest_framework.test import APIClient

from events import history, log, views
from events.audience import EVERYONE, INTERNAL, user_key
from events.bus import aemit, emit
from events.catalogue import declare
from events.hub import Hub
from events.models import Event, LogHead
from events.tests.conftest import NoteEvent
from events.tests.polling import EVENTS, client_of, pages, place, poll
from events.tests.streaming import streaming
from events.wire import encode_json

pytestmark = pytest.mark.django_db(transaction=True)

TYPES = ["note.written", "note.shouted", "Note.capital", "notes.many", "n_te.x", "note", "pad.torn"]
LENGTH = 100  # events of a random log
SUBJECTS = ["", "notes.note/1", "notes.note/2", "Notes.note/1"]
ACTORS = ["", "ann", "Ann", "anna", "root (manage.py emit)"]
FILTERS: list[dict[str, Any]] = [
    {},
    {"types": ["pad.torn"]},
    {"types": ["note.*"]},
    {"types": ["n_te.*", "note"]},
    {"types": ["nothing.of_this"]},
    {"subject": "notes.note/1"},
    {"types": ["note.*", "pad.torn"], "subject": "notes.note/2"},
    {"actor": "ann"},
    {"actor": "root (manage.py emit)", "types": ["note.*"]},
    {"actor": "Ann", "subject": "notes.note/1"},
]


class Anything(serializers.Serializer):
    anything = serializers.JSONField()


@pytest.fixture
def chief(transactional_db: Any) -> User:
    """A superuser."""
    return User.objects.create(username="chief", is_superuser=True)


@pytest.fixture
def cast(chief: User, outsider: User, reader: User) -> dict[str, tuple[User, set[str]]]:
    """Users and the keys they hold, as far as any event here is for them. The log is empty."""
    every_right = {"auth.view_user", "auth.add_user", EVERYONE}
    return {
        "reader": (reader, {"auth.view_user", EVERYONE, user_key(reader)}),
        "outsider": (outsider, {EVERYONE, user_key(outsider)}),
        "chief": (chief, every_right | {user_key(chief)}),
    }


def made(
    audience: list[str], type: str = "note.written", subject: str = "", actor: str = ""
) -> Event:
    about: dict[str, Any] = {"type": type, "subject": subject, "actor_username": actor}
    return Event(audience=audience, data={}, timestamp=timezone.now(), **about)  # type: ignore[misc]


def write(count: int, audience: list[str], type: str = "note.written") -> None:
    Event.objects.bulk_create(made(audience, type) for _ in range(count))
    place()


def write_at_random(chance: random.Random, users: list[User]) -> None:
    keys = ["auth.view_user", "auth.add_user", EVERYONE, *map(user_key, users)]
    for _ in range(LENGTH):
        audience = chance.sample(keys, chance.choice([1, 1, 2]))
        internal = chance.random() < 0.1
        made(
            [INTERNAL] if internal else audience,
            chance.choice(TYPES),
            chance.choice(SUBJECTS),
            chance.choice(ACTORS),
        ).save()
    place()


def prune(below: int) -> None:
    LogHead.objects.update(floor=below)
    Event.objects.filter(position__lt=below).delete()


def ids(page: dict[str, Any]) -> list[int]:
    return [event["id"] for event in page["events"]]


def expected(keys: set[str], wanted: dict[str, Any]) -> list[int]:
    """The readable positions, found in the plainest way there is."""

    def admits(event: Event) -> bool:
        names = wanted.get("types", [event.type])
        named = any(
            event.type == name or (name.endswith(".*") and event.type.startswith(name[:-1]))
            for name in names
        )
        about = event.subject == wanted.get("subject", event.subject)
        return named and about and event.actor_username == wanted.get("actor", event.actor_username)

    rows = Event.objects.order_by("position")
    return [row.position or 0 for row in rows if keys & set(row.audience) and admits(row)]


def query_of(wanted: dict[str, Any], limit: int) -> str:
    parts = [f"limit={limit}"]
    if "types" in wanted:
        parts.append("types=" + ",".join(wanted["types"]))
    if "subject" in wanted:
        parts.append("subject=" + wanted["subject"])
    if "actor" in wanted:
        parts.append("actor=" + quote(wanted["actor"]))
    return "&".join(parts)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["reader", "outsider", "chief"])
def test_a_walk_gives_each_readable_event_once_and_in_order(
    cast: dict[str, tuple[User, set[str]]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    seed: int,
) -> None:
    """Also where a page ends before the limit is reached, as it does in a log of millions."""
    chance = random.Random(seed)
    monkeypatch.setattr(history, "FURTHER", (chance.randint(1, 30),) * 2)
    monkeypatch.setattr(history, "SPAN", chance.randint(20, 200))
    write_at_random(chance, [user for user, _ in cast.values()])
    user, keys = cast[name]
    for wanted in FILTERS:
        query = query_of(wanted, limit=chance.choice([1 if "actor" in wanted else 2, 7, 500]))
        up = list(pages(user, query, "after", 0))
        assert [n for page in up for n in ids(page)] == expected(keys, wanted), wanted
        assert up[-1]["cursor"] == LENGTH
        down = list(pages(user, query, "before", LENGTH + 1))
        assert [n for page in down[::-1] for n in ids(page)] == expected(keys, wanted), wanted
        assert down[-1]["cursor"] == 1
        assert not any(page["reset"] for page in up + down)


@pytest.mark.asyncio
async def test_a_polled_event_is_the_streams_byte_for_byte(hub: Hub, reader: User) -> None:
    declare({NoteEvent.LOOSE: Anything}, permission=EVERYONE)
    data = {"anything": {"z": "\u2028ü\\ \x00\ud800", "a": [1.5, None]}}
    async with streaming(reader) as client:
        await aemit(NoteEvent.LOOSE, data, subject="notes.note/1")
        await client.until(lambda: client.events)
    page = await sync_to_async(poll)(reader, "after=0")
    (polled,) = page["events"]
    assert b"\ndata: " + encode_json(polled) + b"\n\n" in client.body


def test_events_committed_while_polling_are_each_got_once(reader: User) -> None:
    writers, turns = 4, 15

    def work(number: int) -> None:
        try:
            for turn in range(turns):
                emit(NoteEvent.WRITTEN, {"text": f"{number}.{turn}"})
        finally:
            connection.close()

    seen: list[str] = []
    cursor = 0
    with ThreadPoolExecutor(writers) as pool:
        running = [pool.submit(work, number) for number in range(writers)]
        while True:
            ended = all(writer.done() for writer in running) and not log.has_pending()
            page = poll(reader, f"after={cursor}&limit=7")
            seen += [event["data"]["text"] for event in page["events"]]
            cursor = page["cursor"]
            if ended and not page["more"]:
                break
    assert sorted(seen) == sorted(f"{n}.{turn}" for n in range(writers) for turn in range(turns))


def test_a_reader_with_few_rights_cannot_make_one_request_read_the_whole_log(
    outsider: User,
) -> None:
    write(9_000, ["auth.view_user"])
    write(1, [EVERYONE])
    with CaptureQueriesContext(connection) as queries:
        page = poll(outsider, "after=0")
    assert page["more"]
    assert (page["events"], page["reset"]) == ([], False)
    assert 1_000 <= page["cursor"] < 9_000
    assert len([query for query in queries if "events_event" in query["sql"]]) < 20
    assert [n for page in pages(outsider, "", "after", 0) for n in ids(page)] == [9_001]
    assert [n for page in pages(outsider, "", "before", 9_001) for n in ids(page)] == []


def test_a_page_of_one_reads_no_batch(reader: User) -> None:
    write(50, [EVERYONE])
    with CaptureQueriesContext(connection) as queries:
        poll(reader, "before=51&limit=1")
    reads = [query["sql"] for query in queries if "events_event" in query["sql"]]
    assert len(reads) == 2  # how large the rows are, and the rows
    assert all(read.endswith("LIMIT 1") for read in reads)


@pytest.mark.parametrize(("query", "first"), [("after=0", 1), ("before=7", 6)])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_page_of_large_events_ends_early(
    reader: User, monkeypatch: pytest.MonkeyPatch, query: str, first: int, size: int
) -> None:
    """Or one request could make the server hold half a gigabyte."""
    monkeypatch.setattr(history, "BYTES", size)
    write(6, [EVERYONE])
    page = poll(reader, query)
    assert first in ids(page)
    assert (len(ids(page)) == 6) is (size == 1000)
    assert page["more"] is (size < 1000)
    way, seen = query.split("=")[0], ids(page)
    while page["more"]:
        page = poll(reader, f"{way}={page['cursor']}")
        seen += ids(page)
    assert sorted(seen) == [1, 2, 3, 4, 5, 6]


def test_the_cursor_passes_what_may_not_be_seen(outsider: User) -> None:
    write(3, ["auth.view_user"])
    assert poll(outsider, "after=0") == {"events": [], "cursor": 3, "more": False, "reset": False}


@pytest.mark.parametrize("after", [7, 8, 2**63 - 1, 2**70])
def test_a_cursor_beyond_the_head_must_begin_anew(reader: User, after: int) -> None:
    write(6, [EVERYONE])
    page = poll(reader, f"after={after}")
    assert page == {"events": [], "cursor": 6, "more": False, "reset": True}


@pytest.mark.parametrize(
    ("query", "found", "reset"),
    [
        ("after=0", [], True),
        ("after=2", [], True),
        ("after=3", [4, 5, 6], False),
        ("after=6", [], False),
        ("", [4, 5, 6], False),
        ("before=6", [4, 5], False),
        ("before=3", [], False),
        ("before=0", [], False),
        ("before=99", [4, 5, 6], False),
    ],
)
def test_what_is_no_longer_kept_cannot_be_gone_on_from(
    reader: User, query: str, found: list[int], reset: bool
) -> None:
    write(6, [EVERYONE])
    prune(below=4)
    page = poll(reader, query)
    assert (ids(page), page["reset"], page["more"]) == (found, reset, False)
    assert page["cursor"] == (4 if "before" in query else 6)


@pytest.mark.parametrize("query", ["", "after=0", "before=1"])
def test_an_empty_log_is_no_reason_to_begin_anew(reader: User, query: str) -> None:
    page = poll(reader, query)
    assert (page["events"], page["more"], page["reset"]) == ([], False, False)


@pytest.mark.parametrize(
    ("query", "found", "reset"),
    [("after=0", [], True), ("", [4, 5, 6], False), ("before=7", [4, 5, 6], False)],
)
@pytest.mark.parametrize("moment", ["before the rows are read", "after the rows are read"])
def test_nothing_deleted_meanwhile_is_passed_over_in_silence(
    reader: User,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    query: str,
    found: list[int],
    reset: bool,
) -> None:
    search = history._search

    def interrupted(*arguments: Any) -> Any:
        if moment.startswith("before"):
            prune(below=4)
            return search(*arguments)
        result = search(*arguments)
        prune(below=4)
        return result

    write(6, [EVERYONE])
    monkeypatch.setattr(history, "_search", interrupted)
    page = poll(reader, query)
    assert (ids(page), page["reset"]) == (found, reset)


def test_rights_are_those_of_now_also_for_what_is_old(reader: User) -> None:
    write(1, ["auth.view_user"])
    assert ids(poll(reader)) == [1]
    reader.user_permissions.clear()
    place()
    assert ids(poll(reader)) == []


def test_nothing_after_a_revocation_is_read_under_the_rights_of_before(
    reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has read the rights; then they are taken away, and a secret is written."""
    readable_keys = views.readable_keys

    def overtaken(user: User) -> frozenset[str]:
        keys = readable_keys(user)
        reader.user_permissions.clear()
        write(1, ["auth.view_user"])
        return keys

    write(1, ["auth.view_user"])
    monkeypatch.setattr(views, "readable_keys", overtaken)
    page = poll(reader)
    assert (ids(page), page["cursor"]) == ([1], 1)


def test_somebody_deactivated_during_the_request_reads_nothing(
    reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "rights_of", lambda pks: {})
    response = client_of(reader).get(EVENTS)
    assert response.status_code == 403
    assert response.json() == {"detail": "This user is inactive."}


def test_nobody_reads_without_credentials(transactional_db: Any) -> None:
    response = APIClient().get(EVENTS)
    assert response.status_code == 401
    assert response.json()["detail"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("after=x", "after"),
        ("after=", "after"),
        ("after=-1", "after"),
        ("after=1.0", "after"),
        ("after=%D9%A1", "after"),
        ("before=x", "before"),
        ("before=", "before"),
        ("after=1&before=2", "after, before"),
        ("after=1&after=2", "after"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=", "limit"),
        ("limit=many", "limit"),
        ("types=Server", "types"),
        ("types=*", "types"),
        ("types=a&types=b", "types"),
        ("subject=server", "subject"),
        ("subject=a.b/%00", "subject"),
        ("actor=%00", "actor"),
        ("actor=" + 151 * "a", "actor"),
        ("last_event_id=1", "last_event_id"),
        ("colour=red", "colour"),
        ("&".join(f"p{n}=1" for n in range(30)), "The query is malformed"),
        ("after=%FF", "The query is malformed"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(reader: User, query: str, name: str) -> None:
    response = client_of(reader).get(f"{EVENTS}?{query}")
    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"
    assert response.json()["detail"].startswith(name)


def test_an_idle_poll_is_a_304_without_a_look_at_the_events(reader: User) -> None:
    write(1, [EVERYONE])
    client = client_of(reader)
    tag = client.get(f"{EVENTS}?after=1")["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        with CaptureQueriesContext(connection) as queries:
            response = client.get(f"{EVENTS}?after=1", headers={"If-None-Match": known})
        assert response.status_code == 304
        assert response.content == b""
        assert response["ETag"] == tag
        assert not [query for query in queries if "events_event" in query["sql"]]


@pytest.mark.parametrize("known", ["", '"other"', "garbage", "W/"])
def test_another_tag_gets_the_whole_answer(reader: User, known: str) -> None:
    response = client_of(reader).get(EVENTS, headers={"If-None-Match": known})
    assert response.status_code == 200


def give_right(user: User) -> None:
    """In silence, so that the log's head stays where it is."""
    permission = Permission.objects.get(codename="add_user")
    User.user_permissions.through.objects.create(user=user, permission=permission)


@pytest.mark.parametrize(
    "change",
    [lambda user: write(1, [INTERNAL]), lambda user: prune(below=2), give_right],
    ids=["an event", "a prune", "a right"],
)
def test_a_tag_is_no_longer_good_after(reader: User, change: Callable[[User], None]) -> None:
    write(3, [EVERYONE])
    client = client_of(reader)
    tag = client.get(EVENTS)["ETag"]
    assert client.get(EVENTS, headers={"If-None-Match": tag}).status_code == 304
    change(reader)
    response = client.get(EVENTS, headers={"If-None-Match": tag})
    assert response.status_code == 200
    assert response["ETag"] != tag


def test_a_tag_is_good_for_one_reader_and_one_question(reader: User) -> None:
    twin = User.objects.create(username="twin")
    twin.user_permissions.set(reader.user_permissions.all())
    place()
    queries = [
        "",
        "after=1",
        "after=2",
        "before=1",
        "limit=5",
        "types=a",
        "types=a,b",
        "subject=a.b/1",
        "actor=ann",
    ]
    clients = [client_of(reader), client_of(twin)]
    tags = {client.get(f"{EVENTS}?{query}")["ETag"] for query in queries for client in clients}
    assert len(tags) == 2 * len(queries)


def test_a_tag_does_not_hang_on_the_order_of_types(reader: User) -> None:
    """So many that a set's own order betrays in which one they came, as it does the process."""
    types = [f"a{number}" for number in range(200)]
    client = client_of(reader)
    orders = (types, types[::-1])
    assert len({client.get(f"{EVENTS}?types={','.join(order)}")["ETag"] for order in orders}) == 1


def test_a_tag_is_no_newer_than_its_answer(reader: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is placed between must be news to whoever comes back with the tag."""
    page = history.page

    def overtaken(*arguments: Any) -> history.Page:
        found = page(*arguments)
        write(1, [EVERYONE])
        return found

    monkeypatch.setattr(history, "page", overtaken)
    first = client_of(reader).get(EVENTS)
    monkeypatch.undo()
    second = client_of(reader).get(EVENTS, headers={"If-None-Match": first["ETag"]})
    assert (ids(first.json()), first["X-Event-Cursor"]) == ([], "0")
    assert (ids(second.json()), second["X-Event-Cursor"]) == ([1], "1")


def test_an_answer_is_kept_by_no_shared_cache(reader: User) -> None:
    first = client_of(reader).get(EVENTS)
    second = client_of(reader).get(EVENTS, headers={"If-None-Match": first["ETag"]})
    for response in (first, second):
        assert response["Cache-Control"] == "private, no-cache"
        assert {"Authorization", "Cookie"} <= set(response["Vary"].split(", "))


def test_a_head_request_has_the_headers_alone(reader: User) -> None:
    write(1, [EVERYONE])
    client = client_of(reader)
    response = client.head(EVENTS)
    assert response.status_code == 200
    assert response.content == b""
    assert response["ETag"] == client.get(EVENTS)["ETag"]
    assert response["X-Event-Cursor"] == "1"


def test_reading_holds_no_transaction(reader: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite it would keep every writer waiting."""
    page = history.page

    def observed(*arguments: Any) -> history.Page:
        assert not connection.in_atomic_block
        return page(*arguments)

    monkeypatch.setattr(history, "page", observed)
    poll(reader)


def test_types_that_this_process_does_not_know_are_read_too(reader: User) -> None:
    """As while a new version is rolled out, or after a type was given up."""
    write(1, [EVERYONE], type="unheard.of")
    assert ids(poll(reader, "types=unheard.*")) == [1]
    assert ids(poll(reader, "types=unheard.of")) == [1]


def test_a_deep_event_can_be_read_where_it_could_be_written(reader: User) -> None:
    """Else one event would stop every poll that comes to it."""
    declare({NoteEvent.LOOSE: Anything}, permission=EVERYONE)
    reader.user_permissions.add(Permission.objects.get(codename="emit_event"))
    place()
    start = log.head().position
    client, published = client_of(reader), 0
    for depth in range(700, 1000, 3):
        deep = "[" * depth + "]" * depth
        body = f'{{"type": "note.loose", "data": {{"anything": {deep}}}}}'
        published += client.post(EVENTS, body, content_type="application/json").status_code == 201
    assert 0 < published < 100
    place()
    assert len(poll(reader, f"after={start}")["events"]) == published
