"""A portal under load: its processes, its servers, its writers and its readers."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import psycopg

from faults.cast import make_cast
from faults.publishing import Publisher
from faults.reading import make_readers
from tests.database import query
from tests.portal import Portal, Web
from tests.services import START_TIMEOUT, Postgres, Process, ProcessFailed, Redis, wait_until

SETTINGS: Final[dict[str, Any]] = {
    "EVENTS_HEARTBEAT": 1,
    "EVENTS_RING_SIZE": 300,  # so that who was away for longer is served from the log
    "EVENTS_WRITE_TIMEOUT": 3,
    "EVENTS_DRAIN_SECONDS": 0.5,
    "EVENTS_STREAM_LIFETIME": 30,
}
WRITERS: Final = ("saves", "bulk", "rights")
PUBLISHERS: Final = 2
END: Final = 40.0  # seconds in which writers end, and readers have read all, when it is quiet

POSITION: Final = "SELECT position FROM events_loghead"
LOCK: Final = "SELECT position FROM events_loghead FOR UPDATE"
WAITING: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query ~ 'events_(loghead|queue)' AND datname = %s
"""


class CrashingPostgres(Postgres):
    """One that has what it has acknowledged after a crash, as an operator's does.

    It may still leave the disk alone: only its processes are killed, not the machine.
    """

    tuning: ClassVar[dict[str, str]] = Postgres.tuning | {"synchronous_commit": "on"}

    def crash(self) -> None:
        """Ends it as `pg_ctl stop -m immediate` does: sessions are cut, nothing is written."""
        if self._process:
            process, self._process = self._process, None
            process.stop(signal.SIGQUIT)


class Stage:
    """A context manager. `stack` is `embedded` or `scaled`; `directory` an empty one."""

    def __init__(self, stack: str, directory: Path, seed: int) -> None:
        self.stack = stack
        self.directory = directory
        self.chance = random.Random(seed)
        self.webs: list[Web] = []
        self.worker: Process | None = None
        self.writers: dict[str, Process] = {}
        self.publishers: list[Publisher] = []
        self._generations = count(1)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            self.portal = self._make_portal(running)
            self.portal.manage("migrate", "--verbosity=0")
            self.people = make_cast(self.portal)
            self.webs = [self.portal.serve() for _ in range(self.scaled + 1)]
            self.worker = self.portal.worker() if self.scaled else None
            self.readers = make_readers(self.people, self.query(POSITION)[0][0])
            for kind in WRITERS:
                self.start_writer(kind)
            for number in range(PUBLISHERS):
                publisher = Publisher(
                    self.directory, f"api{number}", self.draw(), self.pick, self.people
                )
                self.publishers.append(running.enter_context(publisher))
            self._running = running.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def scaled(self) -> bool:
        return self.stack == "scaled"

    def _make_portal(self, running: ExitStack) -> Portal:
        if not self.scaled:
            return running.enter_context(Portal(self.directory, **SETTINGS))
        self.postgres = running.enter_context(CrashingPostgres())
        self.redis = running.enter_context(Redis())
        url = self.postgres.create_database("faults")
        return running.enter_context(Portal(self.directory, url, self.redis.url, **SETTINGS))

    def draw(self) -> int:
        return self.chance.randrange(2**31)

    def pick(self, number: int) -> str:
        """The address of one web process, another one with the next number."""
        return self.webs[number % len(self.webs)].url("")

    def query(self, statement: str) -> list[Any]:
        return query(self.portal, statement)

    # Processes, and what replaces them

    def replace_web(self, number: int) -> None:
        """Starts another in the place of one that has ended, on the same port."""
        self.webs[number] = self.portal.serve(port=self.webs[number].port)

    def replace_worker(self) -> None:
        self.worker = self.portal.worker()

    def start_writer(self, kind: str) -> None:
        """Another one of this kind, under a new name."""
        name = f"{kind}{next(self._generations)}"
        user = self.people["wavering" if kind == "rights" else "outsider"].id
        arguments = f"{str(self.directory)!r}, {name!r}, {self.draw()}, {user}"
        code = f"from faults import writing; writing.{kind}({arguments})"
        self.writers[name] = self.portal.start("shell", "--verbosity=0", "-c", code)

    def writer(self, kind: str) -> str:
        """The name of the one of this kind that is at work."""
        return next(name for name in reversed(self.writers) if name.startswith(kind))

    def wait_for_writers(self) -> None:
        """Until each has noted a transaction."""
        for name, process in self.writers.items():
            journal = self.directory / f"{name}.journal"
            process.wait_until(lambda: journal.exists() and journal.stat().st_size, 30, name)  # noqa: B023

    # The database, past its processes

    @contextmanager
    def head_locked(self) -> Iterator[None]:
        """Nobody gives positions meanwhile: every relay waits, within its transaction."""
        if not self.scaled:
            path = self.portal.environment["DATABASE_URL"].removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                yield
                database.execute("ROLLBACK")
            return
        with psycopg.connect(self.portal.environment["DATABASE_URL"]) as connection:
            connection.execute(LOCK)
            yield

    def relays_waiting(self) -> bool:
        """Whether those of the webs, and of the two busy writers, wait for the head; PostgreSQL."""
        with psycopg.connect(self.postgres.url) as connection:
            found = connection.execute(WAITING, ["faults"]).fetchone()
        return found is not None and found[0] >= len(self.webs) + 2

    # The end

    def finish(self) -> list[str]:
        """Lets the writers end and the readers read the rest; returns what did not go well."""
        problems = [
            f"{' '.join(process.command[1:])} ended by itself with {process.returncode}"
            for process in [*self.webs, self.worker]
            if process is not None and process.returncode is not None
        ]
        (self.directory / "stop").touch()
        for publisher in self.publishers:
            publisher.finish()
            problems += [f"{publisher.name}: {surprise}" for surprise in publisher.surprises[:3]]
        for name, process in self.writers.items():
            if process.returncode is None:
                with suppress(ProcessFailed):
                    process.wait(END)
            if process.returncode not in (0, -9):
                problems.append(f"writer {name} ended with {process.returncode}")
        try:
            wait_until(self._is_quiet, END, "every reader has read up to the log's head")
        except TimeoutError:
            pending = self.query("SELECT count(*) FROM events_event WHERE position IS NULL")
            cursors = {reader.name: reader.cursor for reader in self.readers}
            head = self.query(POSITION)[0][0]
            problems.append(
                f"not recovered: {pending[0][0]} events wait for a position, the head is {head}, "
                f"readers are at {cursors}"
            )
        return problems

    def _is_quiet(self) -> bool:
        pending = self.query("SELECT count(*) FROM events_event WHERE position IS NULL")[0][0]
        head = self.query(POSITION)[0][0]
        return not pending and all(reader.cursor >= head for reader in self.readers)

    def keep(self, directory: Path) -> None:
        """Copies what there is to look at: journals, and what the processes have printed."""
        for path in self.directory.glob("*"):
            if path.suffix in (".journal", ".log"):
                shutil.copy(path, directory)


def hold(stage: Stage, kind: str) -> str:
    """Has a writer stay within a transaction, and returns its name once it does."""
    name = stage.writer(kind)
    (stage.directory / f"{name}.hold").touch()
    held = stage.directory / f"{name}.held"
    stage.writers[name].wait_until(held.exists, START_TIMEOUT, "a transaction that is held")
    return name


def release(stage: Stage, name: str) -> None:
    (stage.directory / f"{name}.held").unlink()
    (stage.directory / f"{name}.hold").unlink()


def elapsed(since: float) -> str:
    return f"{time.monotonic() - since:.1f} s"
