"""Runs that are really carried out, by a runner in this process and an sshd beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.test import override_settings

from automation import log
from automation.models import Run
from automation.runner import Runner
from events.relay import relay
from servers.models import Server
from servers.tests.cast import create_server
from servers.tests.sshd import Sshd
from tests.services import wait_until

PATIENCE = 60.0  # seconds


def server_of(sshd: Sshd, name: str = "web-01", **values: Any) -> Server:
    """A server in the inventory that this sshd is; any number may be."""
    login = {"username": sshd.username, "credential": sshd.password}
    known = {"host": "127.0.0.1", "port": sshd.port, "host_key": sshd.host_key("ed25519")}
    return create_server(name, **(login | known | values))


@contextmanager
def running_worker() -> Iterator[Runner]:
    """A runner that takes what is queued when it is woken; no thread of it is left at the end."""
    runner = Runner()
    try:
        yield runner
    finally:
        with override_settings(AUTOMATION_DRAIN_SECONDS=0):
            runner.stop()
        relay.stop()


def finished(run: Run) -> Run:
    """The run once it is over."""
    wait_until(lambda: stored(run).is_finished, PATIENCE, f"the end of {run}")
    return stored(run)


def stored(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def printed(run: Run, stream: str | None = "stdout", target: int | None = None) -> bytes:
    return b"".join(log.raw(run, target, stream))


def remarks(run: Run) -> list[str]:
    return [line["text"] for line in log.page(run, limit=100_000) if line["stream"] == "system"]


def running(run: Run, text: str) -> None:
    """Waits until the log has this text."""

    def there() -> bool:
        return any(text in line["text"] for line in log.page(run, limit=100_000))

    wait_until(there, PATIENCE, f"{text!r} in the log of {run}")


def statuses(run: Run) -> dict[str, str]:
    return dict(run.targets.values_list("name", "status"))


def dump() -> str:
    """All that the database holds, as text."""
    texts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            texts.append(repr([[_text(value) for value in row] for row in cursor.fetchall()]))
    return "\n".join(texts)


def _text(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
