"""The project's own processes, as an operator runs them, on a database of a test's own."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx
from cryptography.fernet import Fernet

from tests.services import (
    ROOT,
    START_TIMEOUT,
    STOP_TIMEOUT,
    Process,
    ProcessFailed,
    Redis,
    free_port,
)

P = TypeVar("P", bound=Process)


def portal_settings(directory: Path, database_url: str = "", redis_url: str = "") -> dict[str, str]:
    """The environment of a portal under test: what is set here, and nothing else of the machine's.

    Every documented setting is in it, if only empty, which counts as unset: so the developer's own
    .env, which fills in what is missing, changes nothing.
    """
    documented = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    return dict.fromkeys(documented, "") | {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "DEBUG": "0",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "VAR_DIR": str(directory),
        "DATABASE_URL": database_url or f"sqlite:///{directory / 'db.sqlite3'}",
        "REDIS_URL": redis_url,
        "SERVERS_CHECK_INTERVAL": "0",  # tests of other things are not to meet checks
    }


class Web(Process):
    """A `manage.py serve`, and its address."""

    port: int

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def healthy(self) -> bool:
        try:
            return httpx.get(self.url("/healthz"), timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def memory(self, which: str) -> int:
        """Kilobytes: VmRSS is what the process takes now, VmHWM the most that it ever took."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{which}:")[1].split()[0])

    def counter(self, name: str) -> int:
        """What this process has counted of `events.metrics`, over all labels."""
        text = httpx.get(self.url("/metrics"), timeout=20, trust_env=False).raise_for_status().text
        line = rf'^opsportal_events_{name}_total{{.*process="[^"]*:{self.pid}:.*}} (\S+)$'
        return round(sum(map(float, re.findall(line, text, re.MULTILINE))))


class Shell:
    """A Django process on a portal's database that runs one piece of code after another."""

    def __init__(self, command: Sequence[str], output: Path, env: Mapping[str, str]) -> None:
        self.output = output
        with output.open("ab") as errors:
            self._popen = subprocess.Popen(
                [*command, "shell", "--verbosity=0", "-c", "import tests.shell as s; s.main()"],
                stdin=subprocess.PIPE,  # at whose end it ends, however this process does
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=env,
                cwd=ROOT,
                text=True,
            )

    def run(self, code: str) -> str:
        """What the code printed. Raises ProcessFailed, with the traceback, where it fails."""
        assert self._popen.stdin
        assert self._popen.stdout
        try:
            self._popen.stdin.write(json.dumps(code) + "\n")
            self._popen.stdin.flush()
            answer = json.loads(self._popen.stdout.readline())
        except (OSError, ValueError) as error:
            raise ProcessFailed(f"the shell ended\n{self.output.read_text()}") from error
        if answer["failed"]:
            raise ProcessFailed(f"{answer['printed']}{answer['failed']}")
        printed: str = answer["printed"]
        return printed

    def stop(self) -> None:
        self._popen.communicate()


class Portal:
    """The project's own processes on one database, as an operator runs them.

    Settings are given by name: `Portal(directory, EVENTS_HEARTBEAT=0.2)`. The database is not
    migrated yet; the fixture `portal` hands out one that is.
    """

    def __init__(
        self,
        directory: Path,
        database_url: str | None = None,
        redis_url: str | None = None,
        **settings: object,
    ) -> None:
        self.directory = directory
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DJANGO_", "EVENTS_", "CELERY_", "PG", "PYTEST_"))
        }
        self.environment = (
            inherited
            | portal_settings(directory, database_url or "", redis_url or "")
            | {"PYTHONWARNINGS": "default", "PYTHONUNBUFFERED": "1"}
            | {name: str(value) for name, value in settings.items()}
        )
        self.redis: Redis | None = None  # what `redis_url` leads to, for a test that stops it
        self.processes: list[Process] = []
        self._shell: Shell | None = None
        self._numbers = count(1)

    def manage(self, *arguments: str, input: str = "", timeout: float = 60) -> str:
        """What manage.py printed. Raises ProcessFailed, with all output, where it fails."""
        result = subprocess.run(
            self._command(arguments),
            input=input,
            env=self.environment,
            cwd=ROOT,
            timeout=timeout,
            capture_output=True,
            text=True,
        )
        if result.returncode:
            printed = f"{result.stdout}{result.stderr}"
            raise ProcessFailed(f"manage.py {' '.join(arguments)}: {result.returncode}\n{printed}")
        return result.stdout

    def shell(self, code: str) -> str:
        """What this code printed, as `manage.py shell -c` runs it, in a process that stays.

        Raises ProcessFailed, with the traceback, where it fails.
        """
        if self._shell is None:
            output = self.directory / f"shell-{next(self._numbers)}.log"
            # Without a pool, it has no connection while it has nothing to do.
            environment = self.environment | {"DATABASE_POOL_SIZE": "0"}
            self._shell = Shell(self._command(()), output, environment)
        return self._shell.run(code)

    def start(self, *arguments: str) -> Process:
        """A manage.py command in the background, running until it ends or is stopped."""
        return self._start(Process, arguments)

    def serve(self, workers: int = 1, port: int | None = None) -> Web:
        """A web process that answers; another one at each call."""
        port = port or free_port()
        address = ("--host", "127.0.0.1", "--port", str(port))
        web = self._start(Web, ("serve", *address, "--workers", str(workers)))
        web.port = port
        web.wait_until(web.healthy, START_TIMEOUT, "/healthz answers 200")
        return web

    def worker(self) -> Process:
        """A Celery worker that is ready for tasks."""
        worker = self.start("worker")
        worker.wait_until(lambda: "ready." in worker.read_output(), START_TIMEOUT, "ready")
        return worker

    def url(self, path: str = "/") -> str:
        """An address at the first web process that is running."""
        webs = (process for process in self.processes if isinstance(process, Web))
        return next(web for web in webs if web.returncode is None).url(path)

    def kill(self, process: Process) -> None:
        """SIGKILL, to the process and its children."""
        process.kill()

    def stop(self) -> None:
        """Stops every process, all at once, and raises ProcessFailed for one that hangs."""
        if self._shell is not None:
            self._shell.stop()
            self._shell = None
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        hung = [process for process in self.processes if not self._ended(process)]
        self.processes.clear()
        if hung:
            raise hung[0].failure(f"did not end within {STOP_TIMEOUT:g} s of SIGTERM")

    @staticmethod
    def _ended(process: Process) -> bool:
        try:
            process.wait()
        except ProcessFailed:
            return False
        else:
            return True
        finally:
            process.kill()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, str(ROOT / "manage.py"), *arguments]

    def _start(self, kind: type[P], arguments: Sequence[str]) -> P:
        output = self.directory / f"{arguments[0]}-{next(self._numbers)}.log"
        process = kind(self._command(arguments), output, env=self.environment, cwd=ROOT)
        self.processes.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
