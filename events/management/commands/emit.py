"""Publishes events that are read from standard input."""

from __future__ import annotations

import json
import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)
from rest_framework.exceptions import ValidationError

from events.bus import append
from events.catalogue import catalogue
from events.models import Event
from events.publishing import parse

READ_BYTES = 65_536
HELP = """\
Publishes NDJSON events from standard input, a line each, such as

  {"type": "server.deleted", "data": {"id": 7, "name": "web-07", "host": "h", "status": "unknown"}}

with "subject", and "permissions" or "users" of its readers, where wanted. Lines that arrive
together are one transaction. A bad line is reported with its number and the rest goes on; the exit
status is 1 if there was one."""


class HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Leaves lines as they are."""


class Command(BaseCommand):
    help = HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = HelpFormatter
        parser.epilog = f"types, and what their data has:\n{told_types()}"

    def handle(self, *args: Any, **options: Any) -> None:
        self.line_number = self.bad_lines = emitted = 0
        for lines in batches(sys.stdin.fileno()):
            events = [event for line in lines if (event := self._event(line)) is not None]
            emitted += len(append(events))
        self.stdout.write(f"{emitted} emitted, {self.bad_lines} bad")
        if self.bad_lines:
            raise CommandError(f"{self.bad_lines} bad lines")

    def _event(self, line: bytes) -> Event | None:
        self.line_number += 1
        if not line.strip():
            return None
        try:
            return parse(json.loads(line))
        except ValidationError as error:
            self._report(json.dumps(error.detail))
        except (ValueError, RecursionError) as error:
            self._report(f"not JSON: {error}")
        return None

    def _report(self, what: str) -> None:
        self.bad_lines += 1
        self.stderr.write(f"line {self.line_number}: {what}")


def told_types() -> str:
    """A line for each type that can be published, with the fields of its data."""
    types = [(name, catalogue.types[name]) for name in sorted(catalogue.types)]
    return "\n".join(
        f"  {name:<32} {', '.join(declared.schema().fields)}"
        for name, declared in types
        if name not in catalogue.internal()
    )


def batches(descriptor: int) -> Iterator[list[bytes]]:
    """The whole lines of each read, so that a slow writer waits for no full batch."""
    rest = b""
    while data := os.read(descriptor, READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield lines
    yield [rest]
