"""Runs an automation from a terminal, a cron job or a pipeline."""

from __future__ import annotations

import difflib
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, Final, NoReturn, TypeVar

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import models

from automation import parameters, runs
from automation.models import Automation, Run
from automation.terminal import Follower, Sink
from servers.models import Environment, Server

M = TypeVar("M", bound=models.Model)

USAGE: Final = 2
INTERRUPTED: Final = 130
STATUSES: Final = {Run.Status.COMPLETED: 0, Run.Status.FAILED: 1, Run.Status.CANCELLED: 3}
TOO_LATE: Final = 4


class Command(BaseCommand):
    help = (
        "Starts an automation. With --wait, prints its log and ends with 0 where it completed, 1"
        " where it failed, 3 where it was cancelled, and 4 where it is not over after --timeout;"
        " 2 is a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the automation's name")
        several: dict[str, Any] = {"action": "append", "default": []}
        parser.add_argument(
            "--server", **several, help="run on this server, not the automation's own; repeatable"
        )
        parser.add_argument("--environment", **several, help="run on this one's servers")
        parser.add_argument("--tag", **several, help="run on the servers with this tag")
        parser.add_argument("--param", **several, metavar="NAME=VALUE", help="a parameter")
        parser.add_argument(
            "--secret-from-env",
            **several,
            metavar="NAME=VARIABLE",
            help="a parameter's value from an environment variable, so that no process list has it",
        )
        parser.add_argument(
            "--force", action="store_true", help="also on servers in maintenance, else skipped"
        )
        parser.add_argument("--reason", default="", help="why, for whoever looks at the run")
        parser.add_argument("--wait", action="store_true", help="print the log until it is over")
        parser.add_argument("--timeout", type=float, help="seconds to wait at the most")

    def handle(self, *args: Any, **options: Any) -> None:
        run = self._start(options)
        names = list(run.targets.values_list("name", flat=True))
        where = names[0] if len(names) == 1 else f"{len(names)} servers"
        self.stderr.write(f"# {run} on {where}", self.style.NOTICE)
        if options["wait"]:
            sys.exit(self._wait(run, options["timeout"]))
        self.stdout.write(str(run.pk))

    def _start(self, options: dict[str, Any]) -> Run:
        automation = found(Automation, "automation", [options["name"]])[0]
        chosen: dict[str, Any] = {}
        if options["server"] or options["environment"] or options["tag"]:
            servers = Server.objects.without_secrets()
            chosen = {
                "servers": found(Server, "server", options["server"], servers),
                "environments": found(Environment, "environment", options["environment"]),
                "tags": options["tag"],
            }
        public = pairs("--param", options["param"])
        refuse_secrets(automation, public)
        given = public | from_environment(options["secret_from_env"])
        try:
            return runs.start(
                automation,
                None,
                given,
                reason=options["reason"],
                force=options["force"],
                **chosen,
            )
        except parameters.InvalidValues as error:
            said = [f"  {name}: {' '.join(words)}" for name, words in error.errors.items()]
            wrong("\n".join(["These parameters do not fit:", *said, described(automation)]))
        except (runs.Refused, ValidationError) as error:
            wrong(" ".join(error.messages) if isinstance(error, ValidationError) else str(error))

    def _wait(self, run: Run, timeout: float | None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        sinks = [Sink(file.buffer, file.isatty()) for file in (sys.stdout, sys.stderr)]
        hint = f"Run {run.pk} goes on; `manage.py cancel_run {run.pk}` cancels it."
        try:
            over = Follower(run, *sinks).follow(until)
        except KeyboardInterrupt:
            self.stderr.write(f"# {hint}")
            return INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush
            return INTERRUPTED
        if over is None:
            self.stderr.write(f"# It is not over after {timeout:g} s. {hint}")
            return TOO_LATE
        self.stderr.write(f"# {over}: {over.status}. {over.error}".rstrip())
        return STATUSES[Run.Status(over.status)]


def wrong(text: str) -> NoReturn:
    raise CommandError(text, returncode=USAGE)


def found(
    model: type[M], kind: str, names: Iterable[str], rows: models.QuerySet[M] | None = None
) -> list[M]:
    """The rows of these names. One that is missing ends the command, with what is meant perhaps."""
    rows = model._default_manager.all() if rows is None else rows
    result = []
    for name in names:
        row = rows.filter(name=name).first()
        if row is None:
            every = list(rows.order_by("name").values_list("name", flat=True))
            near = difflib.get_close_matches(name, every, cutoff=0.5) or every[:10]
            there = f" Is it {' or '.join(near)}?" if near else ""
            wrong(f"There is no {kind} “{name}”.{there}")
        result.append(row)
    return result


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE as a dictionary."""
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            wrong(f"{option} wants NAME=…, not {name!r}.")
        given[name] = value
    return given


def refuse_secrets(automation: Automation, names: Iterable[str]) -> None:
    """What is typed in a command stands in the process list for as long as that runs."""
    kinds = {one["name"]: one["type"] for one in automation.parameters}
    for name in names:
        if kinds.get(name) == parameters.SECRET:
            wrong(f"{name} is a secret: give it by --secret-from-env {name}=VARIABLE.")


def from_environment(texts: Iterable[str]) -> dict[str, str]:
    given = {}
    for name, variable in pairs("--secret-from-env", texts).items():
        if variable not in os.environ:
            wrong(f"--secret-from-env {name}: there is no environment variable {variable}.")
        given[name] = os.environ[variable]
    return given


def described(automation: Automation) -> str:
    """What it takes, a line a parameter."""
    lines = ["It takes:"]
    for one in automation.parameters:
        facts = [one["type"]]
        facts += ["required"] if one.get("required") and "default" not in one else []
        facts += [f"default {one['default']}"] if "default" in one else []
        facts += [f"one of {', '.join(one['choices'])}"] if "choices" in one else []
        facts += [one["label"]] if one.get("label") else []
        lines.append(f"  {one['name']} ({'; '.join(facts)})")
    return "\n".join(lines) if automation.parameters else "It takes none."
