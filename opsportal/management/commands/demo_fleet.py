"""The demo's servers, and what happens to them."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error

from opsportal import demo
from servers import fleet

logger = logging.getLogger(__name__)

PAUSE = (5.0, 15.0)  # seconds between two things that happen


class Command(BaseCommand):
    help = "Runs a few SSH servers on loopback, registers them, and lets a little happen to them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-activity", action="store_true", help="nothing happens by itself")
        parser.add_argument("--base-port", type=int, default=fleet.BASE_PORT, help="first port")

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(run(options["base_port"], active=not options["no_activity"]))


async def run(base_port: int, *, active: bool) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with fleet.running(settings.VAR_DIR / "fleet", base_port=base_port) as servers:
        await sync_to_async(demo.register)(servers)
        print(
            f"Demo fleet on ports {', '.join(str(server.port) for server in servers)}", flush=True
        )
        activity = asyncio.create_task(act_forever()) if active else None
        await stopping.wait()
        if activity is not None:
            activity.cancel()


async def act_forever() -> None:
    deed = demo.test_all
    while True:
        try:
            await sync_to_async(deed)()
        except Error:
            logger.exception("The demo could not act; trying again")
        else:
            deed = demo.act
        await asyncio.sleep(random.uniform(*PAUSE))
