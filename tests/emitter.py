"""A writer in a process of its own, at work for as long as a test wants."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from itertools import count
from types import TracebackType
from typing import Any, Self

from tests.portal import Portal
from tests.services import ROOT

PACE = 0.003  # seconds between two events, so that readers on the same two cores keep up
END_TIMEOUT = 30.0


class Emitter:
    """A context manager: `manage.py emit`, fed with one event after the other until its end.

    `write(number)` gives the event of this number, from 0 on. `written` is how many there were.
    """

    def __init__(self, portal: Portal, write: Callable[[int], dict[str, Any]]) -> None:
        self.written = 0
        self._write = write
        self._over = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "emit"],
            cwd=ROOT,
            env=portal.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._thread = threading.Thread(target=self._feed)

    def finish(self, *last: dict[str, Any]) -> None:
        """Writes these events after all others, and waits until everything is committed.

        Raises AssertionError, with what was printed, where an event was refused.
        """
        self._over.set()
        self._thread.join()
        self._put(last)
        printed, _ = self._process.communicate(timeout=END_TIMEOUT)
        assert f"{self.written + len(last)} emitted, 0 bad" in printed, printed

    def _feed(self) -> None:
        for number in count():
            if self._over.wait(PACE):
                return
            self._put([self._write(number)])
            self.written = number + 1

    def _put(self, events: Iterable[dict[str, Any]]) -> None:
        assert self._process.stdin
        for event in events:
            self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._process.kill()
        self._thread.join()
        self._process.communicate()
