"""Cancels a run of an automation."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from automation import runs
from automation.models import Run


class Command(BaseCommand):
    help = "Cancels a run: one that waits at once, one that is under way as soon as it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", type=int, help="the run's number")

    def handle(self, *args: Any, **options: Any) -> None:
        run = Run.objects.without_secrets().filter(pk=options["run"]).first()
        if run is None:
            raise CommandError(f"There is no run {options['run']}.", returncode=2)
        try:
            run = runs.cancel(run, None)
        except runs.AlreadyFinished as error:
            raise CommandError(str(error)) from error
        over = run.is_finished
        self.stdout.write(f"{run} {'is cancelled' if over else 'is being stopped'}.")
