"""Figures of domains: pushed when they change, to those who may see them, and to nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from rest_framework import serializers

from events import stats
from events.api import InvalidEventData, emit, publish_stats
from events.delivery import run
from events.hub import Hub
from events.json_schema import schema_of
from events.models import Event, Figures, Subscription
from events.stats import StatsData, StatsEvent
from events.tests.conftest import NoteEvent
from events.tests.polling import EVENTS, client_of, place, poll
from events.tests.streaming import streaming

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class GroupFigures(serializers.Serializer):
    total = serializers.IntegerField()
    by_name = serializers.DictField(child=serializers.IntegerField())
    at = serializers.DateTimeField(allow_null=True)


def compute() -> Mapping[str, Any]:
    names = Group.objects.values_list("name", flat=True)
    return {"total": len(names), "by_name": dict.fromkeys(sorted(names), 1), "at": NOON}


@pytest.fixture(autouse=True)
def domains(reader: User) -> None:
    """`groups` for whoever may view users, as the reader, and `secrets` for those who add some."""
    Group.objects.all().delete()
    for domain, permission in (("groups", "auth.view_user"), ("secrets", "auth.add_user")):
        publish_stats(domain, compute, GroupFigures, types="note.*", permission=permission)


def tell(domain: str = "groups") -> list[Any]:
    """The data of all events that the domain has emitted once its handler has run."""
    Subscription.objects.update(ran_at=None)
    assert run(f"stats.{domain}") == stats.EVERY
    place()
    told = Event.objects.filter(type=StatsEvent.UPDATED).order_by("position")
    return [event.data["stats"] for event in told if event.data["domain"] == domain]


def figures(*names: str) -> dict[str, Any]:
    by_name = dict.fromkeys(names, 1)
    return {"total": len(names), "by_name": by_name, "at": "2026-11-23T12:00:00Z"}


def test_figures_are_told_of_when_they_are_others_and_only_then() -> None:
    assert tell() == [figures()]
    assert tell() == [figures()]
    emit(NoteEvent.WRITTEN, {"text": "changes no figure"})
    assert tell() == [figures()]
    Group.objects.create(name="a")
    assert tell() == [figures(), figures("a")]
    Group.objects.all().delete()
    assert tell() == [figures(), figures("a"), figures()]


def test_an_event_is_for_those_who_may_view_its_domain_about_nothing_and_of_nobody() -> None:
    tell()
    tell("secrets")
    events = Event.objects.filter(type=StatsEvent.UPDATED).order_by("position")
    assert [event.audience for event in events] == [["auth.view_user"], ["auth.add_user"]]
    assert {(event.subject, event.actor_username) for event in events} == {("", "")}


def test_what_others_publish_of_a_domain_is_for_the_same_readers() -> None:
    event = emit("stats.updated", {"domain": "secrets", "stats": figures()})
    assert event.audience == ["auth.add_user"]


def test_what_was_not_committed_was_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(Figures, "save", fail)
        assert run("stats.groups") != stats.EVERY
    assert not Event.objects.filter(type=StatsEvent.UPDATED).exists()
    Subscription.objects.update(retry_at=None)
    assert tell() == [figures()]


def test_it_does_not_answer_itself() -> None:
    tell()
    Subscription.objects.update(ran_at=timezone.now() - timedelta(seconds=10))
    assert run("stats.groups") is None


@pytest.mark.asyncio
async def test_nobody_gets_figures_of_what_they_may_not_view(
    hub: Hub, reader: User, outsider: User
) -> None:
    """Neither live, nor replayed, nor in the history."""
    right = await Permission.objects.aget(codename="add_user")
    await outsider.user_permissions.aadd(right)
    nobody = await User.objects.acreate(username="nobody")
    own = {"reader": ["groups"], "outsider": ["secrets"], "nobody": []}
    types = "types=stats.*,note.shouted"
    async with (
        streaming(reader, types) as first,
        streaming(outsider, types) as second,
        streaming(nobody, types) as third,
    ):
        for domain in ("groups", "secrets"):
            await sync_to_async(tell)(domain)
        await sync_to_async(emit)(NoteEvent.SHOUTED, {"text": "the end"})
        for client, name in ((first, "reader"), (second, "outsider"), (third, "nobody")):
            await client.until(lambda client=client: b"the end" in client.body)
            domains = [event["data"].get("domain") for event in client.events]
            assert domains == [*own[name], None]
    for user in (reader, outsider, nobody):
        async with streaming(user, f"{types}&last_event_id=0") as client:
            await client.until(lambda client=client: b"the end" in client.body)
            domains = [event["data"].get("domain") for event in client.events]
            assert domains == [*own[user.username], None]
        page = await sync_to_async(poll)(user, "types=stats.updated")
        assert [event["data"]["domain"] for event in page["events"]] == own[user.username]


@pytest.mark.asyncio
async def test_a_stream_names_the_type_to_whoever_may_view_any_domain(
    hub: Hub, reader: User, outsider: User
) -> None:
    async with streaming(reader) as first, streaming(outsider) as second:
        opened = [await client.until_frame("stream.open") for client in (first, second)]
    assert ["stats.updated" in frame["types"] for frame in opened] == [True, False]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"domain": "nothing", "stats": {}}, "not a valid choice"),
        ({"domain": "groups", "stats": figures() | {"password": "x"}}, "not declared"),
        ({"domain": "groups", "stats": {}}, "required"),
        ({"domain": "groups", "stats": figures() | {"total": "many"}}, "integer"),
        ({"domain": "groups", "stats": 5}, "dictionary"),
        ({"stats": figures()}, "required"),
    ],
)
def test_figures_of_another_form_are_refused(data: Any, words: str) -> None:
    with pytest.raises(InvalidEventData, match=words):
        emit("stats.updated", data)


def test_the_catalogue_tells_the_form_of_each_domain(reader: User) -> None:
    types = client_of(reader).get(f"{EVENTS}types/").json()
    [entry] = [entry for entry in types if entry["type"] == "stats.updated"]
    assert {"auth.view_user", "auth.add_user"} <= set(entry["permission"].split("|"))
    validator = Draft202012Validator(entry["schema"])
    assert validator.is_valid({"domain": "groups", "stats": figures("a")})
    assert not validator.is_valid({"domain": "groups", "stats": figures() | {"password": "x"}})
    assert entry["schema"] == schema_of(StatsData)


@pytest.mark.parametrize(
    ("domain", "types", "error"),
    [
        ("groups", "note.*", "already"),
        ("others", "stats.updated", "for ever"),
        ("others", ["note.written", "stats.*"], "for ever"),
    ],
)
def test_a_wrong_declaration_stops_the_start(domain: str, types: Any, error: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=error):
        publish_stats(domain, compute, GroupFigures, types=types, permission="auth.view_user")


def test_figures_need_a_permission() -> None:
    with pytest.raises(ValueError, match="permission"):
        publish_stats("more", compute, GroupFigures, types="note.*", permission="everyone")
