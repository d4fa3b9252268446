"""What is measured: the project on PostgreSQL and Redis, and its peers, each as one process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.portal import Portal
from tests.readers import STREAM, make_user
from tests.services import ROOT, Postgres, Redis, free_port, wait_until

MANY = 1_000_000  # streams: no limit
WRITE = "from benchmarks.writer import write; write({}, {}, {}, {})"


@dataclass
class Subject:
    """A server that is up. `write` begins to emit, in a process of its own."""

    name: str
    port: int
    pid: int
    path: str
    tokens: list[str]
    command: list[str]  # of the writer
    environment: dict[str, str]
    portal: Portal | None = None

    def write(
        self, rate: float, seconds: float, batch: int = 1, writers: int = 1
    ) -> subprocess.Popen[str]:
        if self.portal:
            arguments = ["-c", WRITE.format(rate, seconds, batch, writers)]
        else:
            arguments = ["--write", str(rate), str(seconds), str(batch)]
        return subprocess.Popen(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )


@contextmanager
def project(**settings: object) -> Iterator[Subject]:
    """One streaming `manage.py serve`, with readers who hold access tokens."""
    settings = {"EVENTS_MAX_STREAMS": MANY, "EVENTS_MAX_STREAMS_PER_USER": MANY} | settings
    with ExitStack() as running:
        directory = Path(running.enter_context(TemporaryDirectory()))
        postgres, redis = running.enter_context(Postgres()), running.enter_context(Redis())
        url = postgres.create_database("bench")
        portal = running.enter_context(Portal(directory, url, redis.url, **settings))
        portal.manage("migrate", "--verbosity=0")
        token = make_user(portal, "reader", "Viewer")
        web = portal.serve()
        command = [sys.executable, "manage.py", "shell", "--verbosity=0"]
        environment = portal.environment
        yield Subject("OpsPortal", web.port, web.pid, STREAM, [token], command, environment, portal)


@contextmanager
def peer(name: str, module: str, **environment: str) -> Iterator[Subject]:
    with ExitStack() as running:
        redis = running.enter_context(Redis())
        port = free_port()
        command = [sys.executable, "-m", f"benchmarks.peers.{module}", "--redis", redis.url]
        inherited = {**os.environ, **environment}
        process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, env=inherited)
        running.callback(process.wait)
        running.callback(process.kill)
        wait_until(lambda: _answers(port), 30, f"{name} answers")
        time.sleep(0.5)  # and has subscribed
        yield Subject(name, port, process.pid, "/events", [""], command, inherited)


def _answers(port: int) -> bool:
    try:
        with httpx.stream("GET", f"http://127.0.0.1:{port}/events", trust_env=False, timeout=2):
            return True
    except httpx.TransportError:
        return False


PEERS = {
    "bare epoll writer": ("floor", {}),
    "sse-starlette": ("sse_starlette", {}),
    "django-eventstream": ("django_eventstream", {}),
    "Channels groups, core layer": ("channels_groups", {}),
    "Channels groups, pub/sub layer": (
        "channels_groups",
        {"LAYER": "channels_redis.pubsub.RedisPubSubChannelLayer"},
    ),
}
