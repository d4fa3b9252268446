"""Writers in processes of their own: `manage.py shell -c "from faults import writing; …"`.

Each works until there is a file `stop` in its directory. While there is a file `hold`, the next
transaction stays open, and says so with a file `held`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from django.contrib.auth.models import Permission, User
from django.db import DatabaseError, InterfaceError, connection, transaction

from events.api import Draft, emit_many
from faults.cast import AUDIENCES, addressed
from faults.journal import Journal, Status
from servers.models import Server

PAUSE: Final = (0.0, 0.06)  # seconds between two transactions
RIGHTS_PAUSE: Final = (0.5, 2.0)  # seconds between two changes of somebody's rights
ROLLED_BACK: Final = 0.1  # of the transactions
RETRY: Final = 0.2  # seconds after which a database that failed is asked again


class Writer:
    """Writes one transaction after the other, and notes what becomes of each."""

    def __init__(self, directory: str, name: str, seed: int) -> None:
        self.directory = Path(directory)
        self.name = name
        self.chance = random.Random(seed)
        self.journal = Journal(self.directory / f"{name}.journal")
        self.numbers = count(1)

    def names(self, audiences: tuple[str, ...], most: int) -> list[str]:
        return [
            f"{self.name}-{self.chance.choice(audiences)}-{next(self.numbers)}"
            for _ in range(self.chance.randint(1, most))
        ]

    def work(self, write: Callable[[], None], pause: tuple[float, float] = PAUSE) -> None:
        while not (self.directory / "stop").exists():
            try:
                write()
            except (DatabaseError, InterfaceError):
                connection.close()
                time.sleep(RETRY)
            time.sleep(self.chance.uniform(*pause))

    @contextmanager
    def transaction(self, names: list[str]) -> Iterator[None]:
        """Around the statements of one. Raises what the database does."""
        status = Status.OPEN
        self.journal.note(status, names)
        rolled_back = self.chance.random() < ROLLED_BACK
        try:
            with transaction.atomic():
                yield
                self._hold()
                transaction.set_rollback(rolled_back)
                status = Status.REFUSED if rolled_back else Status.COMMITTING
                self.journal.note(status, names)
        except BaseException:
            if status is Status.OPEN:
                self.journal.note(Status.REFUSED, names)
            raise
        if not rolled_back:
            self.journal.note(Status.COMMITTED, names)

    def _hold(self) -> None:
        if (self.directory / f"{self.name}.hold").exists():
            (self.directory / f"{self.name}.held").touch()
            while (self.directory / f"{self.name}.hold").exists():
                time.sleep(0.02)


def saves(directory: str, name: str, seed: int, outsider: int) -> None:
    """Renames one server, and emits between: several events a transaction."""
    writer = Writer(directory, name, seed)
    server = Server(name=f"{name}-viewers-0", host="10.0.0.1", username="root")

    def write() -> None:
        names = writer.names(AUDIENCES, 5)
        with writer.transaction(names):
            if server.pk is None:
                server.save()
            for event in names:
                change(event)

    def change(event: str) -> None:
        audience = event.split("-")[1]
        if audience == "viewers":
            server.name = event
            server.save()
        else:
            data = {"id": server.pk, "name": event, "host": "h", "status": "unknown"}
            emit_many([Draft("server.created", data, **addressed(audience, outsider))])

    writer.work(write)


def bulk(directory: str, name: str, seed: int, outsider: int) -> None:
    """Makes servers by the dozen, and deletes those of before: all by single statements."""
    writer = Writer(directory, name, seed)

    def write() -> None:
        names = writer.names(("viewers",), 12)
        with writer.transaction(names):
            Server.objects.filter(name__startswith=f"{name}-").update(username="gone")
            Server.objects.bulk_create(
                [Server(name=event, host="10.0.0.2", username="root") for event in names]
            )
            Server.objects.filter(name__startswith=f"{name}-", username="gone").delete()

    writer.work(write, (0.1, 0.4))


def rights(directory: str, name: str, seed: int, user: int) -> None:
    """Lets a user see servers, then not, and so on; notes each time what, and since when."""
    writer = Writer(directory, name, seed)

    def write() -> None:
        permission = Permission.objects.get(codename="view_server")
        granted = User.objects.filter(pk=user, user_permissions=permission).exists()
        change = f"{name}-{'revoke' if granted else 'grant'}-{next(writer.numbers)}"
        with writer.transaction([change]):
            held = User.objects.get(pk=user).user_permissions
            (held.remove if granted else held.add)(permission)

    writer.work(write, RIGHTS_PAUSE)
