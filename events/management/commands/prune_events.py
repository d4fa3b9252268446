"""Deletes old events."""

from datetime import timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from events import conf
from events.retention import prune

MOST_DAYS: Final = 36_500


class Command(BaseCommand):
    help = "Deletes events that are older than the retention, and moves the log's floor."

    def add_arguments(self, parser: CommandParser) -> None:
        text = "days that events are kept; EVENTS_RETENTION_DAYS by default"
        parser.add_argument("--keep-days", type=int, metavar="N", help=text)

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["keep_days"]
        if days is None:
            days = int(conf.get("EVENTS_RETENTION_DAYS"))
        if not 0 <= days <= MOST_DAYS:
            raise CommandError(f"--keep-days must be from 0 to {MOST_DAYS}, not {days}")
        pruned = prune(timedelta(days=days))
        self.stdout.write(
            f"{pruned.events} events and {pruned.tickets} expired tickets deleted;"
            f" the log is kept from position {pruned.floor} on"
        )
        if pruned.held_by:
            self.stdout.write(f"held back by subscription {pruned.held_by}, which is behind")
