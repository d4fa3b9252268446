"""Credentials over REST: written, used, and never told."""

from __future__ import annotations

import logging
from typing import Any

import asyncssh
import pytest
from cryptography.fernet import Fernet
from django.db import connection

from events.models import Event
from servers.models import Credential, Environment, Server
from servers.tests.cast import (
    SERVERS,
    Person,
    create_server,
    path_of,
    place_events,
    recorded_events,
)

pytestmark = pytest.mark.django_db

CREDENTIALS = "/api/v1/credentials/"
SECRET = "swordfish"
PASSWORD = {"name": "ops", "kind": "password", "secret": SECRET}
KEY = asyncssh.generate_private_key("ssh-ed25519")
PEM = KEY.export_private_key().decode()
LOCKED = KEY.export_private_key(passphrase="opensesame", rounds=50).decode()
FINGERPRINT = KEY.get_fingerprint()
WITHOUT_SECRETS = {"id", "name", "kind", "fingerprint", "created_at", "updated_at"}


def key_text(pem: str) -> str:
    """What of a key would give it away: a line from its middle."""
    return pem.splitlines()[2]


@pytest.fixture
def credential(db: None) -> Credential:
    return Credential.objects.create(name="shared", kind="password", secret=SECRET)


def path(credential: Credential) -> str:
    return f"{CREDENTIALS}{credential.pk}/"


def test_a_password_is_kept_as_it_was_typed(operator: Person) -> None:
    secret = " ünï \t\r\n"
    created = operator.call("post", CREDENTIALS, PASSWORD | {"secret": secret})
    assert created.status_code == 201
    assert set(created.json()) == WITHOUT_SECRETS
    assert (created.json()["kind"], created.json()["fingerprint"]) == ("password", "")
    assert Credential.objects.get().secret == secret


@pytest.mark.parametrize(("pem", "passphrase"), [(PEM, ""), (LOCKED, "opensesame")])
def test_a_key_is_told_by_its_fingerprint(operator: Person, pem: str, passphrase: str) -> None:
    body = {"name": "key", "kind": "private_key", "secret": pem, "passphrase": passphrase}
    created = operator.call("post", CREDENTIALS, body)
    assert created.status_code == 201
    assert created.json()["fingerprint"] == FINGERPRINT
    assert (Credential.objects.get().secret, Credential.objects.get().passphrase) == (
        pem,
        passphrase,
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "private_key"}, "secret"),
        ({"kind": "private_key", "secret": PEM[:120]}, "secret"),
        ({"kind": "private_key", "secret": "-----BEGIN PUBLIC KEY-----"}, "secret"),
        ({"kind": "private_key", "secret": LOCKED}, "passphrase"),
        ({"kind": "private_key", "secret": LOCKED, "passphrase": "wrong-phrase"}, "passphrase"),
        ({"secret": PEM}, "kind"),
        ({"passphrase": "opensesame"}, "passphrase"),
        ({"kind": "token"}, "kind"),
        ({"secret": ""}, "secret"),
        ({"secret": None}, "secret"),
        ({"secret": "\x00"}, "secret"),
        ({"secret": "x" * 20_001}, "secret"),
        ({"name": ""}, "name"),
        ({"fingerprints": "x"}, "fingerprints"),
    ],
)
@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_what_cannot_be_is_refused_by_its_fields_name_and_repeats_no_secret(
    operator: Person, credential: Credential, method: str, values: dict[str, Any], field: str
) -> None:
    body = PASSWORD | {"secret": "starfish"} | values
    target = CREDENTIALS if method == "post" else path(credential)
    with recorded_events() as events:
        response = operator.call(method, target, body)
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]
    text = response.content.decode()
    for secret in ("starfish", "opensesame", "wrong-phrase", key_text(PEM), key_text(LOCKED)):
        assert secret not in text
    assert events == []
    row = Credential.objects.get()
    assert (row.name, row.secret) == ("shared", SECRET)


