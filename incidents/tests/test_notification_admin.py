from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client

from events.relay import relay
from incidents import channels, deliveries, webhooks
from incidents.models import Incident, Notification, NotificationChannel
from incidents.tests.making import (
    SECRET,
    create_channel,
    create_incident,
    create_notification,
    grant,
)
from incidents.tests.receivers import LOOPBACK, Hooks
from servers.models import Environment
from servers.tests.cast import Job, Person, create_person
from servers.tests.desk import confirm
from servers.tests.desk import run_action as ask

# On one stack: what the admin does is tested on both by its services.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

CHANNELS = "/admin/incidents/notificationchannel/"
NOTIFICATIONS = "/admin/incidents/notification/"
HOOK = "https://hooks.example.org/swordfish"
FORM = {
    "name": "ops",
    "kind": "webhook",
    "new_url": "",
    "new_secret": "",
    "events": ["incident.created"],
    "minimum_severity": "low",
    "enabled": "on",
}


@pytest.fixture
def channel(db: None) -> NotificationChannel:
    return create_channel(HOOK, events=["incident.created"], label="https://hooks.example.org/…")


@pytest.fixture
def hooks(settings: Any) -> Iterator[Hooks]:
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = LOOPBACK
    with Hooks() as server:
        yield server


def desk(person: Person) -> Client:
    """A browser of this person, who is on the staff."""
    person.user.is_staff = True
    person.user.save()
    browser = Client()
    browser.force_login(person.user)
    return browser


def page_of(row: NotificationChannel | Notification) -> str:
    base = CHANNELS if isinstance(row, NotificationChannel) else NOTIFICATIONS
    return f"{base}{row.pk}/change/"


def run_action(browser: Client, page: str, action: str, *rows: Any) -> str:
    """What the list says after the question was confirmed, if one was asked."""
    asked = ask(browser, action, *rows, page=page)
    answer = confirm(browser, asked, page=page) if "question" in asked.context else asked
    return html.unescape(answer.content.decode())


def errors(response: Any) -> dict[str, Any]:
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


# Channels


def test_a_generated_secret_is_shown_once(admin: Person) -> None:
    browser = desk(admin)
    answer = browser.post(f"{CHANNELS}add/", FORM | {"new_url": HOOK}, follow=True)
    stored = NotificationChannel.objects.get()
    assert webhooks.is_secret(stored.secret)
    assert (stored.url, stored.label) == (HOOK, "https://hooks.example.org/…")
    assert stored.secret in html.unescape(answer.content.decode())
    assert stored.secret not in str(browser.cookies) + str([*browser.session.items()])
    assert "no-store" in answer.headers["Cache-Control"]
    for page in (CHANNELS, page_of(stored), f"{CHANNELS}{stored.pk}/history/", "/admin/"):
        shown = html.unescape(browser.get(page).content.decode())
        assert stored.secret not in shown
        assert "swordfish" not in shown


def test_an_empty_form_keeps_what_is_stored(
    admin: Person, channel: NotificationChannel, environment: Environment
) -> None:
    form = FORM | {"name": "pager", "environments": [environment.pk], "enabled": ""}
    assert desk(admin).post(page_of(channel), form).status_code == 302
    stored = NotificationChannel.objects.get()
    assert (stored.url, stored.secret, stored.label) == (HOOK, SECRET, channel.label)
    assert (stored.name, stored.enabled) == ("pager", False)
    assert [each.name for each in stored.environments.all()] == ["production"]


def test_a_filled_form_replaces_it_and_the_log_tells_only_that(
    admin: Person, channel: NotificationChannel
) -> None:
    secret = webhooks.new_secret()
    form = FORM | {"new_url": "https://other.example.org/starfish", "new_secret": secret}
    answer = desk(admin).post(page_of(channel), form, follow=True)
    stored = NotificationChannel.objects.get()
    assert (stored.url, stored.secret) == (form["new_url"], secret)
    assert stored.label == "https://other.example.org/…"
    entry = LogEntry.objects.get()
    shown = f"{entry.get_change_message()} {entry.object_repr} {answer.content.decode()}"
    assert entry.get_change_message() == "Changed URL and Secret."
    for text in ("starfish", "swordfish", secret, SECRET):
        assert text not in html.unescape(shown)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"new_url": "ftp://starfish"}, "new_url"),
        ({"kind": "apprise"}, "new_url"),
        ({"kind": "apprise", "new_url": "json://starfish"}, "new_url"),
        ({"new_secret": "whsec_short"}, "new_secret"),
        ({"name": ""}, "name"),
        ({"events": ["incident.deleted"]}, "events"),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    admin: Person, channel: NotificationChannel, values: dict[str, Any], field: str
) -> None:
    before = NotificationChannel.objects.values().get()
    response = desk(admin).post(page_of(channel), FORM | values)
    assert list(errors(response)) == [field]
    for text in ("swordfish", "starfish", "whsec_short"):
        assert text not in response.content.decode()
    assert NotificationChannel.objects.values().get() == before


