import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from servers.ssh import Outcome, Target, check, fingerprint
from servers.tests.sshd import HOST_KEY_TYPES, Sshd, free_port, generate_key

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis

SLACK = 2.0  # seconds a check may end after its timeout, on a busy machine
Scenario = Callable[[Sshd], Awaitable[Outcome]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


async def check_in_time(target: Target, timeout: float = 10.0) -> Outcome:
    async with asyncio.timeout(timeout + SLACK):
        return await check(target, timeout=timeout)


def at(sshd: Sshd, **changes: Any) -> Target:
    known = sshd.host_key("ed25519")
    target = Target("127.0.0.1", sshd.port, sshd.username, host_key=known)
    return replace(target, **changes)


def at_port(port: int, **changes: Any) -> Target:
    target = Target("127.0.0.1", port, "ops", accept_new_host_key=True)
    return replace(target, **changes)


@asynccontextmanager
async def tcp_server(handler: Handler) -> AsyncIterator[int]:
    """Give the port of a server that runs `handler` for each connection and then closes it."""

    handling: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        with closing(writer), suppress(OSError):
            await handler(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    # A handler left behind would close its connection after the loop.
    await asyncio.wait([task for task in handling if task])


class Login(asyncssh.SSHServer):
    """Lets everyone in who says "open sesame"."""

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        return password == "open sesame"


class EndlessLogin(Login):
    async def validate_password(self, username: str, password: str) -> bool:
        await asyncio.Event().wait()
        return False


class PromptingLogin(asyncssh.SSHServer):
    """Takes the password as keyboard-interactive only, as many PAM set-ups do."""

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        return list(responses) == ["open sesame"]


@asynccontextmanager
async def ssh_server(**options: object) -> AsyncIterator[int]:
    """Give the port of an SSH server for the faults that a healthy sshd does not have."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    defaults = {"server_factory": Login, "server_host_keys": [key], "gss_host": None}
    async with asyncssh.listen("127.0.0.1", 0, **(defaults | options)) as acceptor:
        yield acceptor.get_port()


# What can go wrong, and the words an operator reads then.

FAILURES: dict[Scenario, str] = {}


def failure(words: str) -> Callable[[Scenario], Scenario]:
    def register(scenario: Scenario) -> Scenario:
        FAILURES[scenario] = words
        return scenario

    return register


@failure("The name nonexistent.invalid could not be resolved")
async def name_unknown(sshd: Sshd) -> Outcome:
    return await check_in_time(replace(at(sshd), host="nonexistent.invalid"))


@failure("Connection refused by 127.0.0.1 port")
async def port_closed(sshd: Sshd) -> Outcome:
    return await check_in_time(at_port(free_port()))


@failure("No route to 255.255.255.255 port 22: Network is unreachable")
async def network_unreachable(sshd: Sshd) -> Outcome:
    # Linux answers so for TCP to a broadcast address, whatever the routes.
    return await check_in_time(replace(at_port(22), host="255.255.255.255"))


@failure("Timed out after 1 s while connecting to 127.0.0.1 port")
async def port_never_answers(sshd: Sshd) -> Outcome:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        async with AsyncExitStack() as stack:
            # With its backlog full, Linux drops further SYNs, as a firewall would.
            for _ in range(3):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            return await check_in_time(at_port(address[1]), timeout=1.0)


@failure("Timed out after 1 s while waiting for the SSH banner")
async def port_says_nothing(sshd: Sshd) -> Outcome:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return await check_in_time(at_port(listener.getsockname()[1]), timeout=1.0)


@failure("did not answer as an SSH server, but with “HTTP/1.1 400 Bad Request”")
async def web_server(sshd: Sshd) -> Outcome:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with tcp_server(handler) as port:
        return await check_in_time(at_port(port))


@failure("closed the connection before its SSH banner")
async def closed_at_once(sshd: Sshd) -> Outcome:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async with tcp_server(handler) as port:
        return await check_in_time(at_port(port))


@failure("The connection was lost while exchanging keys")
async def closed_after_banner(sshd: Sshd) -> Outcome:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-Dropper\r\n")
        await reader.readline()

    async with tcp_server(handler) as port:
        return await check_in_time(at_port(port))


@failure("algorithm found; the server offers diffie-hellman-group1-sha1")
async def no_common_algorithm(sshd: Sshd) -> Outcome:
    async with ssh_server(kex_algs=["diffie-hellman-group1-sha1"]) as port:
        return await check_in_time(at_port(port))


@failure("has been accepted yet")
async def host_key_not_accepted(sshd: Sshd) -> Outcome:
    return await check_in_time(replace(at(sshd, private_key=sshd.client_key()), host_key=""))


@failure("has changed: accepted ssh-ed25519 SHA256:")
async def host_key_changed(sshd: Sshd) -> Outcome:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    return await check_in_time(at(sshd, private_key=sshd.client_key(), host_key=other))


@failure("with a password.")
async def password_wrong(sshd: Sshd) -> Outcome:
    assert sshd.password != "swordfish"
    return await check_in_time(at(sshd, password="swordfish"))


@failure("with a private key.")
async def key_not_authorized(sshd: Sshd) -> Outcome:
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    return await check_in_time(at(sshd, private_key=stranger))


@failure("with no credential.")
async def credential_missing(sshd: Sshd) -> Outcome:
    return await check_in_time(at(sshd))


@failure("The private key is unreadable")
async def key_unreadable(sshd: Sshd) -> Outcome:
    return await check_in_time(at(sshd, private_key="swordfish"))


@failure("The private key is protected by a passphrase")
async def passphrase_missing(sshd: Sshd) -> Outcome:
    return await check_in_time(at(sshd, private_key=sshd.client_key(passphrase="swordfish")))


@failure("The passphrase does not open the private key")
async def passphrase_wrong(sshd: Sshd) -> Outcome:
    key = sshd.client_key(passphrase="swordfish")
    return await check_in_time(at(sshd, private_key=key, passphrase="starfish"))


@failure("The accepted host key on record is unreadable")
async def accepted_key_unreadable(sshd: Sshd) -> Outcome:
    return await check_in_time(at(sshd, host_key="ssh-ed25519 nonsense"))


@failure("Timed out after 2 s while logging in")
async def login_hangs(sshd: Sshd) -> Outcome:
    async with ssh_server(server_factory=EndlessLogin) as port:
        return await check_in_time(at_port(port, password="open sesame"), timeout=2.0)


@failure("Timed out after 2 s while running `true`")
async def command_hangs(sshd: Sshd) -> Outcome:
    async def handler(process: asyncssh.SSHServerProcess[str]) -> None:
        await process.channel.wait_closed()

    async with ssh_server(process_factory=handler) as port:
        return await check_in_time(at_port(port, password="open sesame"), timeout=2.0)


@failure("`true` exited with status 3: “This account is closed.”")
async def command_fails(sshd: Sshd) -> Outcome:
    key = sshd.client_key(command="echo This account is closed.; exit 3")
    return await check_in_time(at(sshd, private_key=key))


@failure("`true` was killed by SIGKILL")
async def command_killed(sshd: Sshd) -> Outcome:
    return await check_in_time(at(sshd, private_key=sshd.client_key(command="kill -9 $$")))


@failure("The connection was lost while running `true`")
async def connection_lost(sshd: Sshd) -> Outcome:
    return await check_in_time(at(sshd, private_key=sshd.client_key(command="kill -9 $PPID")))


@failure("The server refused while running `true`")
async def command_refused(sshd: Sshd) -> Outcome:
    async with ssh_server() as port:
        return await check_in_time(at_port(port, password="open sesame"))


class Outcomes(dict[Scenario, Outcome]):
    """The outcome of each scenario, tried once for all the tests that look at it."""

    async def of(self, scenario: Scenario, sshd: Sshd) -> Outcome:
        if scenario not in self:
            self[scenario] = await scenario(sshd)
        return self[scenario]


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.mark.asyncio
@pytest.mark.parametrize("scenario", FAILURES, ids=lambda scenario: scenario.__name__)
async def test_a_failure_names_its_cause(
    sshd: Sshd, outcomes: Outcomes, scenario: Scenario
) -> None:
    outcome = await outcomes.of(scenario, sshd)
    assert FAILURES[scenario] in outcome.message
    assert (outcome.success, outcome.latency) == (False, None)
    for secret in ("swordfish", "starfish", "open sesame", "PRIVATE KEY"):
        assert secret not in outcome.message


@pytest.mark.asyncio
async def test_no_two_failures_read_the_same(sshd: Sshd, outcomes: Outcomes) -> None:
    messages = [(await outcomes.of(scenario, sshd)).message for scenario in FAILURES]
    # Ports and fingerprints differ anyway; the words around them must.
    assert len({re.sub(r"port \d+|SHA256:\S+", "", text) for text in messages}) == len(messages)


@pytest.mark.asyncio
async def test_a_key_logs_in(sshd: Sshd) -> None:
    outcome = await check_in_time(at(sshd, private_key=sshd.client_key()))
    assert outcome.success, outcome.message
    assert f"Logged in as {sshd.username} with a private key" in outcome.message
    assert 0 < (outcome.latency or 0) < 10_000
    assert outcome.host_key == sshd.host_key("ed25519")


@pytest.mark.asyncio
async def test_a_password_logs_in(sshd: Sshd) -> None:
    outcome = await check_in_time(at(sshd, password=sshd.password))
    assert outcome.success, outcome.message
    assert "with a password" in outcome.message
    assert sshd.password not in outcome.message


@pytest.mark.asyncio
@pytest.mark.parametrize("form", [(), ("-t", "ecdsa", "-m", "PEM"), ("-t", "rsa", "-m", "PKCS8")])
async def test_a_passphrase_opens_a_key(sshd: Sshd, form: tuple[str, ...]) -> None:
    key = sshd.client_key(*form, passphrase="swordfish")
    outcome = await check_in_time(at(sshd, private_key=key, passphrase="swordfish"))
    assert outcome.success, outcome.message


@pytest.mark.asyncio
@pytest.mark.parametrize("form", [("-t", "ecdsa", "-m", "PEM"), ("-t", "rsa", "-m", "PKCS8")])
async def test_a_wrong_passphrase_is_told_for_every_form(sshd: Sshd, form: tuple[str, ...]) -> None:
    key = sshd.client_key(*form, passphrase="swordfish")
    outcome = await check_in_time(at(sshd, private_key=key, passphrase="starfish"))
    assert "passphrase does not open" in outcome.message


@pytest.mark.asyncio
async def test_a_password_answers_a_keyboard_interactive_prompt(sshd: Sshd) -> None:
    async with ssh_server(server_factory=PromptingLogin, process_factory=exit_zero) as port:
        outcome = await check_in_time(at_port(port, password="open sesame"))
    assert outcome.success, outcome.message


def exit_zero(process: asyncssh.SSHServerProcess[str]) -> None:
    process.exit(0)


@pytest.mark.asyncio
async def test_a_first_contact_that_may_accept_returns_the_key(sshd: Sshd) -> None:
    target = at(sshd, private_key=sshd.client_key(), host_key="")
    outcome = await check_in_time(replace(target, accept_new_host_key=True))
    assert outcome.success, outcome.message
    assert outcome.host_key == sshd.host_key("ed25519")
    assert fingerprint(outcome.host_key) in outcome.message


@pytest.mark.asyncio
async def test_a_first_contact_that_may_not_accept_still_shows_the_key(sshd: Sshd) -> None:
    outcome = await host_key_not_accepted(sshd)
    assert outcome.host_key == sshd.host_key("ed25519")
    assert fingerprint(outcome.host_key) in outcome.message


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", HOST_KEY_TYPES)
async def test_any_of_a_servers_keys_may_be_the_accepted_one(sshd: Sshd, kind: str) -> None:
    target = at(sshd, private_key=sshd.client_key(), host_key=sshd.host_key(kind))
    outcome = await check_in_time(target)
    assert outcome.success, outcome.message
    assert outcome.host_key == sshd.host_key(kind)


@pytest.mark.asyncio
@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp521"])
async def test_a_changed_host_key_shows_both_fingerprints(sshd: Sshd, algorithm: str) -> None:
    other = asyncssh.generate_private_key(algorithm).export_public_key().decode()
    target = at(sshd, private_key=sshd.client_key(), host_key=other)
    # Permission to accept a first key is none to replace it.
    outcome = await check_in_time(replace(target, accept_new_host_key=True))
    assert not outcome.success
    assert fingerprint(other) in outcome.message
    assert fingerprint(outcome.host_key) in outcome.message


@pytest.mark.asyncio
@pytest.mark.parametrize("accepted", ["", "another"])
async def test_nothing_is_sent_to_an_unaccepted_host(sshd: Sshd, accepted: str) -> None:
    if accepted:
        accepted = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    name = f"nobody-{free_port()}"
    target = replace(at(sshd, password="swordfish", host_key=accepted), username=name)
    rejections = sshd.log.count("Host key is not trusted")
    assert not (await check_in_time(target)).success
    # sshd logs a connection's requests in order, so nothing of it can follow this.
    log = sshd.wait_for_log("Host key is not trusted", times=rejections + 1)
    assert name not in log

    # The same attempt under an accepted key shows that the log would have told.
    await check_in_time(replace(target, host_key=sshd.host_key("ed25519")))
    sshd.wait_for_log(f"userauth-request for user {name}")


@pytest.mark.asyncio
async def test_the_machines_own_ssh_setup_is_not_used(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / ".ssh"
    settings.mkdir()
    (settings / "id_ed25519").write_text(sshd.client_key())
    (settings / "known_hosts").write_text(f"* {sshd.host_key('ed25519')}\n")
    (settings / "config").write_text("KexAlgorithms diffie-hellman-group1-sha1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = asyncio.Event()

    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    async with await asyncio.start_unix_server(agent, tmp_path / "agent"):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        assert "with no credential" in (await credential_missing(sshd)).message
        assert "with a private key" in (await key_not_authorized(sshd)).message
        assert "accepted yet" in (await host_key_not_accepted(sshd)).message
    assert not asked.is_set()


@pytest.mark.asyncio
async def test_a_server_that_greets_otherwise_and_stays_is_quoted() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    async with tcp_server(handler) as port:
        outcome = await check_in_time(at_port(port), timeout=1.0)
    assert "did not answer as an SSH server, but with “220 mail.example ESMTP”" in outcome.message


@pytest.mark.asyncio
async def test_a_name_with_a_dead_address_is_reached_at_the_next(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = (
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
        for port in (free_port(), sshd.port)
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [dead, alive])
    target = at(sshd, private_key=sshd.client_key())
    outcome = await check_in_time(replace(target, host="two.example"))
    assert outcome.success, outcome.message


@pytest.mark.asyncio
async def test_a_server_that_echoes_the_password_is_not_quoted(sshd: Sshd) -> None:
    def echo(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("you said open sesame")
        process.exit(1)

    async with ssh_server(process_factory=echo) as port:
        outcome = await check_in_time(at_port(port, password="open sesame"))
    assert "exited with status 1: (withheld" in outcome.message
    assert "sesame" not in outcome.message


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [290, 295, 305])
@pytest.mark.parametrize("letter", ["x", " "])
async def test_a_password_across_the_end_of_what_is_quoted_gives_nothing_away(
    sshd: Sshd, before: int, letter: str
) -> None:
    def echo(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("!" + letter * (before - 1) + "open sesame, you said")
        process.exit(1)

    async with ssh_server(process_factory=echo) as port:
        outcome = await check_in_time(at_port(port, password="open sesame"))
    assert "exited with status 1: " in outcome.message
    assert "open" not in outcome.message


@pytest.mark.asyncio
async def test_a_password_that_comes_in_parts_is_not_quoted(sshd: Sshd) -> None:
    async def echo(process: asyncssh.SSHServerProcess[str]) -> None:
        for part in ("you said open", " sesame"):
            process.stdout.write(part)
            await asyncio.sleep(0.1)
        process.exit(1)

    async with ssh_server(process_factory=echo) as port:
        outcome = await check_in_time(at_port(port, password="open sesame"))
    assert "exited with status 1: (withheld" in outcome.message


@pytest.mark.asyncio
async def test_a_check_leaves_no_task_behind(sshd: Sshd) -> None:
    before = asyncio.all_tasks()
    assert (await check_in_time(at(sshd, private_key=sshd.client_key()))).success
    await port_says_nothing(sshd)
    assert asyncio.all_tasks() == before


@pytest.mark.asyncio
async def test_a_cancelled_check_is_cancelled(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = at_port(listener.getsockname()[1])
        checking = asyncio.create_task(check(target, timeout=60))
        connection, _ = await asyncio.to_thread(listener.accept)
        with connection:
            checking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await checking


def test_secrets_stay_out_of_a_targets_repr() -> None:
    text = repr(Target("h", 22, "u", password="pw1", private_key="pk2", passphrase="pp3"))
    assert not any(secret in text for secret in ("pw1", "pk2", "pp3"))


def test_a_fingerprint_is_the_one_ssh_keygen_shows(tmp_path: Path) -> None:
    _, public = generate_key(tmp_path / "key")
    assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", fingerprint(public))
    with pytest.raises(asyncssh.KeyImportError):
        fingerprint("no key")
