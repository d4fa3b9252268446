"""Makes every cursor of before worthless, after a backup was restored."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from events import log
from events.retention import rebase

QUESTION = """\
Every client must read its state anew, and nothing from before can be replayed to it.
This cannot be undone. Type "yes" to move the log's head from position {head}: """


class Command(BaseCommand):
    help = (
        "Moves the log's head and floor to where no client has been. For after a backup was"
        " restored: clients that know events which it lacks would miss as many new ones."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        text = "the new head; a thousand million positions further by default"
        parser.add_argument("--to", type=int, metavar="N", help=text)
        parser.add_argument("--no-input", action="store_true", help="ask nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["no_input"] and not agreed(QUESTION.format(head=log.head().position)):
            raise CommandError("nothing was changed")
        try:
            old, new = rebase(options["to"])
        except ValueError as error:
            raise CommandError(f"--to {error}") from error
        self.stdout.write(f"head {old} -> {new}; the log is kept from position {new + 1} on")


def agreed(question: str) -> bool:
    try:
        return input(question) == "yes"
    except EOFError:  # nobody is there to be asked
        return False
