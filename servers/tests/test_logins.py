"""Credentials and host keys, from the rows through a real sshd to what is kept and told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.models import Event
from events.relay import relay
from events.signals import subject_of
from servers import checker, services
from servers.models import Credential, Environment, Server
from servers.ssh import fingerprint
from servers.tests.cast import Person, create_server, path_of
from servers.tests.loops import in_thread
from servers.tests.outcomes import make_due
from servers.tests.sshd import Sshd, generate_key
from servers.tests.test_ssh import PromptingLogin, exit_zero, ssh_server

# On one stack: logins are the same with every database.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.stack("embedded")]

PASSPHRASE = "swordfish"
KEY_FORMS = {
    "ed25519": ("-t", "ed25519"),
    "RSA": ("-t", "rsa"),
    "ECDSA": ("-t", "ecdsa"),
    "RSA as PKCS#1": ("-t", "rsa", "-m", "PEM"),
    "RSA as PKCS#8": ("-t", "rsa", "-m", "PKCS8"),
    "ECDSA as SEC1": ("-t", "ecdsa", "-m", "PEM"),
}


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


@pytest.fixture(autouse=True)
def regular_checks(settings: Any) -> Iterator[None]:
    settings.SERVERS_CHECK_INTERVAL = 300
    yield
    relay.stop()


@pytest.fixture
def trusting() -> Environment:
    return Environment.objects.create(name="lab", accept_new_host_keys=True)


def server_with(
    name: str,
    at: Sshd | int,
    secret: str,
    kind: str = "password",
    passphrase: str = "",
    environment: Environment | None = None,
) -> Server:
    """A server at this sshd, or at this port, with a shared credential of the same name."""
    shared = Credential(name=name, kind=kind, secret=secret, passphrase=passphrase)
    services.save_credential(shared)
    port, username = (at.port, at.username) if isinstance(at, Sshd) else (at, "ops")
    return create_server(
        name,
        host="127.0.0.1",
        port=port,
        username=username,
        credential="",
        shared_credential=shared,
        environment=environment,
    )


def messages() -> dict[str, tuple[str, str]]:
    """Status and message of each server, by name, after all of them were checked."""
    make_due(*Server.objects.defer("credential"))
    checker.run_due_checks()
    rows = Server.objects.values_list("name", "status", "last_test_message")
    return {name: (status, message) for name, status, message in rows}


# Every way to log in.


def test_each_kind_of_credential_logs_in(sshd: Sshd, trusting: Environment) -> None:
    server_with("password", sshd, sshd.password, environment=trusting)
    for form, options in KEY_FORMS.items():
        server_with(form, sshd, sshd.client_key(*options), "private_key", "", trusting)
        locked = sshd.client_key(*options, passphrase=PASSPHRASE)
        server_with(f"{form}, locked", sshd, locked, "private_key", PASSPHRASE, trusting)
    with in_thread(ssh_server(server_factory=PromptingLogin, process_factory=exit_zero)) as port:
        server_with("prompt", port, "open sesame", environment=trusting)
        found = messages()
    assert len(found) == 2 + 2 * len(KEY_FORMS)
    for name, (status, message) in found.items():
        used = "a password" if name in {"password", "prompt"} else "a private key"
        assert f"with {used} and ran" in message, name
        assert status == "success"


def test_no_wrong_credential_logs_in_and_none_is_repeated(
    sshd: Sshd, trusting: Environment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server_with("password", sshd, "starfish", environment=trusting)
    for number, (form, options) in enumerate(KEY_FORMS.items()):
        path = tmp_path / f"key-{number}"
        stranger, _ = generate_key(path, *options, passphrase=PASSPHRASE)
        server_with(form, sshd, stranger, "private_key", PASSPHRASE, trusting)
    with in_thread(ssh_server(server_factory=PromptingLogin, process_factory=exit_zero)) as port:
        server_with("prompt", port, "starfish", environment=trusting)
        found = messages()
    assert len(found) == 2 + len(KEY_FORMS)
    assert {status for status, _ in found.values()} == {"failed"}
    for name, (_, message) in found.items():
        used = "a password" if name in {"password", "prompt"} else "a private key"
        assert "refused the login of" in message
        assert f"with {used}." in message
    kept = repr([*Event.objects.values(), *found.values()]) + caplog.text
    for secret in ("starfish", PASSPHRASE, "PRIVATE KEY"):
        assert secret not in kept


# Host keys.


@pytest.fixture
def own_sshd() -> Iterator[Sshd]:
    """One whose keys may change."""
    with Sshd() as server:
        yield server


def check(server: Server) -> str:
    """Its message after one more check."""
    message = messages()[server.name][1]
    server.refresh_from_db()
    return message


def acceptances(server: Server) -> list[tuple[str, str]]:
    """Each accepted key and who accepted it, as the trail has it."""
    events = Event.objects.filter(subject=subject_of(server), type="server.updated")
    return [
        (event.data["changes"]["host_key"]["new"], event.actor_username)
        for event in events.order_by("pk")
        if "host_key" in event.data["changes"]
    ]


def accept(server: Server, key: str, person: Person) -> int:
    """The status of the answer."""
    body = {"fingerprint": fingerprint(key)}
    response = person.call("post", path_of(server, "host-key"), body)
    return int(response.status_code)


def test_a_servers_keys_are_accepted_by_people_first_and_changed(
    own_sshd: Sshd, operator: Person, viewer: Person
) -> None:
    server = server_with("web-01", own_sshd, own_sshd.password)
    first = own_sshd.host_key("ed25519")
    for _ in range(2):
        assert fingerprint(first) in check(server)
        assert (server.status, server.host_key) == ("failed", "")
        assert server.offered_host_key == first
    assert "userauth-request" not in own_sshd.log
    assert accept(server, first, viewer) == 403
    assert accept(server, first, operator) == 200
    assert "Logged in" in check(server)
    assert (server.status, server.host_key, server.offered_host_key) == ("success", first, "")

    own_sshd.change_host_keys()
    second = own_sshd.host_key("ed25519")
    logins = own_sshd.log.count("userauth-request")
    for _ in range(3):
        message = check(server)
        assert fingerprint(first) in message
        assert fingerprint(second) in message
        assert server.status == "failed"
        assert (server.host_key, server.offered_host_key) == (first, second)
    assert own_sshd.log.count("userauth-request") == logins
    assert accept(server, first, operator) == 409
    assert accept(server, second, operator) == 200
    assert "Logged in" in check(server)
    assert (server.status, server.host_key) == ("success", second)
    assert acceptances(server) == [(first, "operator"), (second, "operator")]


def test_a_trusting_environment_accepts_the_first_key_alone(
    own_sshd: Sshd, trusting: Environment
) -> None:
    server = server_with("web-01", own_sshd, own_sshd.password, environment=trusting)
    first = own_sshd.host_key("ed25519")
    assert f"accepted the new host key ssh-ed25519 {fingerprint(first)}" in check(server)
    assert (server.status, server.host_key) == ("success", first)
    own_sshd.change_host_keys()
    for _ in range(2):
        assert "has changed" in check(server)
        assert (server.status, server.host_key) == ("failed", first)
        assert server.offered_host_key == own_sshd.host_key("ed25519")
    # The first was accepted in a regular check, which is nobody's doing.
    assert acceptances(server) == [(first, "")]


def test_who_asks_for_the_first_check_under_trust_accepts_the_key(
    sshd: Sshd, trusting: Environment, operator: Person
) -> None:
    server = server_with("web-01", sshd, sshd.password, environment=trusting)
    body = {"servers": [server.pk]}
    assert operator.call("post", "/api/v1/servers/bulk/test/", body).status_code == 202
    assert "Logged in" in check(server)
    assert acceptances(server) == [(sshd.host_key("ed25519"), "operator")]
