"""A real OpenSSH server for tests, on a free port of loopback, with keys and a user of its own."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

USER_PREFIX = "opsportal-test-"
HOST_KEY_TYPES = ("ed25519", "ecdsa", "rsa")  # as ssh-keygen -t names them
START_SECONDS = 10.0
LISTENING = "Server listening on"

CONFIG = """
ListenAddress 127.0.0.1
Port {port}
PidFile none
LogLevel DEBUG1
UsePAM no
StrictModes no
UseDNS no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PubkeyAuthentication yes
AuthorizedKeysFile {directory}/authorized_keys
MaxStartups 100
"""


class Sshd:
    """Runs sshd for the length of a `with` block; everything it made is gone afterwards.

    A throw-away user is added for password logins, which takes root. Without root, key logins work
    as the present user and `password` raises RuntimeError.
    """

    def __enter__(self) -> Self:
        self.binary = _find_sshd()
        # Of its own and traversable: sshd reads authorized_keys as the user who logs in.
        self.directory = Path(tempfile.mkdtemp(prefix="opsportal-sshd-"))
        self.directory.chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None
        self.username = pwd.getpwuid(os.getuid()).pw_name
        self._password = ""
        self._authorized: list[str] = []
        try:
            self._set_up()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clean_up()

    @property
    def password(self) -> str:
        if not self._password:
            raise RuntimeError("Tests of password logins add a user, so they must run as root.")
        return self._password

    @property
    def log(self) -> str:
        """What sshd has said so far, at debug level 1."""
        return (self.directory / "log").read_text(errors="replace")

    def host_key(self, kind: str) -> str:
        """Return the public host key of this type, in OpenSSH form without its comment."""
        text = (self.directory / f"host_{kind}.pub").read_text()
        return " ".join(text.split()[:2])

    def client_key(self, *ssh_keygen_options: str, passphrase: str = "", command: str = "") -> str:
        """Return a new private key that may log in, and then run only `command` if given."""
        path = self.directory / f"client_{len(self._authorized)}"
        private, public = generate_key(path, *ssh_keygen_options, passphrase=passphrase)
        self._authorized.append(f'command="{command}" {public}' if command else public)
        (self.directory / "authorized_keys").write_text("".join(self._authorized))
        return private

    def change_host_keys(self) -> None:
        """From the return on, sshd shows new keys of all types, as after a new installation."""
        starts = self.log.count(LISTENING)
        for kind in HOST_KEY_TYPES:
            (self.directory / f"host_{kind}").unlink()
            generate_key(self.directory / f"host_{kind}", "-t", kind)
        assert self.process
        self.process.send_signal(signal.SIGHUP)  # at which it executes itself anew
        self.wait_for_log(LISTENING, times=starts + 1, seconds=START_SECONDS)

    def wait_for_log(self, text: str, *, times: int = 1, seconds: float = 5.0) -> str:
        """Return the log once it holds `text` so many times; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (log := self.log).count(text) < times:
            if time.monotonic() > deadline:
                raise TimeoutError(f"sshd never logged {text!r}:\n{log}")
            time.sleep(0.01)
        return log

    def _set_up(self) -> None:
        for kind in HOST_KEY_TYPES:
            generate_key(self.directory / f"host_{kind}", "-t", kind)
        if os.getuid() == 0:
            # sshd as root insists on its privilege separation directory.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
            self._add_user()
        self._start()

    def _add_user(self) -> None:
        _remove_stale_users()
        username = f"{USER_PREFIX}{os.getpid()}-{secrets.token_hex(2)}"
        password = secrets.token_urlsafe(16)
        _run("useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", username)
        self.username, self._password = username, password
        _run("chpasswd", "--crypt-method", "SHA512", text=f"{username}:{password}\n")

    def _start(self) -> None:
        self.port = free_port()
        config = CONFIG.format(port=self.port, directory=self.directory)
        for kind in HOST_KEY_TYPES:
            config += f"HostKey {self.directory}/host_{kind}\n"
        path = self.directory / "sshd_config"
        path.write_text(config)
        with (self.directory / "log").open("wb") as log:
            command = [self.binary, "-D", "-e", "-f", str(path)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _says_banner(self.port):
            assert self.process
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start:\n{self.log}")
            time.sleep(0.01)

    def _clean_up(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
        if self._password:
            _remove_user(self.username)
        shutil.rmtree(self.directory, ignore_errors=True)


def generate_key(path: Path, *options: str, passphrase: str = "") -> tuple[str, str]:
    """Make a key pair with ssh-keygen, ed25519 by default; returns its two files' text."""
    kind = () if "-t" in options else ("-t", "ed25519")
    _run("ssh-keygen", "-q", "-C", "test", "-N", passphrase, *kind, *options, "-f", str(path))
    return path.read_text(), path.with_suffix(".pub").read_text()


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _find_sshd() -> str:
    path = shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
    if not path or not shutil.which("ssh-keygen"):
        raise RuntimeError("These tests need sshd: apt-get install openssh-server")
    return path


def _says_banner(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def _remove_stale_users() -> None:
    """Remove users of test runs that were killed before they could."""
    for entry in pwd.getpwall():
        if entry.pw_name.startswith(USER_PREFIX):
            owner = entry.pw_name.removeprefix(USER_PREFIX).partition("-")[0]
            if not Path(f"/proc/{owner}").exists():
                _remove_user(entry.pw_name)


def _remove_user(username: str) -> None:
    # By force: a session that is just ending would otherwise keep the user.
    _run("userdel", "--force", username)


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
