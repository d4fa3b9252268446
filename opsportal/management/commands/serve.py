"""The production server: uvicorn, which drains its streams before it stops."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from automation import reaper
from events.consumers import CONNECTION
from events.hub import get_hub

GRACE = 10  # seconds after the drain in which requests under way may finish
UNSENT_BYTES = 16 * 1024  # that the kernel holds for a client beyond what is on the way to it
GARBAGE_THRESHOLDS = (25_000, 4, 10)  # new objects, then collections of the younger generation
RESTART_PAUSE = 1.0  # seconds at least between two replacements of children
LARGEST_HEAD = 64 * 1024  # bytes of a request's line and headers


class PortalProtocol(HttpToolsProtocol):
    """Is the `events.consumers.Connection` of each of its requests.

    It also bounds the head of a request, which uvicorn does not: it would be gathered, and joined,
    on the event loop before anybody has logged in.
    """

    _answered: RequestResponseCycle | None = None  # `cycle` is that of the last pipelined request
    _head = 0  # bytes of the lines that are complete
    _unfinished = 0  # bytes that came in and have made no line, and no piece of a body, yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """What the kernel does not take is waited for, not gathered: memory is for each reader."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the request that is being answered, which is not always the one uvicorn tells.

        It lets go of what refers to this object, which is then freed without garbage collection.
        Behind a stream with another request nothing is read: there the loss is found by a write.
        """
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()
        self.pipeline.clear()
        self.cycle = self.scope = self._answered = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > LARGEST_HEAD:
            self.send_400_response("This header is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self.scope[CONNECTION] = self  # type: ignore[literal-required]

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished = 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        """Raises ValueError, for which uvicorn answers 400 and closes the connection."""
        self._unfinished = 0
        self._head += size
        if self._head > LARGEST_HEAD:
            raise ValueError("the head of the request is too large")

    async def write(self, chunk: bytes) -> None:
        """For a response whose headers have been sent."""
        if self.flow.write_paused:
            await self.flow.drain()
        if not self.transport.is_closing():
            self.transport.write(chunk)

    def drop(self) -> None:
        """A close would leave what was written in the kernel's buffers."""
        connection = self.transport.get_extra_info("socket")
        with suppress(OSError):  # it may be gone by now
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class DrainingServer(uvicorn.Server):
    """Ends its event streams one by one, with a `stream.closing`, before uvicorn shuts down."""

    def __init__(self, config: uvicorn.Config, *, supervised: bool) -> None:
        super().__init__(config)
        self.supervised = supervised

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.supervised:
            asyncio.get_running_loop().add_reader(sys.stdin, self._lose_supervisor)
        await get_hub()  # before anyone is answered
        await super().startup(sockets)
        # What lives from here on is never garbage: full collections need not look at it. They
        # hold everybody up, for 0.4 s where 10,000 streams are open, and come when a quarter of
        # what they look at is new. So the first generation takes all that is made to wake 10,000
        # streams: what of it a collection found would count as new, though it is gone at once.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)

    def _lose_supervisor(self) -> None:
        """Nothing is ever written to a supervised process: what can be read is the end."""
        asyncio.get_running_loop().remove_reader(sys.stdin)
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, which would also raise the signal again after an orderly end.

        Supervisors take a death by signal for a failure.
        """
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        hub = await get_hub()
        seconds = settings.EVENTS_DRAIN_SECONDS
        try:
            await asyncio.wait_for(hub.drain(seconds), seconds + GRACE)
        except TimeoutError:
            self.force_exit = True
        await super().shutdown(sockets)
        await hub.stop()


class Command(BaseCommand):
    help = "Serves the portal with uvicorn; SIGTERM drains the event streams first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on")
        parser.add_argument(
            "--workers", type=int, default=1, help="processes, which share the port (1)"
        )
        # How the processes of --workers get their socket.
        parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["workers"] < 1:
            raise CommandError("--workers must be 1 or more")
        if options["fd"] is not None:
            serve(socket.socket(fileno=options["fd"]), supervised=True)
            return
        listener = self._listen(options["host"], options["port"])
        if options["workers"] == 1:
            serve(listener, supervised=False)
        else:
            Supervisor(listener, options["workers"]).run()

    def _listen(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # For the connections, which inherit it: else the kernel would take megabytes for each
        # client that does not read, and notice it so much later.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise CommandError(f"cannot listen on {host}:{port}: {error}") from error
        listener.listen(2048)
        self.stdout.write(f"Serving on http://{host}:{listener.getsockname()[1]}")
        self.stdout.flush()
        return listener


def raise_open_files_limit() -> None:
    """A stream is an open file: the usual limit of a thousand is there for programs with select."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where the system names a limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def serve(listener: socket.socket, *, supervised: bool) -> None:
    raise_open_files_limit()
    reaper.watch()
    config = uvicorn.Config(
        "opsportal.asgi:application",
        http=PortalProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    DrainingServer(config, supervised=supervised).run(sockets=[listener])


class Supervisor:
    """Keeps `count` processes serving one socket, and ends them all when it is told to end.

    Each child holds the reading end of a pipe from here as its standard input, so that it drains
    and ends when this process is gone, however that happened.
    """

    def __init__(self, listener: socket.socket, count: int) -> None:
        self.listener = listener
        self.count = count
        self.stopping = False
        self.children: dict[int, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        for _ in range(self.count):
            self._start()
        while self.children:
            started = time.monotonic()
            pid, _status = os.wait()
            if self.children.pop(pid, None) is not None and not self.stopping:
                # A child that cannot start at all is not tried in a busy loop.
                time.sleep(max(0.0, RESTART_PAUSE - (time.monotonic() - started)))
                self._start()

    def _start(self) -> None:
        if self.stopping:
            return
        descriptor = self.listener.fileno()
        # The checks were made here, and what they found was said once.
        options = ["--skip-checks", "--fd", str(descriptor)]
        command = [sys.executable, sys.argv[0], "serve", *options]
        child = subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.PIPE)
        self.children[child.pid] = child
        if self.stopping:  # told so while the child was being made
            self._end(child)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        for child in list(self.children.values()):
            self._end(child)

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        # Popen.terminate() may reap the child itself, and os.wait() would never hear of it.
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
