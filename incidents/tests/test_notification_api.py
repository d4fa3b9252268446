from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection
from django.test import Client
from django.utils import timezone

from events.models import Event
from events.relay import relay
from incidents import bell as bells
from incidents import channels, deliveries, webhooks
from incidents.models import Notification, NotificationChannel
from incidents.tests.making import (
    SECRET,
    channel_to,
    create_channel,
    create_incident,
    create_notification,
    grant,
)
from incidents.tests.receivers import LOOPBACK, Hooks
from servers.models import Environment
from servers.tests.cast import EVERYBODY, Job, Person, create_person

# On one stack: rights are the same on every database.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

CHANNELS = "/api/v1/notification-channels/"
NOTIFICATIONS = "/api/v1/notifications/"
HOOK = "https://hooks.example.org/swordfish"
NEW = {"name": "new", "kind": "webhook", "url": HOOK}
MAY_SEND, MAY_LOOK = {"operator", "admin"}, {"operator", "admin"}


@pytest.fixture
def channel(db: None) -> NotificationChannel:
    return create_channel(HOOK)


@pytest.fixture
def hooks(settings: Any) -> Iterator[Hooks]:
    settings.NOTIFICATIONS_ALLOWED_NETWORKS = LOOPBACK
    with Hooks() as server:
        yield server


def bell(person: Person, **values: Any) -> Notification:
    defaults = {
        "title": "t",
        "user": person.user,
        "state": "sent",
        "event_type": "incident.created",
    }
    return Notification.objects.create(**(defaults | values))


def path_of(channel: NotificationChannel, action: str = "") -> str:
    return f"{CHANNELS}{channel.pk}/{action and action + '/'}"


# Who may what


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed", "status"),
    [
        ("get", CHANNELS, None, MAY_LOOK, 200),
        ("get", CHANNELS + "{pk}/", None, MAY_LOOK, 200),
        ("post", CHANNELS, NEW, {"admin"}, 201),
        ("patch", CHANNELS + "{pk}/", {"enabled": False}, {"admin"}, 200),
        ("put", CHANNELS + "{pk}/", NEW, {"admin"}, 200),
        ("delete", CHANNELS + "{pk}/", None, {"admin"}, 204),
        ("post", CHANNELS + "{pk}/test/", None, MAY_SEND, 202),
        ("get", NOTIFICATIONS, None, set(EVERYBODY) - {"anonymous"}, 200),
        ("get", NOTIFICATIONS + "{sent}/", None, MAY_LOOK, 200),
        ("post", NOTIFICATIONS + "read-all/", None, set(EVERYBODY) - {"anonymous"}, 204),
        ("post", NOTIFICATIONS, {}, set(), 405),
        ("delete", NOTIFICATIONS + "{sent}/", None, set(), 405),
    ],
)
@pytest.mark.parametrize("name", EVERYBODY)
def test_each_role_may_what_it_may_and_no_more(
    people: dict[str, Person],
    channel: NotificationChannel,
    method: str,
    path: str,
    body: Any,
    allowed: set[str],
    status: int,
    name: str,
) -> None:
    sent = create_notification(channel, state="sent")
    before = [list(NotificationChannel.objects.values()), list(Notification.objects.values())]
    answer = people[name].call(method, path.format(pk=channel.pk, sent=sent.pk), body)
    if name in allowed:
        assert answer.status_code == status, answer.content
    else:
        refused = {401} if name == "anonymous" else {403, 404, 405}
        assert answer.status_code in refused
        now = [list(NotificationChannel.objects.values()), list(Notification.objects.values())]
        assert now == before


# Channels


def test_url_and_secret_are_in_no_answer_and_no_event(
    admin: Person, channel: NotificationChannel
) -> None:
    answers = [
        admin.call("get", CHANNELS),
        admin.call("get", path_of(channel)),
        admin.call("patch", path_of(channel), {"url": HOOK + "2", "secret": SECRET}),
        admin.call("put", path_of(channel), NEW),
        admin.call("post", CHANNELS, NEW | {"name": "other", "secret": SECRET}),
        admin.call("post", path_of(channel, "test")),
        admin.call("patch", path_of(channel), {"url": "ftp://swordfish"}),
        admin.call("patch", path_of(channel), {"secret": "swordfish"}),
        admin.call("get", NOTIFICATIONS),
        admin.call("delete", path_of(channel)),
    ]
    assert [a.status_code for a in answers] == [200, 200, 200, 200, 201, 202, 400, 400, 200, 204]
    shown = "".join(answer.content.decode() for answer in answers) + str(Event.objects.values())
    assert "swordfish" not in shown
    assert SECRET not in shown
    assert answers[1].json()["label"] == "somewhere"
    assert "url" not in answers[1].json()
    assert "secret" not in answers[4].json()


