"""A writer that uses the API: events by the piece and by the list, and new servers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import httpx

from faults.cast import AUDIENCES, Person, addressed
from faults.journal import Journal, Status
from tests.readers import bearer

PAUSE: Final = (0.0, 0.08)  # seconds between two requests
RETRY: Final = 0.1  # seconds after which a web process that is away is asked again
TIMEOUT: Final = 8.0  # seconds after which a request counts as unanswered
BAD: Final = 0.05  # of the requests hold an event that must be refused, and all with it
LONGEST: Final = 8  # events in a list

# What an answer says of what was asked for; any other leaves it open.
OUTCOMES: Final = {201: Status.COMMITTED, 400: Status.REFUSED}


class Publisher:
    """A context manager: a thread that posts, to one web process after the other, until its end.

    `pick` gives the address that is next. What the API refused though it should not is in
    `surprises`.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        seed: int,
        pick: Callable[[int], str],
        people: dict[str, Person],
    ) -> None:
        self.name = name
        self.chance = random.Random(seed)
        self.journal = Journal(directory / f"{name}.journal")
        self.surprises: list[str] = []
        self._pick = pick
        self._token = people["writer"].token
        self._outsider = people["outsider"].id
        self._numbers = count(1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name)

    def _work(self) -> None:
        headers = bearer(self._token)
        with httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=False) as client:
            for number in count():
                if self._over.wait(self.chance.uniform(*PAUSE)):
                    return
                self._post(client, self._pick(number))

    def _post(self, client: httpx.Client, url: str) -> None:
        path, names, body, bad = self._request()
        self.journal.note(Status.COMMITTING, names)
        try:
            response = client.post(f"{url}/api/v1/{path}", json=body)
        except httpx.ConnectError:
            self.journal.note(Status.REFUSED, names)  # it was never sent
            self._over.wait(RETRY)
        except httpx.TransportError:
            self._over.wait(RETRY)
        else:
            status = OUTCOMES.get(response.status_code)
            if status is not None:
                self.journal.note(status, names)
            if response.status_code < 500 and status is not OUTCOMES[400 if bad else 201]:
                self.surprises.append(f"POST {path}: {response.status_code} {response.text[:200]}")

    def _request(self) -> tuple[str, list[str], Any, bool]:
        """Path, names of the events, body, and whether it is to be refused."""
        way = self.chance.random()
        bad = self.chance.random() < BAD
        if way < 0.3:
            name = self._name("viewers")
            body = {"name": name, "host": "" if bad else "10.0.0.3", "username": "root"}
            return "servers/", [name], body, bad
        size = 1 if way < 0.7 else self.chance.randint(2, LONGEST)
        names = [self._name(self.chance.choice(AUDIENCES)) for _ in range(size)]
        events = [self._event(name) for name in names]
        if bad:
            del events[-1]["data"]["host"]
        return "events/", names, events if size > 1 else events[0], bad

    def _name(self, audience: str) -> str:
        return f"{self.name}-{audience}-{next(self._numbers)}"

    def _event(self, name: str) -> dict[str, Any]:
        data = {"id": 1, "name": name, "host": "h", "status": "unknown"}
        audience = addressed(name.split("-")[1], self._outsider)
        subject = f"faults.mark/{self.chance.randrange(3)}"
        return {"type": "server.created", "data": data, "subject": subject, **audience}

    def finish(self) -> None:
        self._over.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
