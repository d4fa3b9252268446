"""Is a server reachable, is it the one we know, and does it let us in?

A check resolves the name, connects, compares the host key, logs in and runs `true`; whoever has
more to run logs in in the same way. The machine's own SSH set-up is left alone: no configuration,
agent, known_hosts or default keys are read.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any, Final

import asyncssh
from asyncssh.public_key import get_default_public_key_algs

from servers import private_keys, ssh_messages, tcp
from servers.ssh_attempt import Attempt, Step, Target
from servers.ssh_messages import CheckError

__all__ = ["CheckError", "Keys", "Outcome", "Target", "check", "fingerprint", "login"]

KEEPALIVE: Final = 15.0  # seconds between two looks whether the other side is there
PATIENCE: Final = 5.0  # seconds that it has to take leave


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended.

    `message` is for an operator and never holds a secret. `latency` is in milliseconds, from the
    start of connecting to the exit of `true`. `host_key` is the key the server presented, in
    OpenSSH form without a comment.
    """

    success: bool
    message: str
    latency: float | None
    host_key: str = ""


class Keys:
    """Private keys that were read once for many checks: to open one may take a second of CPU."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], asyncio.Task[asyncssh.SSHKey]] = {}

    async def of(self, target: Target) -> asyncssh.SSHKey | None:
        """The target's; None if it has none. Raises CheckError where it cannot be read."""
        if not target.private_key:
            return None
        text = (target.private_key, target.passphrase)
        if text not in self._read:
            # In a thread, and as a task: other checks go on, and one that times out harms no other.
            reading = asyncio.to_thread(private_keys.read, *text)
            self._read[text] = asyncio.create_task(reading)
        try:
            return await asyncio.shield(self._read[text])
        except private_keys.UnreadableKey as error:
            raise CheckError(str(error)) from error


async def check(target: Target, *, timeout: float, keys: Keys | None = None) -> Outcome:
    """Tests the whole way in, within `timeout` seconds. A failure is an Outcome, never raised.

    Many checks at once share `keys`.
    """
    attempt = Attempt(target)
    try:
        async with asyncio.timeout(timeout):
            latency = await _run(attempt, timeout, keys or Keys())
    # asyncssh passes on whatever its parsers raise over a hostile server's bytes.
    except Exception as error:
        message = ssh_messages.explain(attempt, error, timeout)
        return Outcome(False, message, None, attempt.presented)
    message = ssh_messages.describe(attempt, latency)
    return Outcome(True, message, latency, attempt.presented)


@asynccontextmanager
async def login(
    target: Target, *, timeout: float, keys: Keys | None = None
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection that is logged in; one whose other side goes away unnoticed is lost in a minute.

    Raises CheckError, in an operator's words, where there is none within `timeout` seconds.
    """
    attempt = Attempt(target)
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(timeout):
                connection = await stack.enter_async_context(
                    _connection(attempt, timeout, keys or Keys())
                )
        except Exception as error:
            raise CheckError(ssh_messages.explain(attempt, error, timeout)) from error
        connection.set_keepalive(KEEPALIVE)
        try:
            yield connection
        finally:
            await _leave(connection)


async def _leave(connection: asyncssh.SSHClientConnection) -> None:
    """Another side that takes nothing any more would keep it open for minutes."""
    connection.close()
    await asyncio.wait({asyncio.ensure_future(connection.wait_closed())}, timeout=PATIENCE)
    connection.abort()


def fingerprint(host_key: str) -> str:
    """The "SHA256:…" of a key in OpenSSH form. Raises ValueError if it is none."""
    return asyncssh.import_public_key(host_key).get_fingerprint()


async def _run(attempt: Attempt, timeout: float, keys: Keys) -> float:
    """Takes every step; returns the latency in milliseconds, raises what stopped it."""
    async with _connection(attempt, timeout, keys) as connection:
        await _run_true(attempt.target, connection)
    return (time.perf_counter() - attempt.started) * 1000


@asynccontextmanager
async def _connection(
    attempt: Attempt, timeout: float, keys: Keys
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Raises what stopped it; `attempt` knows how far it got, and when it began to connect."""
    target = attempt.target
    attempt.accepted = _accepted_key(target)
    key = await keys.of(target)
    attempt.step = Step.RESOLVE
    addresses = await tcp.resolve(target.host, target.port)
    attempt.step = Step.CONNECT
    attempt.started = time.perf_counter()
    with closing(await tcp.connect(addresses, timeout)) as line:
        attempt.step = Step.BANNER
        options = _options(attempt, key)
        try:
            async with asyncssh.connect(target.host, sock=line, **options) as connection:
                yield connection
        finally:
            attempt.heard = line.heard


def _accepted_key(target: Target) -> asyncssh.SSHKey | None:
    try:
        return asyncssh.import_public_key(target.host_key) if target.host_key else None
    except ValueError as error:
        raise CheckError(f"The accepted host key on record is unreadable: {error}.") from error


def _options(attempt: Attempt, key: asyncssh.SSHKey | None) -> dict[str, Any]:
    """asyncssh's options: our credentials only, and nothing of this machine's."""
    password = attempt.target.password or None
    return {
        "client_factory": lambda: attempt,
        "config": None,
        # Trusts nothing by itself, so that every host key comes to validate_host_public_key; a
        # certificate would not, so only plain keys are negotiated.
        "known_hosts": ([], [], []),
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
        "server_host_key_algs": _host_key_algorithms(attempt.accepted),
        "username": attempt.target.username,
        "password": password,
        "client_keys": [key] if key else None,
        "agent_path": None,
        "gss_host": None,
        "host_based_auth": False,
        "public_key_auth": key is not None,
        "password_auth": password is not None,
        "kbdint_auth": password is not None,
        "preferred_auth": ["publickey", "password", "keyboard-interactive"],
        "login_timeout": 0,
    }


def _host_key_algorithms(accepted: asyncssh.SSHKey | None) -> list[str]:
    """The accepted key's type first: a server with several keys shows the first one we name.

    The other types stay, so that a server which lost that key is told by its new one's fingerprint.
    """
    preferred = accepted.sig_algorithms if accepted else (b"ssh-ed25519",)
    algorithms = sorted(get_default_public_key_algs(), key=lambda name: name not in preferred)
    return [name.decode() for name in algorithms]


async def _run_true(target: Target, connection: asyncssh.SSHClientConnection) -> None:
    process = await connection.create_process(
        "true", stdin=asyncssh.DEVNULL, stderr=asyncssh.STDOUT, errors="replace"
    )
    said = await _said(process, ssh_messages.quotable(target))
    await process.wait_closed()
    if process.exit_status == 0:
        return
    if process.exit_status is None and not process.exit_signal:
        raise asyncssh.ConnectionLost("no exit status")
    ended = f"exited with status {process.exit_status}"
    if process.exit_signal:
        ended = f"was killed by SIG{process.exit_signal[0]}"
    quote = f": {ssh_messages.quote(target, said)}" if said.strip() else ""
    raise CheckError(f"Logged in as {target.username}, but `true` {ended}{quote}.")


async def _said(process: asyncssh.SSHClientProcess[str], most: int) -> str:
    """Not all of it: a forced command may talk for ever."""
    try:
        return await process.stdout.readexactly(most)
    except asyncio.IncompleteReadError as error:
        return str(error.partial)
