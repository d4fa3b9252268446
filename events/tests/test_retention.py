"""Pruning and rebasing: what goes is what may go, and whoever missed it is told."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events import log, retention
from events.api import aemit, subscribe
from events.bus import Draft, prepare
from events.delivery import run
from events.hub import Hub
from events.models import Event, LogHead, StreamTicket, Subscription
from events.retention import LEAP, prune, rebase
from events.tests.conftest import NoteEvent
from events.tests.streaming import streaming

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "tests.notes"
DAY = timedelta(days=1)


def place(*ages: float) -> None:
    """Places events of these ages in days; their texts are their positions."""
    start = log.head().position
    drafts = [
        Draft(NoteEvent.WRITTEN, {"text": f"{start + offset}"})
        for offset, _ in enumerate(ages, start=1)
    ]
    events = [prepare(draft) for draft in drafts]
    for event, age in zip(events, ages, strict=True):
        event.timestamp = timezone.now() - age * DAY
    Event.objects.bulk_create(events)
    log.sequence()


def kept() -> list[int | None]:
    return list(Event.objects.order_by("position").values_list("position", flat=True))


def command(name: str, *arguments: str) -> str:
    output = StringIO()
    call_command(name, *arguments, stdout=output)
    return output.getvalue()


# Pruning


def test_what_is_older_goes_and_the_floor_is_the_oldest_that_stays() -> None:
    place(40, 31, 29, 0)
    pruned = prune(30 * DAY)
    assert (pruned.events, pruned.floor, pruned.held_by) == (2, 3, "")
    assert kept() == [3, 4]
    assert log.head() == log.Head(position=4, floor=3)


def test_an_old_event_after_a_younger_one_stays() -> None:
    """Timestamps are of the emission, positions of the commit."""
    place(40, 5, 29, 31, 0)
    prune(30 * DAY)
    assert kept() == [2, 3, 4, 5]


def test_a_log_that_is_all_old_becomes_empty() -> None:
    place(3, 2, 1)
    assert prune(timedelta(0)).floor == 4
    assert kept() == []
    assert log.head() == log.Head(position=3, floor=4)
    place(0)
    assert kept() == [4]


def test_nothing_old_nothing_done() -> None:
    assert prune(30 * DAY).events == 0
    place(1, 0)
    assert prune(30 * DAY).events == 0
    assert log.head() == log.Head(position=2, floor=1)


def test_the_floor_never_goes_back() -> None:
    place(3, 2, 1)
    prune(0 * DAY)
    prune(30 * DAY)
    assert log.head().floor == 4


def test_what_waits_for_its_position_is_kept_however_old() -> None:
    event = prepare(Draft(NoteEvent.WRITTEN, {"text": "pending"}))
    event.timestamp = timezone.now() - 40 * DAY
    event.save()
    prune(30 * DAY)
    assert kept() == [None]


def test_an_event_that_is_placed_meanwhile_is_kept() -> None:
    """Emitted long ago, in a transaction that took its time."""
    place(40)
    looks: list[str] = []

    def look(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        looks.append(sql)
        try:
            return execute(sql, *arguments)
        finally:
            if len(looks) == 1:
                place(40)

    with connection.execute_wrapper(look):
        prune(30 * DAY)
    assert kept() == [2]


def test_many_rows_go_in_several_transactions_after_the_floor_has_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    place(9, 9, 9, 9, 9, 0)
    with CaptureQueriesContext(connection) as queries:
        assert prune(DAY).events == 5
    changes = [
        query["sql"].split("_")[0].replace('"', "")
        for query in queries
        if query["sql"].startswith(('DELETE FROM "events_event"', 'UPDATE "events_loghead"'))
    ]
    assert changes == ["UPDATE events", *["DELETE FROM events"] * 3]


def test_prunes_at_once_do_no_harm() -> None:
    place(*[9] * 50, 0)

    def work(_: int) -> int:
        try:
            return prune(DAY).events
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 50
    assert kept() == [51]
    assert log.head().floor == 51


def test_what_a_subscription_has_not_handled_is_kept_and_its_name_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subscribe("note.written", name=NAME)(print)
    subscribe("note.written", name="tests.ahead")(print)
    place(9, 9, 9, 0)
    Subscription.objects.create(name=NAME, cursor=1)
    Subscription.objects.create(name="tests.ahead", cursor=2)
    printed = command("prune_events", "--keep-days", "1")
    assert kept() == [2, 3, 4]
    assert log.head().floor == 2
    assert f"held back by subscription {NAME}" in printed
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"{NAME} holds back pruning: it has still to handle position 2" in warning.getMessage()


def test_a_subscription_that_wants_nothing_of_it_holds_nothing_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subscribe("note.shouted", name=NAME)(print)
    Subscription.objects.create(name=NAME, cursor=0)
    place(9, 0)
    assert prune(DAY).held_by == ""
    assert kept() == [2]
    assert "holds back" not in caplog.text


def test_a_row_of_a_subscription_that_is_no_more_holds_nothing_back() -> None:
    Subscription.objects.create(name=NAME, cursor=0)
    place(9, 0)
    prune(DAY)
    assert kept() == [2]


def test_expired_tickets_go_and_others_stay(reader: User) -> None:
    for digest, minutes in (("old", -1), ("new", 1)):
        expiry = timezone.now() + timedelta(minutes=minutes)
        StreamTicket.objects.create(digest=digest, user=reader, expires_at=expiry, issued_after=0)
    assert prune(DAY).tickets == 1
    assert [ticket.digest for ticket in StreamTicket.objects.all()] == ["new"]


def test_the_command_keeps_what_the_setting_says(settings: Any) -> None:
    settings.EVENTS_RETENTION_DAYS = 5
    place(6, 4)
    printed = command("prune_events")
    assert kept() == [2]
    assert "1 events and 0 expired tickets deleted" in printed
    assert "from position 2 on" in printed


@pytest.mark.parametrize("days", ["-1", "36501", "soon", "1.5"])
def test_wrong_days_are_refused_by_name_and_nothing_goes(days: str) -> None:
    place(40_000, 0)
    with pytest.raises(CommandError, match="--keep-days"):
        command("prune_events", f"--keep-days={days}")
    assert kept() == [1, 2]


@pytest.mark.asyncio
async def test_a_stream_from_below_the_floor_is_told_to_refetch(
    small_ring: Hub, reader: User
) -> None:
    await sync_to_async(place)(9, 9, 9, 0, 0, 0, 0)
    for _ in range(2):  # one under way may have looked before
        await small_ring.reconcile()
    await sync_to_async(prune)(DAY)
    async with streaming(reader, last_event_id="1") as client:
        reset = await client.until_frame("stream.reset")
        assert reset == {"reason": "retention", "cursor": 7}
        await aemit(NoteEvent.WRITTEN, {"text": "next"})
        await client.until_texts("next")


@pytest.mark.asyncio
async def test_rows_below_the_floor_are_not_replayed(small_ring: Hub, reader: User) -> None:
    """They are about to be deleted."""
    await sync_to_async(place)(0, 0, 0, 0, 0, 0)
    await small_ring.reconcile()
    await LogHead.objects.aupdate(floor=3)
    async with streaming(reader, last_event_id="1") as client:
        assert (await client.until_frame("stream.reset"))["reason"] == "retention"
    async with streaming(reader, last_event_id="2") as client:
        await client.until_texts("3", "4", "5", "6")


@pytest.mark.asyncio
async def test_a_hub_goes_on_serving_what_it_holds_over_a_prune(hub: Hub, reader: User) -> None:
    await sync_to_async(place)(9, 9)
    await hub.reconcile()
    async with streaming(reader) as open_stream:
        await sync_to_async(prune)(DAY)
        await aemit(NoteEvent.WRITTEN, {"text": "3"})
        await open_stream.until_texts("3")
        async with streaming(reader, last_event_id="0") as client:
            await client.until_texts("1", "2", "3")
        assert b"stream.reset" not in open_stream.body


# Rebasing


def test_a_rebased_log_goes_on_where_nobody_has_been() -> None:
    place(0, 0)
    printed = command("rebase_events", "--no-input")
    assert log.head() == log.Head(position=LEAP + 2, floor=LEAP + 3)
    assert f"head 2 -> {LEAP + 2}" in printed
    place(0)
    assert kept() == [1, 2, LEAP + 3]


def test_a_log_can_be_rebased_to_a_position() -> None:
    place(0, 0)
    command("rebase_events", "--no-input", "--to", "3")
    assert log.head() == log.Head(position=3, floor=4)


@pytest.mark.parametrize("to", ["-5", "1", "2", f"{2**53}", f"{2**63}"])
def test_a_log_is_never_rebased_to_where_it_has_been(to: str) -> None:
    place(0, 0)
    with pytest.raises(CommandError, match="--to must be over 2"):
        command("rebase_events", "--no-input", f"--to={to}")
    assert log.head() == log.Head(position=2, floor=1)


@pytest.mark.parametrize(
    ("answer", "moves"), [("no", False), ("", False), (None, False), ("yes", True)]
)
def test_rebasing_asks_before(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, moves: bool
) -> None:
    questions: list[str] = []

    def reply(question: str) -> str:
        questions.append(question)
        if answer is None:  # nobody is there
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    place(0)
    if moves:
        command("rebase_events")
    else:
        with pytest.raises(CommandError, match="nothing was changed"):
            command("rebase_events")
    assert "from position 1" in questions[0]
    assert (log.head().position > 1) is moves


def test_a_subscription_handles_what_it_had_still_to_handle_and_then_what_is_new() -> None:
    handled: list[str] = []
    subscribe("note.*", name=NAME)(lambda event: handled.append(event["data"]["text"]))
    Subscription.objects.create(name=NAME, cursor=1)
    place(9, 9)
    rebase()
    place(0)
    assert prune(DAY).events == 1
    run(NAME)
    assert handled == ["2", f"{LEAP + 3}"]


def test_rows_of_before_a_rebase_stay_until_they_are_old() -> None:
    place(9, 0)
    rebase(100)
    assert prune(30 * DAY).events == 0
    assert kept() == [1, 2]
    assert prune(DAY).events == 1
    assert kept() == [2]
    assert log.head() == log.Head(position=100, floor=101)


@pytest.mark.asyncio
@pytest.mark.parametrize("events_follow", [False, True])
async def test_open_streams_are_told_to_refetch_and_get_what_is_new_when_they_return(
    hub: Hub, reader: User, events_follow: bool
) -> None:
    await sync_to_async(place)(0, 0)
    await hub.reconcile()
    async with streaming(reader) as client:
        await sync_to_async(rebase)(100)
        if events_follow:  # before the hub has looked at the log
            await aemit(NoteEvent.WRITTEN, {"text": "at once"})
        reset = await client.until_frame("stream.reset")
        assert reset["reason"] == "retention"
        assert reset["cursor"] >= 100
        assert await client.until_frame("stream.closing") == {"reason": "access_revoked"}
        assert client.body.count(b"event: stream.reset") == 1
    async with streaming(reader, last_event_id=str(reset["cursor"])) as again:
        await aemit(NoteEvent.WRITTEN, {"text": "new"})
        await again.until(lambda: again.texts[-1:] == ["new"])
        assert set(client.texts + again.texts) <= {"at once", "new"}
        assert b"event: stream.reset" not in again.body


@pytest.mark.asyncio
@pytest.mark.parametrize("cursor", [1, 2, 7, 100])
async def test_clients_that_return_after_a_rebase_are_told_unless_they_know_it(
    reader: User, hub: Hub, cursor: int
) -> None:
    """1 and 2 are in the backup, 7 is of the lost future, 100 the new head."""
    await sync_to_async(place)(0, 0)
    await sync_to_async(rebase)(100)
    await hub.reconcile()
    await sync_to_async(place)(0)
    await hub.reconcile()
    hub._flush()
    async with streaming(reader, last_event_id=f"{cursor}") as client:
        if cursor == 100:
            await client.until_texts("101")
            assert b"stream.reset" not in client.body
        else:
            reset = await client.until_frame("stream.reset")
            assert reset == {"reason": "retention", "cursor": 101}
            await aemit(NoteEvent.WRITTEN, {"text": "new"})
            await client.until_texts("new")