def test_a_name_is_given_once(operator: Person, credential: Credential) -> None:
    response = operator.call("post", CREDENTIALS, PASSWORD | {"name": "shared"})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["name"])


def test_a_rename_keeps_the_secret_and_does_not_read_it(
    operator: Person, credential: Credential
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE servers_credential SET secret = 'no token'")
    assert operator.call("patch", path(credential), {"name": "renamed"}).status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM servers_credential")
        assert cursor.fetchone() == ("no token",)


@pytest.mark.parametrize("values", [{"kind": "private_key"}, {"passphrase": "opensesame"}])
def test_what_the_secret_is_changes_only_together_with_the_secret(
    operator: Person, credential: Credential, values: dict[str, str]
) -> None:
    response = operator.call("patch", path(credential), values)
    assert (response.status_code, list(response.json()["errors"])) == (400, ["secret"])
    assert Credential.objects.values("kind", "passphrase").get() == {
        "kind": "password",
        "passphrase": "",
    }


def test_with_another_secret_goes_the_old_ones_passphrase(operator: Person) -> None:
    body = {"name": "key", "kind": "private_key", "secret": LOCKED, "passphrase": "opensesame"}
    created = operator.call("post", CREDENTIALS, body)
    target = f"{CREDENTIALS}{created.json()['id']}/"
    edited = operator.call("patch", target, {"kind": "password", "secret": "starfish"})
    assert (edited.status_code, edited.json()["fingerprint"]) == (200, "")
    row = Credential.objects.get()
    assert (row.secret, row.passphrase) == ("starfish", "")


def test_another_secret_has_those_who_use_it_checked_soon(
    operator: Person, credential: Credential
) -> None:
    user = create_server("user", credential="", shared_credential=credential, next_check_at=None)
    other = create_server("other", next_check_at=None)
    operator.call("patch", path(credential), {"name": "renamed"})
    user.refresh_from_db()
    assert user.next_check_at is None
    operator.call("patch", path(credential), {"secret": "starfish"})
    user.refresh_from_db()
    other.refresh_from_db()
    assert user.next_check_at is not None
    assert other.next_check_at is None


# Never told.


def test_no_answer_event_or_log_line_tells_a_secret(
    admin: Person, credential: Credential, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    key = {"name": "key", "kind": "private_key", "secret": LOCKED, "passphrase": "opensesame"}
    with caplog.at_level(logging.DEBUG):
        made = admin.call("post", CREDENTIALS, key)
        target = f"{CREDENTIALS}{made.json()['id']}/"
        answers = [
            made,
            admin.call("get", CREDENTIALS),
            admin.call("get", target),
            admin.call("options", target),
            admin.call("put", target, key),
            admin.call("patch", target, {"secret": PEM, "passphrase": ""}),
            admin.call("patch", target, {"secret": PEM, "passphrase": "opensesame"}),
            admin.call("patch", target, {"secret": LOCKED, "passphrase": "opensesame-not"}),
            admin.call("post", CREDENTIALS, key),
            admin.call("patch", path_of(server), {"shared_credential": "key"}),
            admin.call("patch", path_of(server), {"shared_credential": "shared"}),
            admin.call("get", path_of(server)),
            admin.call("get", SERVERS),
            admin.call("delete", path(credential)),
            admin.call("delete", target),
        ]
    secrets = (SECRET, "opensesame", key_text(PEM), key_text(LOCKED))
    told = [answer.content.decode() for answer in answers]
    told += [f"{event!r} {event.data!r} {event.subject}" for event in Event.objects.all()]
    told += [f"{row!r} {row}" for row in Credential.objects.all()]
    told += [caplog.text]
    for text in told:
        assert not [secret for secret in secrets if secret in text]


def test_each_change_is_told_with_its_values_masked(
    operator: Person, credential: Credential
) -> None:
    with recorded_events() as events:
        operator.call("patch", path(credential), {"secret": "starfish"})
        operator.call("patch", path(credential), {"name": "renamed"})
        body = {"kind": "private_key", "secret": LOCKED, "passphrase": "opensesame"}
        operator.call("patch", path(credential), body)
    masked = {"old": "********", "new": "********"}
    assert {event.type for event in events} == {"credential.updated"}
    assert {event.actor_username for event in events} == {"operator"}
    assert [event.data["changes"] for event in events] == [
        {"secret": masked},
        {"name": {"old": "shared", "new": "renamed"}},
        {
            "kind": {"old": "password", "new": "private_key"},
            "fingerprint": {"old": "", "new": FINGERPRINT},
            "secret": masked,
            "passphrase": masked,
        },
    ]


def test_a_write_of_what_is_there_already_is_no_change(
    operator: Person, credential: Credential
) -> None:
    with recorded_events() as events:
        operator.call("patch", path(credential), {"name": "shared", "kind": "password"})
        operator.call("patch", path(credential), {})
    assert events == []


def test_the_events_are_for_those_who_may_view_credentials(
    viewer: Person, operator: Person, admin: Person
) -> None:
    before = place_events()
    created = admin.call("post", CREDENTIALS, PASSWORD)
    admin.call("patch", f"{CREDENTIALS}{created.json()['id']}/", {"name": "renamed"})
    admin.call("delete", f"{CREDENTIALS}{created.json()['id']}/")
    place_events()

    def types(person: Person) -> list[str]:
        page = person.call("get", f"/api/v1/events/?after={before}&types=credential.*").json()
        return [event["type"] for event in page["events"]]

    assert types(viewer) == []
    assert types(operator) == ["credential.created", "credential.updated", "credential.deleted"]


# Used by servers.


def test_a_server_logs_in_with_its_own_or_a_shared_one(
    operator: Person, server: Server, credential: Credential
) -> None:
    shared = operator.call("patch", path_of(server), {"shared_credential": "shared"})
    assert shared.json()["shared_credential"] == "shared"
    assert Server.objects.get().credential == ""
    own = operator.call("patch", path_of(server), {"credential": "starfish"})
    assert own.json()["shared_credential"] is None
    assert Server.objects.get().credential == "starfish"
    both = {"credential": "sawfish", "shared_credential": "shared"}
    refused = operator.call("patch", path_of(server), both)
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["shared_credential"])
    assert Server.objects.get().credential == "starfish"


@pytest.mark.parametrize("name", ["none", "\x00", 1.5, ["shared"], {"name": "shared"}])
def test_a_credential_that_there_is_not_is_refused(
    operator: Person, server: Server, credential: Credential, name: Any
) -> None:
    response = operator.call("patch", path_of(server), {"shared_credential": name})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["shared_credential"])


