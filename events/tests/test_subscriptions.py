"""Server-side subscriptions: each event once, in order, none missing, whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.dispatch import Signal
from django.utils import timezone

from events import attempts, delivery, log, subscriptions, upkeep
from events import relay as relaying
from events import waker as waking
from events.api import acting, emit, subscribe
from events.bus import Draft, prepare
from events.catalogue import Subscriber, UnknownSubscription, catalogue
from events.checks import check_subscriptions
from events.delivery import run
from events.models import Event, Subscription
from events.relay import relay
from events.tests.conftest import NoteEvent
from events.waker import Waker, waker
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "tests.notes"
EFFECT = "effect "


@pytest.fixture(autouse=True)
def no_others(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscriptions are those of the test, and none of the portal's apps."""
    monkeypatch.setattr(catalogue, "subscribers", {})
    Subscription.objects.all().delete()


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """What has been woken; nobody else listens."""
    monkeypatch.setattr(waking, "subscription_woken", Signal())
    monkeypatch.setattr(waking, "INTERVAL", 0.01)
    monkeypatch.setattr(waking, "RETRY_DELAY", 0.01)
    heard: list[tuple[str, int]] = []

    def hear(name: str, position: int, **_: Any) -> None:
        heard.append((name, position))

    waking.subscription_woken.connect(hear)
    yield heard
    waker.stop()


def place(*texts: str, type: str = NoteEvent.WRITTEN) -> None:
    """Appends and places events without a word to anybody."""
    Event.objects.bulk_create([prepare(Draft(type, {"text": text})) for text in texts])
    log.sequence()


class Handler:
    """Writes a row for each event. It fails at the texts in `poison`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.poison: set[str] = set()
        self.error: Exception = ValueError("no such note")

    def __call__(self, event: dict[str, Any]) -> None:
        text = event["data"]["text"]
        self.calls.append(text)
        Group.objects.create(name=EFFECT + text)
        if text in self.poison:
            raise self.error

    @property
    def effects(self) -> list[str]:
        groups = Group.objects.filter(name__startswith=EFFECT).order_by("pk")
        return [group.name.removeprefix(EFFECT) for group in groups]


@pytest.fixture
def handler() -> Handler:
    """Subscribed to notes from the log's beginning."""
    handler = Handler()
    subscribe("note.written", name=NAME)(handler)
    Subscription.objects.create(name=NAME, cursor=0)
    return handler


def row() -> Subscription:
    return Subscription.objects.get(name=NAME)


def make_due() -> None:
    """The back-off is over."""
    assert row().retry_at is not None
    Subscription.objects.update(retry_at=timezone.now())


def park() -> None:
    while row().parked_at is None:
        run(NAME)
        Subscription.objects.update(retry_at=None)


# In order, each once


def test_each_event_is_handled_once_and_in_order(handler: Handler) -> None:
    texts = [f"{number}" for number in range(250)]
    place(*texts)
    assert run(NAME) is None
    assert run(NAME) is None
    assert handler.calls == handler.effects == texts
    assert (row().cursor, row().failures) == (250, 0)


def test_a_handler_gets_the_public_form_of_its_event(handler: Handler) -> None:
    got: list[dict[str, Any]] = []
    subscribe("note.*", name="tests.form")(got.append)
    with acting(lambda: User(pk=7, username="alice")):
        place("a")
    run("tests.form", 1)
    assert got == [log.public(Event.objects.get())]
    assert got[0]["actor"] == {"id": 7, "username": "alice"}


def test_only_what_is_wanted_arrives_and_the_rest_is_passed_over() -> None:
    got: dict[str, list[str]] = {}
    wanted = {
        "exact": "note.shouted",
        "several": ["note.shouted", "note.written"],
        "wildcard": "note.*",
        "internal": ("note.whispered",),
        "prefix": "note.s.*",
    }
    for name, types in wanted.items():
        texts = got.setdefault(name, [])
        subscribe(types, name=name)(lambda event, texts=texts: texts.append(event["data"]["text"]))
    upkeep.make_rows("default")
    place("written")
    place("shouted", type=NoteEvent.SHOUTED)
    place("whispered", type=NoteEvent.WHISPERED)
    for name in wanted:
        run(name)
    assert got == {
        "exact": ["shouted"],
        "several": ["written", "shouted"],
        "wildcard": ["written", "shouted"],
        "internal": ["whispered"],
        "prefix": [],
    }
    assert {place.cursor for place in Subscription.objects.all()} == {3}


