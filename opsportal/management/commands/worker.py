"""A Celery worker with its beat, for installations on one machine."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from opsportal.celery import app


class Command(BaseCommand):
    help = "Runs a Celery worker with beat. Larger installations run `celery -A opsportal …`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=8, help="jobs at a time (8)")

    def handle(self, *args: Any, **options: Any) -> None:
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
