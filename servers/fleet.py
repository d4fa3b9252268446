"""A fleet of demo servers on loopback: real SSH, real commands, and the faults operators meet.

    async with fleet.running(directory) as servers:
        ...

Whoever holds the password in `directory` can run commands as this process's user, so the servers
listen on 127.0.0.1 only and the password is random and readable by this user alone.
"""

import asyncio
import hmac
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from servers.fleet_commands import Command

ADDRESS = "127.0.0.1"
USERNAME = "ops"
BASE_PORT = 2201
PATIENCE = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class FleetServer:
    """One listening server. `host_key` is its key at the start, in OpenSSH form."""

    name: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    description: str
    host_key: str


@dataclass(frozen=True, slots=True)
class Role:
    """How a server behaves."""

    name: str
    description: str
    refuses_login: bool = False
    changes_key: bool = False
    is_slow: bool = False


ROLES = (
    Role("web-01", "Web server, healthy"),
    Role("web-02", "Web server, healthy"),
    Role("db-01", "Database server, healthy"),
    Role("legacy-01", "Refuses the login: its password was changed", refuses_login=True),
    Role("edge-01", "Shows a new host key now and then", changes_key=True),
    Role("backup-01", "Takes its time over a login", is_slow=True),
)


@asynccontextmanager
async def running(
    directory: Path,
    *,
    base_port: int = BASE_PORT,
    slow_seconds: float = 2.5,
    change_seconds: float = 300.0,
) -> AsyncIterator[list[FleetServer]]:
    """Runs the fleet for the length of the block, and gives its servers in the order of ROLES.

    The first server listens on `base_port`, each next one port higher; a taken port is replaced by
    a free one, and so are all when `base_port` is 0. Host keys and the password are kept in
    `directory`, but edge-01 makes a new key at each start and `change_seconds` after the first
    login under the present one, so a key is always seen before it goes. backup-01 answers a login
    after `slow_seconds`. Leaving the block ends every connection and every command.
    """
    directory = directory.resolve()  # commands find it in HOME
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = _kept(directory / "password", lambda: secrets.token_urlsafe(24).encode()).decode()
    async with AsyncExitStack() as stack:
        servers = []
        for offset, role in enumerate(ROLES):
            host = Host(role, directory, password, slow_seconds, change_seconds)
            await host.listen(base_port + offset if base_port else 0)
            stack.push_async_callback(host.close)
            servers.append(host.describe())
        yield servers


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes, made and written at the first call, readable by this user alone."""
    if not path.exists():
        # Renamed into place, so that a crash never leaves half a key behind.
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(make())
        draft.replace(path)
    return path.read_bytes()


def _new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


class Host:
    """One server: its listener, the key it shows, and what is going on on it."""

    def __init__(
        self, role: Role, directory: Path, password: str, slow_seconds: float, change_seconds: float
    ) -> None:
        self.role = role
        self.password = password
        self.slow_seconds = slow_seconds if role.is_slow else 0.0
        self.change_seconds = change_seconds
        self.home = directory / role.name
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.key = _new_key() if role.changes_key else self._kept_key(directory)
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.commands: set[asyncio.Task[None]] = set()
        self._change: asyncio.TimerHandle | None = None

    def _kept_key(self, directory: Path) -> asyncssh.SSHKey:
        path = directory / f"{self.role.name}.key"
        return asyncssh.import_private_key(_kept(path, lambda: _new_key().export_private_key()))

    async def listen(self, port: int) -> None:
        """Listens on this port, or on a free one if it is taken."""
        try:
            self.listener = await self._listen(port)
        except OSError:
            self.listener = await self._listen(0)

    async def _listen(self, port: int) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            ADDRESS,
            port,
            config=None,
            server_factory=lambda: Visit(self),
            server_host_keys=[self.key],
            gss_host=None,
            public_key_auth=False,
            agent_forwarding=False,
            allow_pty=False,
            line_editor=False,
            encoding=None,
        )

    def describe(self) -> FleetServer:
        """What someone needs to log in."""
        key = self.key.export_public_key().decode().strip()
        name, port, text = self.role.name, self.listener.get_port(), self.role.description
        return FleetServer(name, ADDRESS, port, USERNAME, self.password, text, key)

    async def accepts(self, username: str, password: str) -> bool:
        """Checks a login, at this server's own pace."""
        await asyncio.sleep(self.slow_seconds)
        known = hmac.compare_digest(
            f"{username}\0{password}".encode(), f"{USERNAME}\0{self.password}".encode()
        )
        return known and not self.role.refuses_login

    def logged_in(self) -> None:
        """Plans the next change of key, unless one is planned."""
        if self.role.changes_key and self._change is None:
            loop = asyncio.get_running_loop()
            self._change = loop.call_later(self.change_seconds, self._change_key)

    def _change_key(self) -> None:
        self._change = None
        self.key = _new_key()
        self.listener.update(server_host_keys=[self.key])

    def environment(self) -> dict[str, str]:
        """A command's environment; this process's own may hold secrets."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "HOSTNAME": self.role.name,
            "USER": USERNAME,
            "LOGNAME": USERNAME,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
        }

    async def close(self) -> None:
        """Stops listening, drops the connections, and waits until their commands are dead."""
        if self._change:
            self._change.cancel()
        self.listener.close()
        connections = list(self.connections)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.wait_closed() for connection in connections))
        await self.listener.wait_closed()
        if self.commands:
            _, stuck = await asyncio.wait(self.commands, timeout=PATIENCE)
            for task in stuck:  # a daemon of its own session still holds the output open
                task.cancel()


class Visit(asyncssh.SSHServer):
    """One client's connection to a host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn
        self.host.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self.host.connections.discard(self.connection)

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        return await self.host.accepts(username, password)

    def auth_completed(self) -> None:
        self.host.logged_in()

    def session_requested(self) -> Command:
        host = self.host
        return Command(host.home, host.environment(), host.commands)
