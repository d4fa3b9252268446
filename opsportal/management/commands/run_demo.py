"""Everything at once, for a first look: `make run`."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from opsportal import demo

STOP_SECONDS = 20  # for the processes to end by themselves


class Command(BaseCommand):
    help = "Migrates, makes demo data at the first start, and runs web, worker and demo fleet."

    def add_arguments(self, parser: CommandParser) -> None:
        port = os.environ.get("PORT", "8000")  # a text: the parser refuses a wrong one
        parser.add_argument("--port", type=int, default=port, help="also PORT=…")
        parser.add_argument(
            "--no-activity",
            action="store_true",
            default=os.environ.get("DEMO_ACTIVITY") == "0",
            help="nothing happens by itself (also DEMO_ACTIVITY=0)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_taken_port(options["port"])
        lock = lock_directory(settings.VAR_DIR)
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
            ended = wait_for_any(processes)
            raise CommandError(f"stopped, because {describe_end(ended)}")
        except KeyboardInterrupt:
            self.stdout.write("Stopping")
        finally:
            stop(processes[:-1])  # the worker first: it may still have runs on the fleet to end
            stop(processes[-1:])
            lock.close()

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


def wait_for_any(processes: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The first process that ended."""
    while True:
        for process in processes:
            if process.poll() is not None:
                return process
        time.sleep(0.5)


def describe_end(process: subprocess.Popen[bytes]) -> str:
    assert isinstance(process.args, list)
    name = f"`manage.py {process.args[2]}` (process {process.pid})"
    if process.returncode < 0:
        return f"{name} was killed by {signal.Signals(-process.returncode).name}"
    return f"{name} ended with status {process.returncode}, see above"


def lock_directory(directory: Path) -> IO[str]:
    """Two demos on one database would register their fleets over each other."""
    lock = (directory / "demo.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise CommandError(
            f"a demo is running on {directory} already; stop it, or set another VAR_DIR"
        ) from error
    return lock


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Asks all to end, and kills what has not after STOP_SECONDS."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
