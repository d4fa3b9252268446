"""A Celery worker with its beat, for installations on one machine."""

import os
import signal
import sys
import time
from typing import Any, Final

from celery.signals import worker_shutting_down
from django.core.management.base import BaseCommand, CommandParser

from opsportal.celery import app

PAUSE: Final = 2.0  # seconds before a worker that broke down begins anew


class Command(BaseCommand):
    help = "Runs a Celery worker with beat. Larger installations run `celery -A opsportal …`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=8, help="jobs at a time (8)")

    def handle(self, *args: Any, **options: Any) -> None:
        signals: list[str] = []
        worker_shutting_down.connect(lambda sig, **_: signals.append(sig), weak=False)
        # Jobs wait for the network, so threads serve them; one process keeps one relay.
        app.worker_main(
            [
                "worker",
                "--beat",
                "--pool=threads",
                f"--concurrency={options['concurrency']}",
                "--loglevel=INFO",
            ]
        )
        if not signals:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Nobody asked it to end: kombu 5 gives up where Redis goes away while a job is at hand.

        As the same process, so that whoever supervises or stops it still finds it.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.stderr.write(f"The worker broke down, and begins anew in {PAUSE:g} s.")
        time.sleep(PAUSE)
        os.execv(sys.executable, sys.orig_argv)
