"""Credentials in the admin: they go in, are used, and never come out."""

from __future__ import annotations

from functools import cache
from typing import Any

import asyncssh
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from events.models import Event
from servers import services
from servers.models import Credential, Server
from servers.tests.cast import Person, create_server, place_events, recorded_events
from servers.tests.desk import CREDENTIALS, PAGE, desk, errors, filled, save

# On one stack: what the admin does is tested on both by its services.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

SECRET, PASSPHRASE = "swordfish-ünï", "open sesame"


@cache
def locked_key() -> str:
    """One for all tests: the fewest rounds of bcrypt that give no warning are half a second."""
    return new_key(PASSPHRASE)


def new_key(passphrase: str | None = None) -> str:
    return (
        asyncssh.generate_private_key("ssh-ed25519")
        .export_private_key(passphrase=passphrase, rounds=50)
        .decode()
    )


def fingerprint(key: str, passphrase: str | None = None) -> str:
    return asyncssh.import_private_key(key, passphrase).get_fingerprint()


@pytest.fixture
def credential(db: None) -> Credential:
    row = Credential(name="deploy", kind="password", secret=SECRET)
    services.save_credential(row)
    return row


@pytest.fixture
def form_url(credential: Credential) -> str:
    return f"{CREDENTIALS}{credential.pk}/change/"


def stored() -> tuple[str, str, str, str]:
    row = Credential.objects.get()
    return row.kind, row.secret, row.passphrase, row.fingerprint


def everything_shown(browser: Client, credential: Credential) -> str:
    """What the admin and the log tell of a credential."""
    place_events()
    pages = [f"{CREDENTIALS}{credential.pk}/{view}/" for view in ("change", "history", "delete")]
    shown = [browser.get(url).content.decode() for url in [CREDENTIALS, PAGE, *pages]]
    entries = [(e.change_message, e.object_repr) for e in LogEntry.objects.all()]
    return "\n".join(shown) + repr(entries) + repr([event.data for event in Event.objects.all()])


def test_what_is_written_is_used_and_never_shown(admin: Person) -> None:
    browser, key = desk(admin), new_key(PASSPHRASE)
    values = {"name": "deploy", "kind": "private_key", "secret": key, "passphrase": PASSPHRASE}
    with recorded_events() as events:
        assert save(browser, f"{CREDENTIALS}add/", **values).status_code == 302
    assert stored() == ("private_key", key, PASSPHRASE, fingerprint(key, PASSPHRASE))
    credential = Credential.objects.get()
    with recorded_events() as more:
        url = f"{CREDENTIALS}{credential.pk}/change/"
        assert save(browser, url, kind="password", secret=SECRET).status_code == 302
    assert stored() == ("password", SECRET, "", "")
    assert [event.type for event in events + more] == ["credential.created", "credential.updated"]
    assert {event.actor_username for event in events + more} == {"admin"}
    shown = everything_shown(browser, credential)
    assert "deploy" in shown
    assert not [text for text in (SECRET, PASSPHRASE, key, key.splitlines()[1]) if text in shown]


def test_a_pasted_key_is_kept_with_the_line_ends_of_its_file(operator: Person) -> None:
    key = new_key()
    values = {"name": "a", "kind": "private_key", "secret": key.replace("\n", "\r\n")}
    save(desk(operator), f"{CREDENTIALS}add/", **values)
    assert stored() == ("private_key", key, "", fingerprint(key))


def test_what_is_left_empty_is_kept(operator: Person, form_url: str) -> None:
    with recorded_events() as events:
        assert save(desk(operator), form_url, name="renamed").status_code == 302
    assert stored() == ("password", SECRET, "", "")
    assert list(events[0].data["changes"]) == ["name"]
    with recorded_events() as events:
        save(desk(operator), form_url)
    assert events == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"secret": ""}, "secret"),
        ({"kind": "password", "passphrase": "x"}, "passphrase"),
        ({"kind": "password", "secret": "{key}"}, "kind"),
        ({"secret": "{locked}", "passphrase": "wrong"}, "passphrase"),
        ({"secret": "{locked}"}, "passphrase"),
        ({"secret": "-----BEGIN OPENSSH PRIVATE KEY-----\nx"}, "secret"),
        ({"secret": "x" * 20_001}, "secret"),
        ({"name": ""}, "name"),
        ({"kind": "certificate"}, "kind"),
    ],
)
@pytest.mark.parametrize("new", [True, False], ids=["new", "changed"])
def test_a_wrong_one_is_refused_by_field_and_not_shown_again(
    operator: Person,
    form_url: str,
    credential: Credential,
    values: dict[str, str],
    field: str,
    new: bool,
) -> None:
    key, locked = new_key(), locked_key()
    entered = {"name": "other", "kind": "private_key", "secret": key, "passphrase": ""} | values
    for name in entered:
        entered[name] = entered[name].replace("{key}", key).replace("{locked}", locked)
    with recorded_events() as events:
        response = save(desk(operator), f"{CREDENTIALS}add/" if new else form_url, **entered)
    told = errors(response)
    assert field in told
    # Or it would be left out when the form is sent again.
    assert not entered["secret"] or "secret" in told
    assert events == []
    assert stored() == ("password", SECRET, "", "")
    shown = response.content.decode()
    secrets = (key.splitlines()[1], locked.splitlines()[1], "x" * 99, 'value="wrong"')
    assert not [secret for secret in secrets if secret in shown]


