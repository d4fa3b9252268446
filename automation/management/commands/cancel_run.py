"""Cancels a run of an automation."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from automation import runs
from automation.models import Run
from automation.models.run import UNFINISHED


class Command(BaseCommand):
    help = "Cancels a run: one that waits at once, one that is under way as soon as it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", help="its number, as run_automation and the runs' page tell it")

    def handle(self, *args: Any, **options: Any) -> None:
        number = options["run"].removeprefix("#")
        if not number.isdecimal():
            said = f"A run is told by its number, not as {number!r}. {under_way()}"
            raise CommandError(said, returncode=2)
        run = Run.objects.without_secrets().filter(pk=int(number)).first()
        if run is None:
            raise CommandError(f"There is no run {number}. {under_way()}", returncode=2)
        try:
            run = runs.cancel(run, None)
        except runs.AlreadyFinished as error:
            raise CommandError(str(error)) from error
        over = run.is_finished
        self.stdout.write(f"{run} {'is cancelled' if over else 'is being stopped'}.")


def under_way() -> str:
    """The runs that can be cancelled, the newest first, up to ten."""
    found = Run.objects.without_secrets().filter(status__in=UNFINISHED).order_by("-pk")
    names = ", ".join(map(str, found[:10]))
    return f"Under way: {names}." if names else "None is under way."
