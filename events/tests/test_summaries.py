"""Handlers that are called once for many events: seldom, and always after the last of them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events import attempts, delivery, log, upkeep
from events import waker as waking
from events.api import summarize
from events.bus import Draft, prepare
from events.catalogue import catalogue
from events.delivery import run
from events.models import Event, Subscription
from events.relay import relay
from events.tests.conftest import NoteEvent
from events.waker import Waker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "tests.summary"
EVERY = 30.0  # seconds; no test is slow enough for this to go by
STALE_AFTER = 3600.0


class Summary:
    """Writes down each time how many events there are. With an `error` it fails after that."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.meanwhile = ""  # the text of an event that is placed while it looks

    def __call__(self) -> None:
        Group.objects.create(name=f"{Group.objects.count()}: {Event.objects.count()} events")
        if self.meanwhile:
            text, self.meanwhile = self.meanwhile, ""
            place(text)
        if self.error:
            raise self.error

    @property
    def seen(self) -> list[int]:
        """The number of events at each call that was committed."""
        names = Group.objects.order_by("pk").values_list("name", flat=True)
        return [int(name.split()[1]) for name in names]


def place(*texts: str, type: str = NoteEvent.WRITTEN) -> None:
    Event.objects.bulk_create([prepare(Draft(type, {"text": text})) for text in texts])
    log.sequence()


def row() -> Subscription:
    return Subscription.objects.get(name=NAME)


def let_go_by(seconds: float) -> None:
    """As if the last call had been so much earlier."""
    ran_at = row().ran_at
    assert ran_at is not None
    Subscription.objects.update(ran_at=ran_at - timedelta(seconds=seconds))


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Summary:
    """Of notes, from the log's beginning; the only subscription."""
    monkeypatch.setattr(catalogue, "subscribers", {})
    Group.objects.all().delete()
    relay.stop()  # which has placed the end of the groups
    Event.objects.all().delete()
    Subscription.objects.all().delete()
    Subscription.objects.create(name=NAME, cursor=0, ran_at=timezone.now())
    let_go_by(EVERY)
    summary = Summary()
    summarize("note.written", every=EVERY, stale_after=STALE_AFTER, name=NAME)(summary)
    return summary


def test_many_events_are_one_call_and_all_of_them_are_handled(summary: Summary) -> None:
    place(*[f"{number}" for number in range(50)])
    assert run(NAME, 1) == EVERY
    assert summary.seen == [50]
    assert row().cursor == log.head().position
    let_go_by(EVERY)
    assert run(NAME) is None
    assert summary.seen == [50]


def test_what_comes_too_soon_waits_until_the_time_is_over(summary: Summary) -> None:
    place("a")
    assert run(NAME, 1) == EVERY
    place("b")
    place("c")
    assert run(NAME, 2) is None
    assert run(NAME) is None
    assert upkeep.due() == []
    let_go_by(EVERY)
    assert upkeep.due() == [NAME]
    assert run(NAME) == EVERY
    assert summary.seen == [1, 3]


def test_who_comes_back_early_by_another_clock_comes_back_again(summary: Summary) -> None:
    place("a")
    run(NAME, 1)
    let_go_by(EVERY - 10)
    left = run(NAME)
    assert left is not None
    assert 0 < left <= 10
    assert run(NAME, 2) is None, "one that was woken has somebody to come after it"


