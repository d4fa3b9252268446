"""The project on PostgreSQL and Redis, as the measurements of one subject want it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import psycopg

from tests.portal import Portal
from tests.services import ROOT, Postgres, Redis

MANY = 1_000_000  # streams: no limit


class DurablePostgres(Postgres):
    """As an installation has it: a commit is on the disk when it is answered."""

    tuning: ClassVar[dict[str, str]] = Postgres.tuning | {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
    }


class CountingPostgres(Postgres):
    """Counts every statement that a client sends, by the role that the client logs in as.

    https://www.postgresql.org/docs/current/pgstatstatements.html
    """

    tuning: ClassVar[dict[str, str]] = Postgres.tuning | {
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.track": "top",
        "pg_stat_statements.max": "10000",
    }

    def start(self) -> None:
        super().start()
        self.ask("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def url_as(self, role: str, url: str) -> str:
        """The URL of the same database for a role of this name, which is made."""
        self.ask(f'CREATE ROLE "{role}" LOGIN SUPERUSER')
        return url.replace("opsportal@", f"{role}@")

    def statements(self, role: str) -> dict[str, int]:
        """How many statements clients of this role have sent, of which BEGIN, COMMIT and the like
        are `transactions`."""
        rows = self.ask(
            "SELECT query ~* '^(begin|commit|rollback|savepoint|release|set)', sum(calls)"
            " FROM pg_stat_statements JOIN pg_roles ON userid = oid"
            f" WHERE rolname = '{role}' GROUP BY 1"
        )
        counts = {bool(is_transaction): int(count) for is_transaction, count in rows}
        return {"queries": counts.get(False, 0), "transactions": counts.get(True, 0)}

    def ask(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def portal_on(postgres: Postgres, **settings: object) -> Iterator[Portal]:
    """A migrated portal without a limit of streams, on PostgreSQL and a Redis of its own."""
    settings = {"EVENTS_MAX_STREAMS": MANY, "EVENTS_MAX_STREAMS_PER_USER": MANY} | settings
    with ExitStack() as running:
        directory = Path(running.enter_context(TemporaryDirectory()))
        redis = running.enter_context(Redis())
        url = postgres.create_database("bench")
        portal = running.enter_context(Portal(directory, url, redis.url, **settings))
        portal.redis = redis
        portal.manage("migrate", "--verbosity=0")
        yield portal


class Called:
    """A function of a benchmark in a Django process of its own; a context manager.

    It says when it is ready, begins when it is told to, and prints one line of JSON at its end:
    see `at_the_start`.
    """

    def __init__(self, portal: Portal, call: str) -> None:
        module = call.partition("(")[0].rpartition(".")[0]
        code = f"import {module}; {call}"
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "shell", "--verbosity=0", "-c", code],
            cwd=ROOT,
            env=portal.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        self._read()

    def begin(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self) -> Any:
        return json.loads(self._read())

    def _read(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def at_the_start() -> None:
    """Says that this process is ready, and waits until it is to begin: see `Called`."""
    print("ready", flush=True)
    sys.stdin.readline()
