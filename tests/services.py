"""Real servers for the tests, all private to the run.

Each listens on a free port of 127.0.0.1, keeps its files in a directory of its own, and ends with
the test run, however that ends.
"""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import ClassVar, Self, TypeVar

import psycopg
import redis
from psycopg import sql

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT = 60.0
START_TIMEOUT = 30.0


class MissingService(Exception):
    """A program that the tests need is not installed; the text names its Debian package."""


class ProcessFailed(Exception):
    """A process ended, hung or never got ready; the text holds the end of its output."""


def wait_until(predicate: Callable[[], T], timeout: float, what: str) -> T:
    """What `predicate` returns once it is true. Raises TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.02)
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    It lies below the ports that the kernel gives to outgoing connections, so that none of those
    takes it while its server is down, nor a client that retries connects to itself. It is drawn
    from the system's randomness, as the tests seed the other one alike in every run.
    """
    while True:
        port = 15_000 + secrets.randbelow(15_000)
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port


def find_program(name: str, package: str) -> str:
    """The path of a program. Raises MissingService with the Debian package that brings it."""
    versions = glob.glob("/usr/lib/postgresql/*/bin")
    versions.sort(key=lambda path: float(Path(path).parent.name), reverse=True)
    path = os.pathsep.join([*versions, os.environ.get("PATH", os.defpath), "/usr/sbin"])
    if found := shutil.which(name, path=path):
        return found
    raise MissingService(f"{name} is not installed: install Debian's package {package}")


def program_version(name: str, package: str) -> str:
    """The version that a program prints of itself, such as 15.14. Raises MissingService."""
    printed = subprocess.run(
        [find_program(name, package), "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\d+(\.\d+)+", printed.stdout)
    return found.group() if found else printed.stdout.strip()


class Process:
    """A command running in a session of its own, its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        output: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.command = command
        self.output = output
        with output.open("ab") as file:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=env,
                cwd=cwd,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        # The pipe closes when this process ends, even by SIGKILL, and then the shell ends the
        # command and its children. atexit would not run, and PR_SET_PDEATHSIG asks for a fork
        # from the thread that stays and reaches no grandchild.
        self._lifeline = subprocess.Popen(
            ["sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(self.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._popen.poll()

    def read_output(self) -> str:
        return self.output.read_text(errors="replace")

    def failure(self, what: str) -> ProcessFailed:
        return ProcessFailed(f"{' '.join(self.command)}: {what}\n{self.read_output()[-4000:]}")

    def wait_until(self, predicate: Callable[[], T], timeout: float, what: str) -> T:
        """As the function, but raises ProcessFailed when the process ends before."""

        def ready() -> T:
            if self.returncode is not None:
                raise self.failure(f"ended with {self.returncode} before: {what}")
            return predicate()

        try:
            return wait_until(ready, timeout, what)
        except TimeoutError as error:
            raise self.failure(str(error)) from error

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """The exit code, once it has ended by itself. Raises ProcessFailed where it does not."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"did not end within {timeout:g} s") from error

    def send_signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> None:
        """Asks it to end, and waits. Raises ProcessFailed, after a SIGKILL, where it does not."""
        self.send_signal(number)
        try:
            self.wait(timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the process and its children, as when a machine loses power."""
        if self._lifeline.stdin:
            self._lifeline.stdin.close()
        self._lifeline.wait()
        self._popen.wait()


class Service:
    """A private server; a context manager that starts it and, at the end, removes its files."""

    program: ClassVar[str]
    package: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    user: str | None = None

    def __init__(self) -> None:
        self.binary = find_program(self.program, self.package)
        self.port = free_port()
        self._files = TemporaryDirectory(prefix=f"opsportal-{self.program}-")
        self.directory = Path(self._files.name)
        self._process: Process | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def options(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether a client can connect."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts it, the same port and files each time, and returns once it answers."""
        self._process = Process(
            [self.binary, *self.options()],
            self.directory / "output.log",
            cwd=self.directory,
            user=self.user,
        )
        try:
            self._process.wait_until(self.answers, START_TIMEOUT, f"{self.program} answers")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """An orderly stop; nothing where it does not run."""
        if self._process:
            process, self._process = self._process, None
            process.stop(self.stop_signal)

    def send_signal(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        if self._process:
            process, self._process = self._process, None
            process.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._files.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._files.cleanup()


class Redis(Service):
    """A redis-server that keeps nothing over a restart."""

    program = "redis-server"
    package = "redis-server"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def options(self) -> list[str]:
        return ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]

    def answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class Postgres(Service):
    """A PostgreSQL cluster that trusts every local connection and never waits for the disk."""

    program = "postgres"
    package = "postgresql"
    stop_signal = signal.SIGINT  # "fast": ends the sessions, does not wait for them
    tuning: ClassVar[dict[str, str]] = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "300",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }

    def __init__(self) -> None:
        super().__init__()
        self.data = self.directory / "data"
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            self.user = "postgres"
            shutil.chown(self.directory, "postgres", "postgres")

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgres://opsportal@127.0.0.1:{self.port}/{name}"

    def options(self) -> list[str]:
        tuning = [part for item in self.tuning.items() for part in ("-c", "=".join(item))]
        return ["-D", str(self.data), "-p", str(self.port), *tuning]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> None:
        if not self.data.exists():
            self._initialise()
        super().start()

    def _initialise(self) -> None:
        initdb = find_program("initdb", self.package)
        options = ["--username=opsportal", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        process = Process(
            [initdb, *options, "--no-sync", "-D", str(self.data)],
            self.directory / "initdb.log",
            cwd=self.directory,
            user=self.user,
        )
        try:
            if process.wait(START_TIMEOUT):
                raise process.failure("no new cluster")
        finally:
            process.kill()

    def create_database(self, name: str, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`, which nobody may be connected to."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drops a database, ending the sessions that use it."""
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
