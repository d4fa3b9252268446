from __future__ import annotations

import subprocess
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from incidents import channels, webhooks
from incidents.models import NotificationChannel
from incidents.tests.making import SECRET, create_channel

# On one stack: its rules are of no database.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

HOOK = "https://hooks.example.org/swordfish?token=starfish"
MAIL = "mailto://portal:swordfish@mail.example.org/?to=ops@example.org"


def channel(**values: Any) -> NotificationChannel:
    return NotificationChannel(**({"name": "ops", "kind": "webhook", "url": HOOK} | values))


def stored() -> NotificationChannel:
    return NotificationChannel.objects.get()


def refusals(row: NotificationChannel, changed: set[str] | None = None) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        channels.save(row, changed)
    assert "swordfish" not in str(caught.value)
    return caught.value.message_dict


def test_a_webhook_without_a_secret_is_given_one_which_is_told_once() -> None:
    made = channels.save(channel())
    assert webhooks.is_secret(made)
    assert stored().secret == made
    row = stored()
    row.name = "other"
    assert channels.save(row, {"name"}) == ""
    assert stored().secret == made


def test_a_secret_that_is_given_is_kept_and_not_told() -> None:
    assert channels.save(channel(secret=SECRET)) == ""
    assert stored().secret == SECRET


def test_url_and_secret_are_stored_encrypted() -> None:
    channels.save(channel(secret=SECRET))
    with connection.cursor() as cursor:
        cursor.execute("SELECT url, secret, label FROM incidents_notificationchannel")
        row = cursor.fetchone()
    text = str(row)
    assert "swordfish" not in text
    assert SECRET not in text
    assert row[2] == "https://hooks.example.org/…"


@pytest.mark.parametrize(
    ("kind", "url", "label"),
    [
        ("webhook", "http://hooks.example.org:8080/swordfish", "http://hooks.example.org:8080/…"),
        ("apprise", MAIL, "mailto://…"),
        ("apprise", f" {MAIL}", "mailto://…"),
        ("apprise", "tgram://123456789:swordfish_abcdefghijklmnopqrst/1234", "tgram://…"),
    ],
)
def test_the_label_holds_nothing_that_may_be_a_secret(kind: str, url: str, label: str) -> None:
    channels.save(channel(kind=kind, url=url))
    assert stored().label == label


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("own_scheme://swordfish", "own_scheme://…"),
        (" ntfy://swordfish", "ntfy://…"),
        ("ntfy:swordfish", "://…"),
        ("ntfy://swordfish://starfish", "ntfy://…"),
    ],
)
def test_the_label_of_a_service_is_what_stands_before_its_url(url: str, label: str) -> None:
    assert channels.label("apprise", url) == label


@pytest.mark.parametrize(
    "values",
    [
        {"url": "ftp://hooks.example.org/swordfish"},
        {"url": "https://swordfish@hooks.example.org/"},
        {"url": "https:///swordfish"},
        {"url": "swordfish"},
        {"url": ""},
        {"kind": "apprise", "url": "swordfish://x"},
        {"kind": "apprise", "url": "json://user:swordfish@example.org/"},
        {"kind": "apprise", "url": HOOK},
    ],
)
def test_a_wrong_url_is_refused_by_its_field_and_not_repeated(values: dict[str, str]) -> None:
    assert list(refusals(channel(**values))) == ["url"]
    assert not NotificationChannel.objects.exists()


def test_where_apprise_cannot_be_started_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(HOOK)

    monkeypatch.setattr(subprocess, "run", refuse)
    told = refusals(channel(kind="apprise", url=MAIL))
    assert told == {"url": ["Apprise could not be started: BlockingIOError."]}


def test_what_of_a_url_was_checked_before_is_not_checked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(channels, "check_url", lambda kind, url: asked.append(kind))
    channels.save(channel(), checked=("webhook", HOOK))
    assert asked == []
    channels.save(channel(name="b"), checked=("apprise", HOOK))
    channels.save(channel(name="c"), checked=("webhook", f"{HOOK}2"))
    assert asked == ["webhook", "webhook"]


@pytest.mark.parametrize("secret", ["swordfish", "whsec_swordfish", "whsec_" + "A" * 100])
def test_a_wrong_secret_is_refused_by_its_field(secret: str) -> None:
    assert list(refusals(channel(secret=secret))) == ["secret"]


def test_only_a_webhook_has_a_secret() -> None:
    row = channel(kind="apprise", url=MAIL, secret=SECRET)
    assert refusals(row) == {"secret": ["Only webhooks have a secret."]}


def test_with_another_kind_comes_another_url() -> None:
    row = create_channel(HOOK)
    row.kind = "apprise"
    assert list(refusals(row, {"kind"})) == ["url"]
    row.url = MAIL
    assert channels.save(row, {"kind", "url"}) == ""
    assert (stored().kind, stored().url, stored().secret) == ("apprise", MAIL, "")
    assert stored().label == "mailto://…"


def test_what_becomes_a_webhook_is_given_a_secret() -> None:
    row = create_channel(MAIL)
    row.kind, row.url = "webhook", HOOK
    made = channels.save(row, {"kind", "url"})
    assert webhooks.is_secret(made)
    assert stored().secret == made


def test_only_what_changed_is_written() -> None:
    row = create_channel(HOOK)
    NotificationChannel.objects.update(name="renamed")
    row.name, row.enabled = "unwritten", False
    channels.save(row, {"enabled"})
    assert (stored().name, stored().enabled) == ("renamed", False)
    before = stored().updated_at
    assert channels.save(row, set()) == ""
    assert stored().updated_at == before
