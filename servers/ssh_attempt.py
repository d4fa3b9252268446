"""One check under way: where it goes, how far it got, and the host key it was shown."""

from dataclasses import dataclass, field
from enum import Enum

import asyncssh


@dataclass(frozen=True, slots=True)
class Target:
    """Where to log in and with what; `host_key` is the accepted one, empty before the first."""

    host: str
    port: int
    username: str
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    passphrase: str = field(default="", repr=False)
    host_key: str = ""
    accept_new_host_key: bool = False

    @property
    def place(self) -> str:
        return f"{self.host} port {self.port}"

    @property
    def method(self) -> str:
        held = {"a private key": self.private_key, "a password": self.password}
        return " or ".join(name for name, secret in held.items() if secret) or "no credential"


class Step(Enum):
    """What a check is doing, in the words its messages use of a target."""

    PREPARE = "reading the credentials"
    RESOLVE = "resolving the name {0.host}"
    CONNECT = "connecting to {0.place}"
    BANNER = "waiting for the SSH banner of {0.place}"
    KEY_EXCHANGE = "exchanging keys with {0.place}"
    LOGIN = "logging in to {0.place} as {0.username} with {0.method}"
    RUN = "running `true` on {0.place}"


class Attempt(asyncssh.SSHClient):
    """asyncssh's callbacks, which tell the steps apart and judge the host key.

    `accepted` is the key of the target, once read; `presented` the server's, in OpenSSH form
    without a comment; `heard` the first bytes the server said; `started` is of time.perf_counter(),
    when it began to connect.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.step = Step.PREPARE
        self.accepted: asyncssh.SSHKey | None = None
        self.presented = ""
        self.key_refused = False
        self.heard = b""
        self.started = 0.0
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Decides before anything of ours is sent; asyncssh ends the connection on False."""
        self.presented = key.export_public_key("openssh").decode().strip()
        if self.accepted is None:
            trusted = self.target.accept_new_host_key
        else:
            trusted = key.public_data == self.accepted.public_data
        self.key_refused = not trusted
        self.step = Step.LOGIN if trusted else Step.KEY_EXCHANGE
        return trusted

    def auth_completed(self) -> None:
        self.step = Step.RUN

    def reached(self) -> Step:
        """The current step; asyncssh has no callback for the banner's arrival."""
        banner_came = self._connection and self._connection.get_extra_info("server_version")
        return Step.KEY_EXCHANGE if self.step is Step.BANNER and banner_came else self.step
