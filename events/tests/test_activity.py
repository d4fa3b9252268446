"""Events a minute: counted in their minute, and only what the reader may read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.activity import per_minute
from events.audience import EVERYONE, INTERNAL, user_key
from events.log import head
from events.models import Event
from events.tests.polling import place

pytestmark = pytest.mark.django_db

TYPES = ["note.written", "note.figures"]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands still: else a minute may begin in the midst of a test."""
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)


def write(audience: list[str], ages: Iterable[float], type: str = "note.written") -> None:
    """Events that were emitted so many minutes ago."""
    for age in ages:
        moment = timezone.now().replace(second=1) - timedelta(minutes=age)
        values: dict[str, Any] = {"audience": audience, "data": {}, "timestamp": moment}
        Event.objects.create(type=type, **values)


def counted(keys: set[str], types: list[str], minutes: int) -> list[int]:
    """Of all that has a position."""
    return per_minute(keys, types, minutes, head().position)[1]


@pytest.fixture
def log(db: None) -> None:
    Event.objects.all().delete()
    write([EVERYONE], [0, 2, 2, 4, 5, 60])
    write(["auth.view_user", "auth.add_user"], [2])
    write(["auth.view_user"], [4], type="note.figures")
    write([INTERNAL], [1, 1])
    write(["user:7"], [3])
    place()


@pytest.mark.parametrize(
    ("keys", "counts"),
    [
        ({EVERYONE}, [1, 0, 2, 0, 1]),
        ({EVERYONE, "auth.view_user"}, [2, 0, 3, 0, 1]),
        ({EVERYONE, "auth.add_user", "user:7"}, [1, 1, 3, 0, 1]),
        ({"user:70"}, [0, 0, 0, 0, 0]),
        (set(), [0, 0, 0, 0, 0]),
    ],
)
def test_each_minute_counts_what_the_reader_may_read(
    log: None, keys: set[str], counts: list[int]
) -> None:
    start, found = per_minute(keys, TYPES, 5, head().position)
    assert found == counts
    assert timedelta(minutes=4) <= timezone.now() - start < timedelta(minutes=5)


def test_other_types_do_not_count(log: None) -> None:
    assert counted({EVERYONE, "auth.view_user"}, ["note.written"], 5) == [1, 0, 3, 0, 1]


def test_what_has_no_position_yet_comes_by_the_stream(db: None) -> None:
    Event.objects.all().delete()
    write([EVERYONE], [0])
    assert counted({EVERYONE}, TYPES, 2) == [0, 0]


def test_what_lies_after_the_position_comes_by_the_stream(log: None) -> None:
    before = head().position
    write([EVERYONE], [0, 1])
    place()
    assert per_minute({EVERYONE}, TYPES, 2, before)[1] == [0, 1]
    assert counted({EVERYONE}, TYPES, 2) == [1, 2]


def test_a_clock_that_is_ahead_does_no_harm(db: None) -> None:
    Event.objects.all().delete()
    write([EVERYONE], [-3])
    place()
    assert counted({EVERYONE}, TYPES, 2) == [0, 0]


def test_it_is_one_query_however_much_happened(db: None) -> None:
    user = User.objects.create(username="reader")
    Event.objects.all().delete()
    write([EVERYONE], [1] * 50)
    write([user_key(user)], [1] * 50)
    place()
    upto = head().position
    with CaptureQueriesContext(connection) as queries:
        assert per_minute({EVERYONE, user_key(user)}, TYPES, 2, upto)[1] == [100, 0]
    assert len(queries) == 1