def test_another_kind_wants_another_secret(operator: Person, form_url: str) -> None:
    told = errors(save(desk(operator), form_url, kind="private_key"))
    assert told == {"secret": ["Give the secret anew to change what it is."]}
    assert stored() == ("password", SECRET, "", "")


def test_who_may_only_look_sees_no_field_for_secrets(viewer: Person, form_url: str) -> None:
    viewer.user.user_permissions.add(Permission.objects.get(codename="view_credential"))
    browser = desk(viewer)
    shown = browser.get(form_url).content.decode()
    assert "deploy" in shown
    assert not [name for name in ("Secret:", "Passphrase", "Etag", SECRET) if name in shown]
    assert browser.post(form_url, {"name": "x", "kind": "password"}).status_code == 403
    assert stored() == ("password", SECRET, "", "")


@pytest.mark.parametrize("name", ["viewer", "responder", "outsider"])
def test_those_without_the_right_see_none(
    people: dict[str, Person], credential: Credential, form_url: str, name: str
) -> None:
    browser = desk(people[name])
    delete = form_url.replace("change", "delete")
    assert {browser.get(url).status_code for url in (CREDENTIALS, form_url, delete)} == {403}
    assert browser.post(form_url, {"name": "x", "kind": "password"}).status_code == 403
    assert browser.post(f"{CREDENTIALS}add/", {"name": "x"}).status_code == 403
    assert browser.post(delete, {"post": "yes"}).status_code == 403
    assert stored() == ("password", SECRET, "", "")


def test_an_operator_deletes_none(operator: Person, form_url: str) -> None:
    assert (
        desk(operator).post(form_url.replace("change", "delete"), {"post": "y"}).status_code == 403
    )
    assert Credential.objects.exists()


def test_the_list_tells_how_many_servers_use_it(admin: Person, credential: Credential) -> None:
    browser = desk(admin)
    assert '<td class="field-used_by">0</td>' in browser.get(CREDENTIALS).content.decode()
    users = [create_server(n, credential="", shared_credential=credential) for n in ("a", "b")]
    create_server("c")
    shown = browser.get(CREDENTIALS).content.decode()
    link = f"{PAGE}?shared_credential__id__exact={credential.pk}"
    assert f'<a href="{link}">2</a>' in shown
    assert set(browser.get(link).context["cl"].result_list) == set(users)


# On the form of a server.


def test_a_server_gets_a_shared_credential_in_place_of_its_own(
    operator: Person, server: Server, credential: Credential
) -> None:
    url = f"{PAGE}{server.pk}/change/"
    with recorded_events() as events:
        assert save(desk(operator), url, shared_credential=credential.pk).status_code == 302
    row = Server.objects.get()
    assert (row.credential, row.shared_credential) == ("", credential)
    assert events[0].data["changes"]["shared_credential"] == {"old": None, "new": "deploy"}
    with recorded_events() as events:
        save(desk(operator), url, shared_credential="", credential="of its own")
    row = Server.objects.get()
    assert (row.credential, row.shared_credential) == ("of its own", None)
    assert SECRET not in repr([event.data for event in events])


@pytest.mark.parametrize("new", [True, False], ids=["new", "changed"])
@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"credential": "own", "shared_credential": "{shared}"}, "shared_credential"),
        ({"credential": "-----BEGIN OPENSSH PRIVATE KEY-----\nx"}, "credential"),
        ({"credential": "own", "port": "0"}, "port"),
        ({"shared_credential": "0"}, "shared_credential"),
        ({"check_interval": "9"}, "check_interval"),
        ({"check_interval": "-1"}, "check_interval"),
    ],
)
def test_a_wrong_server_is_refused_by_field_and_not_written(
    operator: Person,
    server: Server,
    credential: Credential,
    values: dict[str, str],
    field: str,
    new: bool,
) -> None:
    basic = {"name": "other", "host": "h", "port": "22", "username": "u"}
    filled_in = {n: v.replace("{shared}", str(credential.pk)) for n, v in values.items()}
    url = f"{PAGE}add/" if new else f"{PAGE}{server.pk}/change/"
    before = list(Server.objects.values())
    with recorded_events() as events:
        response = save(desk(operator), url, **basic | filled_in)
    told = errors(response)
    assert field in told
    assert ("credential" in told) is ("credential" in values)
    assert "BEGIN" not in response.content.decode()
    assert events == []
    assert list(Server.objects.values()) == before


def test_a_check_interval_is_kept(operator: Person, server: Server) -> None:
    save(desk(operator), f"{PAGE}{server.pk}/change/", check_interval="0")
    assert Server.objects.get().check_interval == 0


def test_no_form_shows_a_secret(operator: Person, server: Server, credential: Credential) -> None:
    browser = desk(operator)
    for url in (f"{PAGE}{server.pk}/change/", f"{CREDENTIALS}{credential.pk}/change/"):
        shown: dict[str, Any] = filled(browser, url)
        assert "swordfish" not in repr(shown) + browser.get(url).content.decode()
