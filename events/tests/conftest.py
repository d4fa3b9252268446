"""A few event types of the tests' own, and a cast of readers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from django.contrib.auth.models import Permission, User
from rest_framework import serializers

from events import hub as hubs
from events.catalogue import SystemEvent, declare, scoped
from events.hub import Hub, get_hub
from events.models import Event, LogHead
from events.relay import relay


class NoteEvent(SystemEvent):
    WRITTEN = "note.written", "Note written"
    SHOUTED = "note.shouted", "Note for everyone"
    WHISPERED = "note.whispered", "Note that never leaves"
    LOOSE = "note.loose", "Note of any kind"


class Note(serializers.Serializer):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)
    number = serializers.IntegerField(required=False)


@pytest.fixture(autouse=True)
def notes() -> Iterator[None]:
    with scoped():
        declare({NoteEvent.WRITTEN: Note}, permission="auth.view_user")
        declare({NoteEvent.SHOUTED: Note}, permission="everyone")
        declare({NoteEvent.WHISPERED: Note}, permission="internal")
        yield


def empty_log() -> None:
    """The cast's own rights are events too: without them, positions begin with 1."""
    relay.stop()
    Event.objects.all().delete()
    LogHead.objects.all().delete()


@pytest.fixture
def reader(transactional_db: Any) -> User:
    """May read notes."""
    user = User.objects.create(username="reader")
    user.user_permissions.add(Permission.objects.get(codename="view_user"))
    empty_log()
    return user


@pytest.fixture
def outsider(transactional_db: Any) -> User:
    """May read nothing but what everyone may."""
    return User.objects.create(username="outsider")


@pytest.fixture
def in_memory_layer(settings: Any) -> None:
    """A layer whose groups a test can look at. To be asked for before the hub."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest_asyncio.fixture
async def hub(reader: User, outsider: User) -> AsyncIterator[Hub]:
    """The hub of the test's loop, started when the cast is there."""
    started = await get_hub()
    yield started
    await started.stop()
    hubs._hubs.clear()


@pytest_asyncio.fixture
async def small_ring(reader: User, settings: Any) -> AsyncIterator[Hub]:
    """A hub that remembers three events."""
    settings.EVENTS_RING_SIZE = 3
    started = await get_hub()
    yield started
    await started.stop()
    hubs._hubs.clear()