def test_a_generated_secret_is_told_once(admin: Person) -> None:
    created = admin.call("post", CHANNELS, NEW).json()
    assert webhooks.is_secret(created["secret"])
    assert NotificationChannel.objects.get().secret == created["secret"]
    path = f"{CHANNELS}{created['id']}/"
    for answer in (
        admin.call("get", path),
        admin.call("patch", path, {"name": "x"}),
        admin.call("patch", path, {"kind": "webhook", "url": HOOK}),
        admin.call("put", path, NEW),
    ):
        assert answer.status_code == 200
        assert "secret" not in answer.json()
    assert NotificationChannel.objects.get().secret == created["secret"]


def test_what_becomes_a_webhook_is_told_its_secret(admin: Person) -> None:
    channel = create_channel("mailto://ops@mail.example.org")
    answer = admin.call("patch", path_of(channel), {"kind": "webhook", "url": HOOK})
    assert answer.json()["secret"] == NotificationChannel.objects.get().secret


def test_a_channel_is_what_was_sent(admin: Person, environment: Environment) -> None:
    values = {
        "name": "pager",
        "kind": "webhook",
        "events": ["incident.commented"],
        "minimum_severity": "critical",
        "environments": ["production"],
        "enabled": False,
    }
    created = admin.call("post", CHANNELS, values | {"url": HOOK}).json()
    assert {name: created[name] for name in values} == values
    assert created["label"] == "https://hooks.example.org/…"
    defaults = admin.call("post", CHANNELS, NEW).json()
    assert defaults["events"] == ["incident.created", "incident.status_changed"]
    assert (defaults["minimum_severity"], defaults["environments"]) == ("low", [])
    assert defaults["enabled"] is True


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"url": "ftp://example.org"}, "url"),
        ({"url": ""}, "url"),
        ({"url": "https://me@example.org/"}, "url"),
        ({"kind": "apprise", "url": "json://example.org"}, "url"),
        ({"kind": "apprise", "url": "nonsense"}, "url"),
        ({"kind": "sms"}, "kind"),
        ({"secret": "short"}, "secret"),
        ({"secret": ""}, "secret"),
        ({"events": ["incident.deleted"]}, "events"),
        ({"events": "incident.created"}, "events"),
        ({"events": ["incident.created", "incident.created"]}, "events"),
        ({"events": [1.5, None]}, "events"),
        ({"minimum_severity": "worst"}, "minimum_severity"),
        ({"environments": ["nowhere"]}, "environments"),
        ({"name": "ops"}, "name"),
        ({"name": ""}, "name"),
        ({"label": "mine"}, ""),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(
    admin: Person, channel: NotificationChannel, values: dict[str, Any], field: str
) -> None:
    answer = admin.call("post", CHANNELS, NEW | values)
    if field:
        assert answer.status_code == 400
        assert list(answer.json()["errors"]) == [field]
        assert NotificationChannel.objects.count() == 1
    else:
        assert answer.json()["label"] == "https://hooks.example.org/…"


def test_another_kind_needs_another_url(admin: Person, channel: NotificationChannel) -> None:
    answer = admin.call("patch", path_of(channel), {"kind": "apprise"})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["url"]
    assert admin.call("patch", path_of(channel), {"kind": "webhook"}).status_code == 200


def test_deleting_a_channel_keeps_its_notifications_by_name(
    admin: Person, channel: NotificationChannel
) -> None:
    row = create_notification(channel, state="sent")
    assert admin.call("delete", path_of(channel)).status_code == 204
    told = admin.call("get", f"{NOTIFICATIONS}{row.pk}/").json()
    assert told["channel"] == "ops"
    [found] = admin.call("get", f"{NOTIFICATIONS}?channel=ops").json()["results"]
    assert found["id"] == row.pk


