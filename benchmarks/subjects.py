"""What is measured: the project on PostgreSQL and Redis, and its peers, each as one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import httpx

from benchmarks.peers import nchan, nestjs
from benchmarks.portals import portal_on
from tests.portal import Portal
from tests.readers import STREAM, make_user
from tests.services import ROOT, Postgres, Redis, free_port, wait_until

WRITE = "from benchmarks.writer import write; write({}, {}, {})"


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

    @classmethod
    def of_portal(
        cls, name: str, portal: Portal, port: int, pid: int, tokens: list[str], **settings: str
    ) -> Self:
        """A web process of a portal; the settings are of the writer alone."""
        command = [sys.executable, "manage.py", "shell", "--verbosity=0"]
        environment = portal.environment | settings
        return cls(name, port, pid, STREAM, tokens, command, environment, portal)

    def write(self, rate: float, seconds: float, batch: int = 1) -> subprocess.Popen[str]:
        if self.portal:
            arguments = ["-c", WRITE.format(rate, seconds, batch)]
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
    with Postgres() as postgres, portal_on(postgres, **settings) as portal:
        tokens = [make_user(portal, "reader", "Viewer")]
        web = portal.serve()
        yield Subject.of_portal("OpsPortal", portal, web.port, web.pid, tokens)


@contextmanager
def peer(name: str, module: str, **environment: str) -> Iterator[Subject]:
    with ExitStack() as running:
        redis = running.enter_context(Redis())
        directory = running.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        port = free_port()
        command = [sys.executable, "-m", f"benchmarks.peers.{module}"]
        command += ["--port", str(port), "--redis", redis.url]
        inherited = {**os.environ, "TMPDIR": directory, **environment}
        process = subprocess.Popen(command, cwd=ROOT, env=inherited, start_new_session=True)
        running.callback(process.wait)
        running.callback(os.killpg, process.pid, signal.SIGKILL)
        wait_until(lambda: _answers(port), 30, f"{name} answers")
        time.sleep(0.5)  # and has subscribed
        yield Subject(name, port, _serving(process.pid), "/events", [""], command, inherited)


def left_out(name: str) -> str:
    """What a subject needs that is not on this machine, or nothing."""
    return NEEDS[name]() if name in NEEDS else ""


def _serving(pid: int) -> int:
    """The process that serves: the one that was started, or its only child."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if len(children) > 1:
        raise RuntimeError(f"{len(children)} processes serve")
    return int(children[0]) if children else pid


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
    "django-eventstream, storage": ("django_eventstream", {"STORAGE": "1"}),
    "Channels groups, core layer": ("channels_groups", {}),
    "Channels groups, pub/sub layer": (
        "channels_groups",
        {"LAYER": "channels_redis.pubsub.RedisPubSubChannelLayer"},
    ),
    "NestJS": ("nestjs", {}),
    "nchan": ("nchan", {}),
}
NEEDS: dict[str, Callable[[], str]] = {"NestJS": nestjs.missing, "nchan": nchan.missing}