def test_what_an_effect_emits_names_the_request_it_comes_from_and_no_actor() -> None:
    @subscribe("note.written", name=NAME)
    def shout(event: dict[str, Any]) -> None:
        emit(NoteEvent.SHOUTED, event["data"])

    with acting(lambda: User(pk=7, username="alice"), "request-1"):
        place("a")
    with acting(lambda: User(pk=8, username="worker")):
        run(NAME, 1)
    relay.stop()
    effect = Event.objects.get(type="note.shouted")
    assert (effect.request_id, effect.actor_id, effect.position) == ("request-1", None, 2)


def test_a_run_makes_way_and_says_that_more_may_wait(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SPELL", 0.0)
    place("a", "b")
    assert run(NAME) == 0
    assert handler.effects == ["a"]
    assert run(NAME) == 0
    assert run(NAME) is None
    assert handler.effects == ["a", "b"]


# Where it begins


def test_a_subscription_without_a_row_begins_with_the_event_it_was_woken_for() -> None:
    handler = Handler()
    subscribe("note.written", name=NAME)(handler)
    place("a", "b", "c")
    run(NAME, 2)
    assert handler.effects == ["b", "c"]


def test_a_subscription_without_a_row_that_nobody_woke_begins_at_the_head() -> None:
    handler = Handler()
    subscribe("note.written", name=NAME)(handler)
    place("a")
    run(NAME)
    place("b")
    run(NAME)
    assert handler.effects == ["b"]


def test_an_event_is_placed_after_the_rows_of_those_it_wakes() -> None:
    """Wakes of two processes overtake each other."""
    handler = Handler()
    subscribe("note.written", name=NAME)(handler)
    place("before")
    emit(NoteEvent.WRITTEN, {"text": "a"})
    wait_until(partial(head_is, 2), 20, "the first event's position")
    emit(NoteEvent.WRITTEN, {"text": "b"})
    relay.stop()
    run(NAME, 3)
    run(NAME, 2)
    assert handler.effects == ["a", "b"]


def test_no_event_is_placed_before_the_rows_could_be_made(
    woken: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    def fail_twice() -> None:
        if len(failures) < 2:
            failures.append(log.head().position)
            raise OperationalError("the database is restarting")
        subscriptions.add_missing_rows()

    monkeypatch.setattr(relaying, "add_missing_rows", fail_twice)
    subscribe("note.written", name=NAME)(print)
    emit(NoteEvent.WRITTEN, {"text": "a"})
    wait_until(lambda: woken, 20, "a wake")
    assert failures == [0, 0]
    assert (row().cursor, woken) == (0, [(NAME, 1)])


@pytest.mark.parametrize("look", [upkeep.due, upkeep.unhandled])
def test_a_look_makes_no_row(look: Callable[[], Any]) -> None:
    """It would begin after the event that its first wake is for."""
    handler = Handler()
    subscribe("note.written", name=NAME)(handler)
    place("a")
    assert not look()
    assert not Subscription.objects.exists()
    run(NAME, 1)
    assert handler.effects == ["a"]


def test_migrating_gives_new_subscriptions_their_rows_and_leaves_the_others(
    handler: Handler,
) -> None:
    place("a", "b")
    subscribe("note.*", name="tests.new")(print)
    call_command("migrate", verbosity=0)
    cursors = Subscription.objects.values_list("name", "cursor")
    assert dict(cursors) == {NAME: 0, "tests.new": log.head().position}
    assert log.head().position >= 2


# Runners at the same time


def in_thread(work: Callable[[], Any]) -> Any:
    try:
        return work()
    finally:
        connection.close()


def test_runners_at_once_handle_each_event_once_and_in_order(handler: Handler) -> None:
    texts = [f"{number}" for number in range(60)]
    place(*texts)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(12):
            pool.submit(in_thread, lambda: run(NAME))
    assert handler.calls == handler.effects == texts
    assert row().failures == 0


def test_a_runner_is_turned_away_while_another_one_is_at_it() -> None:
    begun, may_end = threading.Event(), threading.Event()
    calls: list[str] = []

    @subscribe("note.written", name=NAME)
    def slow(event: dict[str, Any]) -> None:
        calls.append(event["data"]["text"])
        begun.set()
        assert may_end.wait(60)

    place("a", "b")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(in_thread, lambda: run(NAME, 1))
        assert begun.wait(60)
        second = pool.submit(in_thread, lambda: run(NAME, 1))
        if connection.vendor == "postgresql":  # on SQLite, every writer waits for the one
            assert second.result(60) is None
        assert calls == ["a"]
        may_end.set()
        assert (first.result(60), second.result(60)) == (None, None)
    assert calls == ["a", "b"]


def test_what_is_placed_during_a_runners_last_look_is_found_by_it(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own runner comes while this one still holds the row, and is turned away."""
    place("passed over", type=NoteEvent.SHOUTED)

    def look(*arguments: Any) -> Any:
        found = list(subscriptions.wanted_after(*arguments))
        if not found and log.head().position == 1:
            place("late")
        return found

    monkeypatch.setattr(delivery, "wanted_after", look)
    assert run(NAME) is None
    assert handler.effects == ["late"]


# Failures


def test_a_failure_leaves_no_effect_and_holds_up_what_follows(handler: Handler) -> None:
    handler.poison = {"b"}
    place("a", "b", "c")
    delay = run(NAME)
    assert delay is not None
    assert 0.8 <= delay <= 1
    assert handler.effects == ["a"]
    assert handler.calls == ["a", "b"]
    held = row()
    assert (held.cursor, held.failures, held.parked_at) == (1, 1, None)
    assert held.last_error == "ValueError: no such note"
    assert held.retry_at is not None
    assert held.retry_at > timezone.now()


def test_nothing_is_tried_before_the_retry_is_due(handler: Handler) -> None:
    handler.poison = {"a"}
    place("a")
    run(NAME)
    assert run(NAME) is None
    assert handler.calls == ["a"]


def test_a_retry_that_succeeds_clears_the_failure_and_goes_on(handler: Handler) -> None:
    handler.poison = {"a"}
    place("a", "b")
    run(NAME)
    make_due()
    handler.poison = set()
    assert run(NAME) is None
    assert handler.effects == ["a", "b"]
    healed = row()
    assert (healed.failures, healed.last_error, healed.retry_at) == (0, "", None)


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    delays = [attempts.backoff(failures) for failures in (1, 2, 3, 9, 10, 1000)]
    for delay, longest in zip(delays, (1, 2, 4, 256, 300, 300), strict=True):
        assert 0.8 * longest <= delay <= longest


def test_too_many_failures_park_it_and_say_so(
    handler: Handler, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EVENTS_SUBSCRIPTION_ATTEMPTS = 3
    handler.poison = {"a"}
    place("a", "b")
    for _ in range(2):
        assert run(NAME)
        make_due()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert run(NAME) is None
    parked = row()
    assert parked.parked_at is not None
    assert (parked.failures, parked.cursor, parked.retry_at) == (3, 0, None)
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert f"{NAME} is parked at position 1" in error.getMessage()


def test_a_parked_subscription_is_left_alone(handler: Handler) -> None:
    handler.poison = {"a"}
    place("a")
    park()
    calls = len(handler.calls)
    assert run(NAME) is None
    assert upkeep.due() == []
    assert len(handler.calls) == calls


def test_poison_stops_no_other_subscription(handler: Handler) -> None:
    got: list[str] = []
    subscribe("note.*", name="tests.healthy")(lambda event: got.append(event["data"]["text"]))
    handler.poison = {"a"}
    place("a", "b")
    park()
    run("tests.healthy", 1)
    assert got == ["a", "b"]


@pytest.mark.parametrize("text", ["x" * 10_000, "nul \0", "lone \ud800", ""])
def test_an_error_with_any_text_is_noted(handler: Handler, text: str) -> None:
    handler.poison = {"a"}
    handler.error = ValueError(text)
    place("a")
    run(NAME)
    assert row().failures == 1
    assert row().last_error.startswith("ValueError")
    assert len(row().last_error) <= attempts.ERROR_LENGTH


def test_a_handler_that_swallows_a_database_error_has_failed(handler: Handler) -> None:
    """PostgreSQL's transaction is then lost, and Django's is marked so."""

    @subscribe("note.written", name="tests.swallowing")
    def swallow(event: dict[str, Any]) -> None:
        with transaction.atomic():
            Group.objects.create(name="lost")
        transaction.set_rollback(True)

    place("a")
    assert run("tests.swallowing", 1)
    assert Subscription.objects.get(name="tests.swallowing").failures == 1
    assert not Group.objects.filter(name="lost").exists()


def lose_connection() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    connection.close()
    raise OperationalError("the connection was lost")


def test_a_connection_lost_in_a_handler_is_no_failure_of_the_handler(handler: Handler) -> None:
    def lose(event: dict[str, Any]) -> None:
        handler(event)
        lose_connection()

    place("a")
    catalogue.subscribers[NAME] = Subscriber(NAME, frozenset(["note.written"]), lose)
    with pytest.raises(OperationalError):
        run(NAME)
    assert handler.effects == []
    assert (row().cursor, row().failures) == (0, 0)
    catalogue.subscribers[NAME] = Subscriber(NAME, frozenset(["note.written"]), handler)
    run(NAME)
    assert handler.effects == ["a"]


@pytest.mark.parametrize("error", [OperationalError, ProgrammingError])
def test_a_database_that_fails_before_the_handler_begins_is_no_failure_of_it(
    handler: Handler, error: type[Exception]
) -> None:
    """The connection is whole, as after SQLite's "database is locked"."""

    def lock(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        if connection.in_atomic_block:
            raise error("database is locked")
        return execute(sql, *arguments)

    place("a")
    with connection.execute_wrapper(lock), pytest.raises(error):
        run(NAME)
    assert handler.calls == []
    assert (row().cursor, row().failures) == (0, 0)


def test_a_database_error_that_each_attempt_meets_again_parks(settings: Any) -> None:
    """The type alone would be that of a lost connection."""
    settings.EVENTS_SUBSCRIPTION_ATTEMPTS = 2

    @subscribe("note.written", name=NAME)
    def ask_too_much(event: dict[str, Any]) -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("SELECT 1 FROM no_such_table")
            else:
                cursor.execute("SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)")

    Subscription.objects.create(name=NAME, cursor=0)
    place("a")
    assert run(NAME)
    assert row().last_error.startswith("django.db.utils.OperationalError: ")
    make_due()
    assert run(NAME) is None
    assert row().parked_at is not None


def test_what_fails_after_the_commit_is_not_done_again(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise ValueError("too late")

    @subscribe("note.written", name="tests.late")
    def late(event: dict[str, Any]) -> None:
        done.append(event["data"]["text"])
        transaction.on_commit(fail)

    place("a", "b")
    assert run("tests.late", 1) == 0
    assert run("tests.late") == 0
    assert run("tests.late") is None
    assert done == ["a", "b"]
    assert Subscription.objects.get(name="tests.late").failures == 0
    assert "too late" in caplog.text


# The way out of parking


def test_a_resumed_subscription_tries_the_same_event_again(
    handler: Handler, woken: list[tuple[str, int]]
) -> None:
    handler.poison = {"b"}
    place("a", "b", "c")
    park()
    upkeep.resume(NAME)
    wait_until(lambda: woken, 20, "a wake")
    assert woken == [(NAME, 2)]
    assert row().failures == 0
    handler.poison = set()
    run(NAME)
    assert handler.effects == ["a", "b", "c"]


def test_a_skipped_event_is_passed_over_and_no_other(
    handler: Handler, woken: list[tuple[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    handler.poison = {"b"}
    place("a", "b", "c")
    park()
    with acting(lambda: User(pk=7, username="alice")):
        assert upkeep.skip(NAME)
    assert "made to skip by alice" in caplog.text
    wait_until(lambda: woken, 20, "a wake")
    run(NAME)
    assert handler.effects == ["a", "c"]


def test_nothing_is_skipped_unless_it_is_parked(handler: Handler) -> None:
    handler.poison = {"a"}
    place("a")
    run(NAME)
    assert not upkeep.skip(NAME)
    assert (row().cursor, row().failures) == (0, 1)


# What nobody was woken for


def test_due_is_what_has_an_event_to_handle_now(handler: Handler) -> None:
    assert upkeep.due() == []
    place("a")
    assert upkeep.due() == [NAME]
    handler.poison = {"a"}
    run(NAME)
    assert upkeep.due() == []
    make_due()
    assert upkeep.due() == [NAME]


def test_an_idle_subscription_keeps_up_with_the_head(handler: Handler) -> None:
    place("a", "b", type=NoteEvent.SHOUTED)
    assert upkeep.due() == []
    assert row().cursor == 2


# Waking


def test_the_relay_wakes_whom_an_event_concerns(
    handler: Handler, woken: list[tuple[str, int]]
) -> None:
    subscribe("note.*", name="tests.all")(print)
    subscribe("server.created", name="tests.others")(print)
    with transaction.atomic():
        for event_type in (NoteEvent.WHISPERED, NoteEvent.SHOUTED, NoteEvent.WRITTEN):
            emit(event_type, {"text": "a"})
    relay.stop()
    assert sorted(woken) == [("tests.all", 2), (NAME, 3)]


def test_a_process_that_ends_sends_its_last_wakes(
    handler: Handler, woken: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "INTERVAL", 600.0)
    emit(NoteEvent.WRITTEN, {"text": "a"})
    wait_until(lambda: woken, 20, "the first wake")
    emit(NoteEvent.WRITTEN, {"text": "b"})
    relay.stop()
    assert woken == [(NAME, 1), (NAME, 2)]


LAST_WAKE = """
import threading
from django.conf import settings
settings.configure()
from events import waker as waking
waking.INTERVAL = 600.0
first = threading.Event()
def hear(name, **_):
    print(name, flush=True)
    first.set()
waking.subscription_woken.connect(hear)
waking.waker.wake({"first": 1})
assert first.wait(60)
waking.waker.wake({"last": 2})
"""


def test_a_process_without_a_relay_sends_its_last_wakes_too() -> None:
    done = subprocess.run([sys.executable, "-c", LAST_WAKE], capture_output=True, timeout=60)
    assert done.stdout.split() == [b"first", b"last"], done.stderr


def test_a_thread_that_outlives_its_stop_leaves_its_successors_wakes_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waking, "EXIT_TIMEOUT", 0.0)
    monkeypatch.setattr(waking, "subscription_woken", Signal())
    hanging, may_go_on = threading.Event(), threading.Event()
    threads: dict[str, threading.Thread] = {}

    def receive(name: str, **_: Any) -> None:
        threads[name] = threading.current_thread()
        if name == "hangs":
            hanging.set()
            assert may_go_on.wait(60)
            raise ConnectionError("the broker is down")

    waking.subscription_woken.connect(receive)
    own = Waker()
    own.wake({"hangs": 1})
    assert hanging.wait(60)
    own.stop()
    own.wake({"next": 2})
    wait_until(lambda: "next" in threads, 20, "the successor's wake")
    may_go_on.set()
    threads["hangs"].join(20)
    assert not threads["hangs"].is_alive()
    own.wake({"later": 3})
    wait_until(lambda: "later" in threads, 20, "a further wake")
    assert threads["next"] is threads["later"]
    assert threads["next"] is not threads["hangs"]
    own.stop()


def test_wakes_are_gathered_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    rounds: list[tuple[str, int]] = []

    def receive(name: str, position: int, **_: Any) -> None:
        rounds.append((name, position))
        begun.set()
        assert may_go_on.wait(60)

    monkeypatch.setattr(waking, "subscription_woken", Signal())
    waking.subscription_woken.connect(receive)
    own = Waker()
    own.wake({"a": 1})
    assert begun.wait(60), "the first one waits for nothing"
    for position in [*range(50, 100), *range(2, 50)]:
        own.wake({"a": position, "b": position})
    assert rounds == [("a", 1)]
    may_go_on.set()
    own.stop()
    assert sorted(rounds) == [("a", 1), ("a", 2), ("b", 2)]


def test_a_wake_that_fails_is_tried_until_it_is_heard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    down = threading.Event()
    down.set()
    attempts: list[int] = []
    heard: list[tuple[str, int]] = []

    def receive(name: str, position: int, **_: Any) -> None:
        attempts.append(position)
        if down.is_set():
            raise ConnectionError("the broker is down")
        heard.append((name, position))

    monkeypatch.setattr(waking, "subscription_woken", Signal())
    waking.subscription_woken.connect(receive)
    own = Waker()
    own.wake({"a": 5})
    wait_until(lambda: len(attempts) > 2, 20, "further attempts")
    own.wake({"a": 9})
    down.clear()
    wait_until(lambda: heard, 20, "the broker's return")
    own.stop()
    assert heard == [("a", 5)]
    assert caplog.text.count("the broker is down") == 1


def head_is(position: int) -> bool:
    return log.head().position == position


def test_a_waker_that_hangs_holds_up_no_event(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    def hang(**_: Any) -> None:
        assert may_go_on.wait(60)

    waking.subscription_woken.connect(hang)
    for position in (1, 2, 3):
        emit(NoteEvent.WRITTEN, {"text": "a"})
        wait_until(partial(head_is, position), 20, f"position {position}")
    may_go_on.set()


def test_a_forked_child_wakes_with_a_thread_of_its_own_and_for_itself_alone(
    woken: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "INTERVAL", 600.0)
    waker.wake({"parent": 1})
    wait_until(lambda: woken, 20, "a running thread")
    waker.wake({"parent": 2})
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            waker.wake({"child": 3})
            waker.stop()
            os._exit(0 if woken == [("parent", 1), ("child", 3)] else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# Declarations


def test_an_unknown_subscription_is_refused() -> None:
    with pytest.raises(UnknownSubscription, match=r"tests\.nobody"):
        run("tests.nobody")
    assert not Subscription.objects.filter(name="tests.nobody").exists()


async def coroutine(event: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("types", "name", "function", "words"),
    [
        ("note.written", NAME, print, "twice"),
        ((), "tests.other", print, "no event types"),
        ("note.written", "x" * 201, print, "shorter"),
        ("note.written", "tests.other", coroutine, "coroutine"),
    ],
)
def test_a_wrong_declaration_stops_the_start(
    handler: Handler, types: Any, name: str, function: Any, words: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        subscribe(types, name=name)(function)


def test_the_name_is_where_the_handler_lives() -> None:
    @subscribe("note.written")
    def listener(event: dict[str, Any]) -> None: ...

    run(f"{__name__}.test_the_name_is_where_the_handler_lives.<locals>.listener")


@pytest.mark.parametrize(
    ("types", "unmatched"),
    [
        ("note.written", 0),
        (["note.*", "server.created"], 0),
        ("note.whispered", 0),
        ("note.burnt", 1),
        ("note.written.*", 1),
        ("not.*", 1),
        ("access.*", 1),  # only internal ones
        (["note.burnt", "note.written", "x.*"], 2),
    ],
)
def test_a_subscription_to_what_nobody_declares_is_an_error(types: Any, unmatched: int) -> None:
    subscribe(types, name=NAME)(print)
    found = check_subscriptions()
    assert [error.id for error in found] == ["events.E003"] * unmatched
