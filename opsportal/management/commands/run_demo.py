"""Everything at once, for a first look: `make run`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsportal import demo

STOP_SECONDS = 20  # for the processes to end by themselves


class Command(BaseCommand):
    help = "Migrates, makes demo data at the first start, and runs web, worker and demo fleet."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
        parser.add_argument(
            "--no-activity",
            action="store_true",
            default=os.environ.get("DEMO_ACTIVITY") == "0",
            help="nothing happens by itself (also DEMO_ACTIVITY=0)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_taken_port(options["port"])
        call_command("migrate", verbosity=0)
        demo.create_users()
        signal.signal(signal.SIGTERM, _interrupt)
        fleet = ["demo_fleet", *(["--no-activity"] if options["no_activity"] else [])]
        processes = [
            start("serve", "--port", str(options["port"])),
            start("worker"),
            start(*fleet),
        ]
        try:
            self._greet(options["port"], processes[0])
            wait_for_any(processes)
            raise CommandError("one of the portal's processes ended, see above")
        except KeyboardInterrupt:
            self.stdout.write("Stopping")
        finally:
            stop(processes)

    def _greet(self, port: int, web: subprocess.Popen[bytes]) -> None:
        wait_for_port(port, web)
        logins = "\n".join(f"    {login:<10} / {login:<10} {role}" for login, role in demo.LOGINS)
        self.stdout.write(
            f"\nOpsPortal is running at http://127.0.0.1:{port}\n\n"
            f"  Demo logins (name / password, role):\n{logins}\n\n"
            "  Ctrl-C stops it. `make run DEMO_ACTIVITY=0` lets nothing happen by itself.\n"
        )
        self.stdout.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """A child in a process group of its own, so that Ctrl-C reaches only this process first."""
    command = [sys.executable, sys.argv[0], *arguments]
    return subprocess.Popen(command, start_new_session=True)


def refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"port {port} cannot be used ({error}); try `make run PORT=8001`"
            ) from error


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise CommandError("the web process did not start, see above")


def wait_for_any(processes: list[subprocess.Popen[bytes]]) -> None:
    while all(process.poll() is None for process in processes):
        time.sleep(0.5)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Asks all to end, and kills what has not after STOP_SECONDS."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
