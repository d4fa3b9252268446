"""A run's log on a terminal, or wherever a command's output goes."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import BinaryIO, Final

from automation import log
from automation.lines import STDERR, SYSTEM, Line
from automation.models import Run

LOOK: Final = 0.3  # seconds between two looks at the log
PATIENCE: Final = 5.0  # seconds for which a run may be queued before somebody is told

# Colours are harmless; other sequences could retitle, repaint or remap the terminal.
_CONTROL: Final = re.compile(rb"\x1b\[[0-9;:]*m|[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class Sink:
    """Where bytes go; on a terminal, without what could act on it."""

    file: BinaryIO
    is_terminal: bool

    def write(self, data: bytes) -> None:
        self.file.write(_CONTROL.sub(_shown, data) if self.is_terminal else data)
        self.file.flush()


def _shown(match: re.Match[bytes]) -> bytes:
    found = match.group()
    return found if found.endswith(b"m") or found == b"\r" else b"?"


class Follower:
    """Prints a run's log as it grows: output to `out`, errors and what the portal says to `err`.

    With one target the bytes are those of the script; with several, each line names its server.
    """

    def __init__(self, run: Run, out: Sink, err: Sink) -> None:
        self._run = run
        self._out, self._err = out, err
        self._names = log.names_of(run)
        self._seq = 0

    def follow(self, until: float | None = None) -> Run | None:
        """The run, once it is over and all is printed; None where that is not before `until`, of
        time.monotonic()."""
        told_at = time.monotonic() + PATIENCE
        while True:
            run = Run.objects.without_secrets().get(pk=self._run.pk)
            self._print_new()
            if run.is_finished:
                return run
            if run.status == Run.Status.QUEUED and time.monotonic() > told_at:
                self._err.write(b"# It waits for a worker. Is one running, and has it room?\n")
                told_at = float("inf")
            if until is not None and time.monotonic() > until:
                return None
            time.sleep(LOOK)

    def _print_new(self) -> None:
        for seq, line in log.numbered(self._run, self._seq):
            self._print(line)
            self._seq = seq

    def _print(self, line: Line) -> None:
        sink = self._out if line.stream not in (STDERR, SYSTEM) else self._err
        data = line.raw
        if len(self._names) > 1 and line.target:
            data = f"{self._names[line.target]}: ".encode() + data
            data = data if data.endswith(b"\n") else data + b"\n"
        sink.write(b"# " + data if line.stream == SYSTEM else data)