def test_a_servers_own_key_must_be_readable(operator: Person, server: Server) -> None:
    for pem in (PEM[:120], LOCKED):
        response = operator.call("patch", path_of(server), {"credential": pem})
        assert (response.status_code, list(response.json()["errors"])) == (400, ["credential"])
        assert key_text(PEM) not in response.content.decode()
    assert Server.objects.get().credential == SECRET
    assert operator.call("patch", path_of(server), {"credential": PEM}).status_code == 200


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("kind", ["credentials", "environments"])
def test_what_servers_refer_to_is_not_deleted_but_said_by_how_many(
    admin: Person, credential: Credential, settings: Any, kind: str, lost: bool
) -> None:
    environment = Environment.objects.get_or_create(name="production")[0]
    values: dict[str, Any] = {"credential": "", "shared_credential": credential}
    for number in range(3):
        create_server(f"s{number}", environment=environment, **values)
    create_server("own", environment=None)
    if lost:
        settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    row: Any = credential if kind == "credentials" else environment
    target = f"/api/v1/{kind}/{row.pk}/"
    with recorded_events() as events:
        response = admin.call("delete", target)
    assert response.status_code == 409
    assert response.json() == {"detail": "It is still used: 3 × server."}
    assert events == []
    assert admin.call("get", target).status_code == 200
    assert Server.objects.count() == 4
    Server.objects.all().delete()
    assert admin.call("delete", target).status_code == 204
