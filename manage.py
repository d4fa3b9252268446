#!/usr/bin/env python
"""Django's command line for OpsPortal."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from events.context import CommandLine, acting

# They run for others: nothing that they start may inherit who typed the command.
SERVERS = {"demo_fleet", "run_demo", "runserver", "runworker", "serve", "testserver", "worker"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsportal.settings")
    command = next(iter(sys.argv[1:]), "help")
    try:
        if command in SERVERS:
            execute_from_command_line(sys.argv)
        else:
            person = CommandLine(command)
            with acting(lambda: person):
                execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"OpsPortal cannot start: {error}")


if __name__ == "__main__":
    main()
