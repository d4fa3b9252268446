"""Subscriptions in the admin: what it shows, who may resume and skip, and what is never skipped."""

from __future__ import annotations

import html
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from events import log
from events.api import emit
from events.models import Event, LogHead, Subscription
from events.relay import relay
from events.subscriptions import subscribe

pytestmark = pytest.mark.django_db

PAGE = "/admin/events/subscription/"
NAME = "tests.copy"


@pytest.fixture(autouse=True)
def subscription(notes: None) -> Subscription:
    """Parked before the second of three events."""

    @subscribe("note.shouted", name=NAME)
    def copy(event: dict[str, Any]) -> None: ...

    for number in range(3):
        emit("note.shouted", {"text": str(number)}, subject=f"notes.note/{number}")
    while log.sequence():
        pass
    relay.stop()
    # Whoever has made it already, at whatever position.
    Subscription.objects.all().delete()
    return Subscription.objects.create(
        name=NAME,
        cursor=positions()[0],
        failures=8,
        last_error="ValueError: <b>",
        parked_at=timezone.now(),
    )


def positions() -> list[int]:
    shouts = Event.objects.filter(type="note.shouted").order_by("position")
    return [event.position for event in shouts if event.position is not None]


def operator(*permissions: str) -> Client:
    user = User.objects.create(username="-".join(permissions), is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def looker() -> Client:
    return operator("view_subscription")


@pytest.fixture
def changer() -> Client:
    return operator("view_subscription", "change_subscription")


def run(client: Client, action: str, **form: Any) -> Any:
    data = {"action": action, "_selected_action": [NAME]} | form
    return client.post(PAGE, data, follow=True)


def state() -> tuple[int, int, bool]:
    """Cursor, failures, and whether it is parked."""
    row = Subscription.objects.get(name=NAME)
    return row.cursor, row.failures, row.parked_at is not None


def test_the_list_shows_how_far_a_subscription_is_behind(looker: Client) -> None:
    page = looker.get(PAGE).content.decode()
    head = LogHead.objects.get().position
    assert f'<td class="field-lag">{head - positions()[0]}</td>' in page
    assert "ValueError: &lt;b&gt;" in page


def test_a_cursor_beyond_a_restored_logs_head_is_not_behind(looker: Client) -> None:
    Subscription.objects.update(cursor=10**9)
    assert '<td class="field-lag">0</td>' in looker.get(PAGE).content.decode()


def test_only_the_permission_opens_the_list(looker: Client) -> None:
    assert operator("view_event").get(PAGE).status_code == 403


@pytest.mark.parametrize("action", ["resume", "skip_next_event"])
def test_who_may_only_look_cannot_act(looker: Client, action: str) -> None:
    before = state()
    run(looker, action, seen=f"{before[0]} {NAME}")
    assert state() == before


def test_no_form_writes_a_subscription(changer: Client) -> None:
    """It would write the cursor of when it was opened."""
    before = state()
    page = changer.get(f"{PAGE}{NAME}/change/")
    assert page.status_code == 200
    assert 'name="_save"' not in page.content.decode()
    assert changer.post(f"{PAGE}{NAME}/change/", {"cursor": 0}).status_code == 403
    assert changer.post(f"{PAGE}add/", {"name": "x", "cursor": 0}).status_code == 403
    assert changer.post(f"{PAGE}{NAME}/delete/", {"post": "yes"}).status_code == 403
    assert state() == before


def test_resuming_keeps_the_cursor(changer: Client) -> None:
    run(changer, "resume")
    assert state() == (positions()[0], 0, False)


def test_what_is_not_held_up_cannot_be_resumed(changer: Client) -> None:
    Subscription.objects.update(parked_at=None, failures=0)
    assert "None of them is held up" in run(changer, "resume").content.decode()


def test_what_waits_for_its_next_attempt_can_be_resumed(changer: Client) -> None:
    Subscription.objects.update(parked_at=None, retry_at=timezone.now() + timedelta(minutes=5))
    run(changer, "resume")
    assert Subscription.objects.get().retry_at is None
    assert state() == (positions()[0], 0, False)


def test_skipping_asks_first_and_shows_what_would_be_lost(changer: Client) -> None:
    before = state()
    response = run(changer, "skip_next_event")
    assert response.status_code == 200
    page = html.unescape(response.content.decode())
    assert f">{positions()[1]}</a>: note.shouted notes.note/1" in page
    assert "ValueError: <b>" in page
    assert state() == before


def test_a_confirmed_skip_passes_over_one_event(changer: Client) -> None:
    run(changer, "skip_next_event", seen=f"{positions()[0]} {NAME}")
    assert state() == (positions()[1], 0, False)


def test_what_changed_since_the_question_is_not_skipped(changer: Client) -> None:
    """Two people confirm, and meanwhile it is parked at an event that neither has seen."""
    seen = f"{positions()[0]} {NAME}"
    run(changer, "skip_next_event", seen=seen)
    Subscription.objects.update(parked_at=timezone.now(), failures=8)
    response = run(changer, "skip_next_event", seen=seen)
    assert state() == (positions()[1], 8, True)
    assert "left alone" in response.content.decode()


@pytest.fixture
def own_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each request, as where another project keeps ATOMIC_REQUESTS off."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", False)


@pytest.mark.django_db(transaction=True)
def test_skipping_needs_no_transaction_around_the_request(
    own_transactions: None, changer: Client
) -> None:
    assert run(changer, "skip_next_event").status_code == 200
    run(changer, "skip_next_event", seen=f"{positions()[0]} {NAME}")
    assert state() == (positions()[1], 0, False)


@pytest.mark.stack("scaled")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ["resume", "skip_next_event"])
def test_a_handler_at_work_is_not_waited_for(changer: Client, action: str) -> None:
    """It holds its row, and SQLite's only lock."""
    Subscription.objects.update(parked_at=None, failures=0)

    def act() -> int:
        try:
            return int(run(changer, action, seen=f"{positions()[0]} {NAME}").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Subscription.objects.select_for_update().get()
        answer = pool.submit(act)
        answered = wait([answer], 20).done
        transaction.set_rollback(True)
    assert answered
    assert answer.result() == 200


@pytest.mark.parametrize("changes", [{"parked_at": None}, {"name": "gone.handler"}])
def test_only_what_is_parked_and_registered_can_skip(
    changer: Client, changes: dict[str, Any]
) -> None:
    Subscription.objects.update(**changes)
    name = changes.get("name", NAME)
    place = f"{positions()[0]} {name}"
    response = run(changer, "skip_next_event", _selected_action=[name], seen=place)
    assert "can skip an event" in response.content.decode()
    assert Subscription.objects.get().cursor == positions()[0]