@pytest.mark.django_db(transaction=True)
def test_a_url_is_checked_once_before_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise needs a second, or half a minute."""
    browser, asked = desk(create_person("admin")), []

    def check(kind: str, url: str) -> None:
        asked.append((kind, connection.in_atomic_block))
        if kind == "apprise":
            raise ValidationError({"url": "No."})

    monkeypatch.setattr(channels, "check_url", check)
    wrong = FORM | {"kind": "apprise", "new_url": HOOK}
    assert errors(browser.post(f"{CHANNELS}add/", wrong)) == {"new_url": ["No."]}
    assert browser.post(f"{CHANNELS}add/", FORM | {"new_url": f" {HOOK} "}).status_code == 200
    stored = NotificationChannel.objects.get()
    assert errors(browser.post(page_of(stored), wrong)) == {"new_url": ["No."]}
    assert browser.post(page_of(stored), FORM | {"new_url": HOOK + "2"}).status_code == 302
    assert [each for each in asked if each[1]] == []
    assert [kind for kind, _ in asked] == ["apprise", "webhook"] * 2
    relay.stop()


def test_who_may_not_write_has_no_url_checked(
    operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(channels, "check_url", lambda kind, url: asked.append(url))
    answer = desk(operator).post(f"{CHANNELS}add/", FORM | {"new_url": HOOK})
    assert (answer.status_code, asked) == (403, [])


def test_a_new_channel_needs_a_url(admin: Person) -> None:
    assert list(errors(desk(admin).post(f"{CHANNELS}add/", FORM))) == ["new_url"]


def test_an_untouched_form_writes_nothing(admin: Person, channel: NotificationChannel) -> None:
    before = NotificationChannel.objects.values().get()
    assert desk(admin).post(page_of(channel), FORM).status_code == 302
    assert NotificationChannel.objects.values().get() == before


def test_with_the_key_lost_the_pages_work_and_a_new_url_can_be_stored(
    admin: Person, channel: NotificationChannel, settings: Any
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    browser = desk(admin)
    assert browser.get(CHANNELS).status_code == 200
    assert browser.get(page_of(channel)).status_code == 200
    secret = webhooks.new_secret()
    form = FORM | {"new_url": HOOK + "2", "new_secret": secret}
    assert browser.post(page_of(channel), form).status_code == 302
    stored = NotificationChannel.objects.get()
    assert (stored.url, stored.secret) == (HOOK + "2", secret)


def test_whoever_may_only_look_sees_no_secret(
    operator: Person, channel: NotificationChannel
) -> None:
    browser = desk(operator)
    page = html.unescape(browser.get(page_of(channel)).content.decode())
    assert "https://hooks.example.org/…" in page
    assert 'name="new_url"' not in page
    for text in ("swordfish", SECRET):
        assert text not in page
    assert browser.post(page_of(channel), FORM | {"name": "x"}).status_code == 403


@pytest.mark.parametrize("name", ["viewer", "responder", "outsider"])
def test_others_see_no_channels(
    people: dict[str, Person], channel: NotificationChannel, name: str
) -> None:
    browser = desk(people[name])
    assert browser.get(CHANNELS).status_code == 403
    assert browser.get(page_of(channel)).status_code == 403


def test_the_action_sends_tests(
    operator: Person,
    channel: NotificationChannel,
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    browser = desk(operator)
    with committing():
        assert "Tests queued: 1." in run_action(browser, CHANNELS, "send_test", channel)
    row = Notification.objects.get()
    assert (row.channel, row.event_type, row.state) == (channel, "test", "queued")
    assert jobs() == [Job("incidents.tasks.deliver", [row.pk])]


def test_deleting_a_channel_keeps_its_notifications(
    admin: Person, channel: NotificationChannel
) -> None:
    row = create_notification(channel, state="sent")
    browser = desk(admin)
    browser.post(f"{CHANNELS}{channel.pk}/delete/", {"post": "yes"})
    assert not NotificationChannel.objects.exists()
    assert "ops" in browser.get(NOTIFICATIONS).content.decode()
    row.refresh_from_db()
    assert row.channel is None


# Notifications


def titles(response: Any) -> list[str]:
    return [row.title for row in response.context["cl"].result_list]


def test_the_list_is_filtered_by_state_channel_and_event(
    operator: Person, channel: NotificationChannel
) -> None:
    create_notification(channel, title="a", state="failed")
    create_notification(channel, title="b", state="sent", event_type="test")
    create_notification(None, title="c", state="sent")
    browser = desk(operator)
    assert titles(browser.get(NOTIFICATIONS)) == ["c", "b", "a"]
    assert titles(browser.get(f"{NOTIFICATIONS}?state__exact=failed")) == ["a"]
    assert titles(browser.get(f"{NOTIFICATIONS}?channel=ops")) == ["b", "a"]
    assert titles(browser.get(f"{NOTIFICATIONS}?channel=gone")) == ["c"]
    assert titles(browser.get(f"{NOTIFICATIONS}?event_type=test")) == ["b"]


def test_nobody_sees_another_users_bell(operator: Person, viewer: Person) -> None:
    own = Notification.objects.create(title="mine", user=operator.user, state="sent")
    other = Notification.objects.create(title="theirs", user=viewer.user, state="sent")
    browser = desk(operator)
    page = browser.get(NOTIFICATIONS)
    assert titles(page) == ["mine"]
    assert "operator’s bell" in page.content.decode()
    assert browser.get(page_of(own)).status_code == 200
    assert browser.get(page_of(other)).status_code == 302


def test_a_notification_is_only_looked_at(admin: Person, channel: NotificationChannel) -> None:
    row = create_notification(channel, last_error="The receiver answered 500.")
    browser = desk(admin)
    page = browser.get(page_of(row)).content.decode()
    assert "The receiver answered 500." in page
    assert re.findall(r'<input type="(?!hidden|submit|search)', page) == []
    assert browser.post(page_of(row), {"title": "x"}).status_code == 403
    assert browser.get(f"{NOTIFICATIONS}add/").status_code == 403
    assert browser.post(f"{NOTIFICATIONS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert 'value="delete_selected"' not in browser.get(NOTIFICATIONS).content.decode()
    assert Notification.objects.get().title == row.title


def test_what_failed_is_sent_again(operator: Person, hooks: Hooks) -> None:
    channel = create_channel(hooks.url())
    failed = create_notification(channel, state="failed", next_attempt_at=None)
    sent = create_notification(channel, state="sent", next_attempt_at=None)
    page = run_action(desk(operator), NOTIFICATIONS, "send_again", failed, sent)
    assert "Queued again: 1." in page
    assert deliveries.deliver(failed.pk)
    assert not deliveries.deliver(sent.pk)
    assert [call.key for call in hooks.calls] == [str(failed.key)]


def test_who_may_not_send_is_not_offered_to(viewer: Person, channel: NotificationChannel) -> None:
    grant(viewer, "incidents.view_notification")
    failed = create_notification(channel, state="failed", next_attempt_at=None)
    browser = desk(viewer)
    assert 'value="send_again"' not in browser.get(NOTIFICATIONS).content.decode()
    run_action(browser, NOTIFICATIONS, "send_again", failed)
    failed.refresh_from_db()
    assert failed.state == "failed"


def test_only_ones_own_are_marked_as_read(operator: Person, viewer: Person) -> None:
    grant(operator, "incidents.view_notification")
    channel = create_channel("https://example.com")
    own = create_notification(None, user=operator.user)
    others = [create_notification(None, user=viewer.user), create_notification(channel)]
    browser = desk(operator)
    assert "Marked as read: 1." in run_action(browser, NOTIFICATIONS, "mark_read", own, *others)
    forged = {"action": "mark_read", "select_across": "1", "_selected_action": "0"}
    browser.post(NOTIFICATIONS, forged | {"confirmed": str(others[0].pk)})
    own.refresh_from_db()
    assert own.read_at
    assert Notification.objects.filter(read_at=None).count() == 2


def test_they_go_with_their_incident_and_their_user(
    admin: Person, viewer: Person, channel: NotificationChannel
) -> None:
    incident = create_incident()
    create_notification(channel, incident=incident)
    Notification.objects.create(title="t", user=viewer.user, state="sent")
    User.objects.filter(pk=admin.user.pk).update(is_superuser=True)
    admin.user.refresh_from_db()
    browser = desk(admin)
    answers = [
        browser.post(f"/admin/incidents/incident/{incident.pk}/delete/", {"post": "yes"}),
        browser.post(f"/admin/auth/user/{viewer.user.pk}/delete/", {"post": "yes"}),
    ]
    assert [answer.status_code for answer in answers] == [302, 302]
    assert not Incident.objects.exists()
    assert not Notification.objects.exists()
