"""What a writer notes of its transactions, so that it can be told afterwards what must be there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class Status(StrEnum):
    """How far a transaction had come when its writer last could say so."""

    OPEN = "open"  # its commit was not asked for: nothing of it may be in the log
    COMMITTING = "committing"  # asked for and not answered: it may be there or not
    COMMITTED = "committed"  # it must be there
    REFUSED = "refused"  # rolled back: nothing of it may be there


class Note(NamedTuple):
    """The last that is known of an event, and when its transaction began, in Unix time."""

    status: Status
    begun: float


class Journal:
    """Appends to a file, a line a note: what was noted before a SIGKILL is there after it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, status: Status, names: Sequence[str]) -> None:
        line = json.dumps({"status": status, "at": time.time(), "names": names}) + "\n"
        os.write(self._file, line.encode())


def read(paths: Iterable[Path]) -> dict[str, Note]:
    """The last note of each event, by its name."""
    notes: dict[str, Note] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            noted = json.loads(line)
            for name in noted["names"]:
                begun = notes[name].begun if name in notes else noted["at"]
                notes[name] = Note(Status(noted["status"]), begun)
    return notes