def test_machines_whose_clocks_differ_wait_for_no_longer(
    summary: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    place("a")
    with monkeypatch.context() as patch:
        ahead = timezone.now() + timedelta(seconds=0.7 * EVERY)
        patch.setattr(timezone, "now", lambda: ahead)
        assert run(NAME, 1) == EVERY
    place("b")
    let_go_by(EVERY)
    assert run(NAME) == EVERY
    assert summary.seen == [1, 2]


def test_a_clock_that_was_set_back_stops_nothing(summary: Summary) -> None:
    place("a")
    let_go_by(-10 * EVERY)
    assert run(NAME, 1) == EVERY
    assert summary.seen == [1]


def test_to_be_turned_away_costs_one_query(summary: Summary) -> None:
    place("a")
    run(NAME, 1)
    place("b")
    with CaptureQueriesContext(connection) as queries:
        assert run(NAME, 2) is None
    assert len(queries) == 1


def test_what_is_placed_while_it_looks_is_for_the_next_call(summary: Summary) -> None:
    summary.meanwhile = "late"
    place("a")
    run(NAME, 1)
    let_go_by(EVERY)
    assert run(NAME) == EVERY
    assert summary.seen == [1, 2]


def test_what_it_does_not_want_is_no_call_and_is_passed_over(summary: Summary) -> None:
    place("a", "b", type=NoteEvent.SHOUTED)
    assert run(NAME, 1) is None
    assert summary.seen == []
    assert row().cursor == log.head().position


def test_who_was_overtaken_by_another_runner_does_not_call_again(
    summary: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no event moves the cursor."""
    let_go_by(STALE_AFTER)
    Subscription.objects.update(cursor=log.head().position)
    answers: list[float | None] = []

    def overtaken(*arguments: Any, **named: Any) -> bool:
        monkeypatch.setattr(delivery, "attempt", attempts.attempt)
        answers.append(run(NAME))
        return attempts.attempt(*arguments, **named)

    monkeypatch.setattr(delivery, "attempt", overtaken)
    answers.append(run(NAME))
    assert answers == [EVERY, None]
    assert summary.seen == [0]


def test_a_failure_leaves_nothing_and_is_tried_again(summary: Summary) -> None:
    summary.error = ValueError("no figures")
    before = row()
    place("a")
    delay = run(NAME, 1)
    assert delay is not None
    assert 0.8 <= delay <= 1
    failed = row()
    assert (summary.seen, failed.cursor, failed.ran_at) == ([], before.cursor, before.ran_at)
    assert (failed.failures, failed.last_error) == (1, "ValueError: no figures")
    summary.error = None
    Subscription.objects.update(retry_at=timezone.now())
    assert run(NAME) == EVERY
    assert summary.seen == [1]
    assert (row().failures, row().last_error, row().retry_at) == (0, "", None)


def test_a_look_calls_what_had_no_event_for_long(summary: Summary) -> None:
    assert upkeep.due() == []
    let_go_by(STALE_AFTER)
    assert upkeep.due() == [NAME]
    assert run(NAME) == EVERY
    assert upkeep.due() == []
    assert summary.seen == [0]


def test_one_that_nobody_ever_called_has_had_no_event_for_long(summary: Summary) -> None:
    Subscription.objects.update(ran_at=None)
    assert upkeep.due() == [NAME]


def test_a_handler_that_only_waits_for_events_is_never_called_without(summary: Summary) -> None:
    catalogue.subscribers.clear()
    summarize("note.written", every=EVERY, name=NAME)(summary)
    let_go_by(1000 * STALE_AFTER)
    assert upkeep.due() == []
    assert run(NAME) is None
    assert summary.seen == []


def test_a_declaration_is_checked_as_any(summary: Summary) -> None:
    with pytest.raises(ImproperlyConfigured, match="twice"):
        summarize("note.written", name=NAME)(summary)


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    monkeypatch.setattr(waking, "subscription_woken", Signal())
    monkeypatch.setattr(waking, "INTERVAL", 0.01)
    heard: list[tuple[str, int]] = []

    def hear(name: str, position: int, **_: Any) -> None:
        heard.append((name, position))

    waking.subscription_woken.connect(hear, weak=False)
    return heard


def test_it_is_woken_as_seldom_as_it_is_called_and_others_at_once(
    summary: Summary, woken: list[tuple[str, int]]
) -> None:
    own = Waker()
    for position in (1, 2, 3):
        own.wake({NAME: position, "other": position})
        wait_until(partial(woken.__contains__, ("other", position)), 20, "the other's wake")
    assert [wake for wake in woken if wake[0] == NAME] == [(NAME, 1)]
    own.stop()
    assert woken[-1] == (NAME, 2), "what is held back goes out before the process ends"


def test_what_was_held_back_is_woken_when_the_time_is_over(
    summary: Summary, woken: list[tuple[str, int]]
) -> None:
    catalogue.subscribers.clear()
    summarize("note.written", every=0.1, name=NAME)(summary)
    own = Waker()
    own.wake({NAME: 1})
    wait_until(lambda: woken, 20, "the first wake")
    own.wake({NAME: 2})
    wait_until(lambda: len(woken) == 2, 20, "the second wake")
    own.stop()
    assert woken == [(NAME, 1), (NAME, 2)]