@pytest.mark.django_db(transaction=True)
def test_a_url_is_checked_once_before_anything_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise needs a second, or half a minute."""
    admin, locked = create_person("admin"), []

    def check(kind: str, url: str) -> None:
        locked.append(connection.in_atomic_block)

    monkeypatch.setattr(channels, "check_url", check)
    path = f"{CHANNELS}{admin.call('post', CHANNELS, NEW).json()['id']}/"
    for method, body in (("patch", {"url": HOOK + "2"}), ("put", NEW), ("patch", {"name": "x"})):
        assert admin.call(method, path, body).status_code == 200
    assert locked == [False] * 3
    relay.stop()


def test_a_kind_that_changed_while_its_url_was_checked_is_checked_again(
    admin: Person, channel: NotificationChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = channels.check_url

    def slow(kind: str, url: str) -> None:
        monkeypatch.setattr(channels, "check_url", check)
        check(kind, url)
        NotificationChannel.objects.update(kind="apprise")

    monkeypatch.setattr(channels, "check_url", slow)
    answer = admin.call("patch", path_of(channel), {"url": HOOK + "2"})
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["url"])
    assert NotificationChannel.objects.get().url == HOOK


@pytest.mark.django_db(transaction=True)
def test_what_fails_half_way_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    admin, row = create_person("admin"), create_channel(HOOK)
    environment = Environment.objects.get_or_create(name="production")[0]

    def fail(*_: Any) -> None:
        raise IntegrityError

    monkeypatch.setattr(channels, "write", fail)
    answer = admin.call("post", CHANNELS, NEW)
    assert answer.status_code == 409
    monkeypatch.undo()
    write = channels.write

    def write_and_fail(*arguments: Any) -> None:
        write(*arguments)
        raise IntegrityError

    monkeypatch.setattr(channels, "write", write_and_fail)
    body = {"name": "other", "environments": [environment.name]}
    assert admin.call("patch", path_of(row), body).status_code == 409
    assert admin.call("post", CHANNELS, NEW).status_code == 409
    assert [each.name for each in NotificationChannel.objects.all()] == ["ops"]
    relay.stop()


# The test button


def test_a_test_is_sent_as_all_notifications_are(
    operator: Person,
    hooks: Hooks,
    jobs: Callable[[], list[Job]],
    committing: Callable[[], AbstractContextManager[Any]],
) -> None:
    channel = channel_to(hooks)
    with committing():
        answer = operator.call("post", path_of(channel, "test"))
    assert answer.status_code == 202
    told = answer.json()
    assert (told["state"], told["channel"], told["incident"]) == ("queued", "ops", None)
    assert hooks.calls == []
    [job] = jobs()
    assert job == Job("incidents.tasks.deliver", [told["id"]])
    assert deliveries.deliver(told["id"])
    payload = hooks.calls[0].verified(SECRET)
    assert (payload["type"], payload["data"]) == ("test", {"channel": "ops"})
    event = Event.objects.get(type="notification.sent")
    assert (event.data["id"], event.data["incident"], event.subject) == (told["id"], None, "")
    assert operator.call("get", f"{NOTIFICATIONS}{told['id']}/").json()["state"] == "sent"


def test_a_test_takes_no_body(operator: Person, channel: NotificationChannel) -> None:
    assert operator.call("post", path_of(channel, "test"), {"to": "me"}).status_code == 400
    assert not Notification.objects.exists()


# Notifications


def ids(person: Person, query: str = "") -> list[int]:
    answer = person.call("get", f"{NOTIFICATIONS}?{query}")
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def test_each_sees_their_own_and_who_may_those_of_channels(
    viewer: Person, operator: Person, outsider: Person, channel: NotificationChannel
) -> None:
    mine, theirs = bell(viewer), bell(operator)
    sent = create_notification(channel)
    assert ids(viewer) == [mine.pk]
    assert ids(operator) == [sent.pk, theirs.pk]
    assert ids(outsider) == []
    assert viewer.call("get", f"{NOTIFICATIONS}{theirs.pk}/").status_code == 404
    assert viewer.call("get", f"{NOTIFICATIONS}{sent.pk}/").status_code == 404
    assert operator.call("get", f"{NOTIFICATIONS}{mine.pk}/").status_code == 404
    grant(viewer, "incidents.view_notification")
    assert ids(viewer) == [sent.pk, mine.pk]


def test_the_list_is_filtered(operator: Person, channel: NotificationChannel) -> None:
    incident = create_incident()
    read = bell(operator, read_at=timezone.now())
    unread = bell(operator, incident=incident)
    failed = create_notification(channel, state="failed", incident=incident)
    assert ids(operator, "mine=true") == [unread.pk, read.pk]
    assert ids(operator, "mine=false") == [failed.pk]
    assert ids(operator, "mine=true&unread=true") == [unread.pk]
    assert ids(operator, "mine=true&unread=false") == [read.pk]
    assert ids(operator, "state=failed") == [failed.pk]
    assert ids(operator, f"incident={incident.pk}") == [failed.pk, unread.pk]
    assert ids(operator, "channel=ops") == [failed.pk]


@pytest.mark.parametrize(
    "query", ["state=lost", f"incident={10**20}", "incident=-1", "incident=x", "channel=%00"]
)
def test_a_wrong_filter_is_refused(operator: Person, query: str) -> None:
    assert operator.call("get", f"{NOTIFICATIONS}?{query}").status_code == 400


@pytest.mark.parametrize("path", [f"{NOTIFICATIONS}{10**20}/", f"{CHANNELS}{10**20}/"])
@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_a_number_that_no_database_has_is_not_found(admin: Person, path: str, method: str) -> None:
    assert admin.call(method, path, {} if method == "patch" else None).status_code in (404, 405)


def test_what_tells_of_incidents_is_not_for_those_who_may_no_longer_view_them(
    viewer: Person, operator: Person, channel: NotificationChannel
) -> None:
    incident = create_incident()
    for person in (viewer, operator):
        bell(person, incident=incident)
        person.user.groups.clear()
    row = create_notification(channel, incident=incident)
    test = create_notification(channel)
    grant(operator, "incidents.view_notification")
    assert (ids(viewer), ids(operator)) == ([], [test.pk])
    assert operator.call("get", f"{NOTIFICATIONS}{row.pk}/").status_code == 404
    assert unread_count(viewer) == 0
    user = User.objects.get(pk=viewer.user.pk)
    assert (bells.unread(user), list(bells.of(user))) == (0, [])
    assert viewer.call("post", f"{NOTIFICATIONS}read-all/").status_code == 204
    assert not Notification.objects.exclude(read_at=None).exists()
    browser = Client()
    browser.force_login(user)
    assert incident.title not in browser.get("/notifications/").content.decode()
    user = grant(viewer, "incidents.view_incident")
    assert bells.unread(user) == 1


def unread_count(person: Person) -> int:
    answer = person.call("get", f"{NOTIFICATIONS}?mine=true&unread=true&page_size=1")
    return int(answer.json()["count"])


def test_reading_marks_ones_own_and_counts_them_down(viewer: Person, operator: Person) -> None:
    rows = [bell(viewer) for _ in range(3)]
    other = bell(operator)
    assert (unread_count(viewer), unread_count(operator)) == (3, 1)
    answer = viewer.call("post", f"{NOTIFICATIONS}{rows[0].pk}/read/")
    assert answer.status_code == 200
    first = answer.json()["read_at"]
    assert first is not None
    assert unread_count(viewer) == 2
    again = viewer.call("post", f"{NOTIFICATIONS}{rows[0].pk}/read/")
    assert again.json()["read_at"] == first
    assert viewer.call("post", f"{NOTIFICATIONS}read-all/").status_code == 204
    assert (unread_count(viewer), unread_count(operator)) == (0, 1)
    other.refresh_from_db()
    assert other.read_at is None


def test_nobody_reads_what_is_not_theirs(
    admin: Person, viewer: Person, channel: NotificationChannel
) -> None:
    theirs, sent = bell(viewer), create_notification(channel)
    assert admin.call("post", f"{NOTIFICATIONS}{theirs.pk}/read/").status_code == 404
    assert admin.call("post", f"{NOTIFICATIONS}{sent.pk}/read/").status_code == 403
    assert admin.call("post", f"{NOTIFICATIONS}read-all/").status_code == 204
    assert not Notification.objects.exclude(read_at=None).exists()


def test_an_answer_is_json_of_what_happened(viewer: Person) -> None:
    row = bell(viewer, title="[HIGH] Disk full", body="ann: open → closed")
    told = viewer.call("get", f"{NOTIFICATIONS}{row.pk}/").json()
    assert (told["title"], told["body"], told["channel"]) == (row.title, row.body, None)
    assert "payload" not in told
    assert "key" not in json.dumps(told)
