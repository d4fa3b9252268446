"""Clients that others made, each following a stream and coming back when it is cut."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.services import ROOT, MissingService, Process, find_program

Frame = tuple[str, str, Any]  # id, name, data

FOLLOW = """([key, url]) => {
    const frames = (window[key] = []);
    const source = new EventSource(url);
    const keep = (event) => frames.push([event.lastEventId, event.type, JSON.parse(event.data)]);
    for (const name of ["stream.open", "stream.reset", "stream.closing", "server.created"]) {
        source.addEventListener(name, keep);
    }
}"""


class Follower:
    """`read` gives the frames that arrived so far, over all connections."""

    def __init__(self, name: str, read: Callable[[], list[Frame]]) -> None:
        self.name = name
        self.read = read

    def named(self, *names: str) -> list[Any]:
        """The data of the frames of these names."""
        return [data for _, name, data in self.read() if name in names]

    def positions(self) -> list[int]:
        return [data["id"] for data in self.named("server.created")]


def curl(url: str, token: str, output: Path, *options: str) -> tuple[Process, Follower]:
    find_program("curl", "curl")
    process = _start(["sh", "tests/clients/follow.sh", url, token, *options], output)
    return process, Follower("curl", lambda: list(_frames(process.read_output())))


def compressed_curl(url: str, token: str, output: Path) -> tuple[Process, Follower]:
    return curl(url, token, output, "--compressed")


def httpx_sse(url: str, token: str, output: Path) -> tuple[Process, Follower]:
    process = _start([sys.executable, "-um", "tests.clients.follow", url, token], output)
    return process, Follower("httpx-sse", lambda: _lines(process.read_output()))


def eventsource(url: str, token: str, output: Path) -> tuple[Process, Follower]:
    """Raises MissingService where npm's package is not installed."""
    modules = ROOT / ".venv" / "clients" / "node_modules"
    if not (modules / "eventsource").exists():
        raise MissingService("npm's eventsource is missing: run scripts/install-test-services")
    node = find_program("node", "nodejs")
    process = _start([node, "tests/clients/follow.cjs", url, token], output, NODE_PATH=str(modules))
    return process, Follower("eventsource", lambda: _lines(process.read_output()))


def chromium(page: Page, key: str, path: str) -> Follower:
    """The browser's own EventSource, on a page of the portal's; `key` tells several apart."""
    page.evaluate(FOLLOW, [key, path])
    return Follower("Chromium", lambda: page.evaluate("key => window[key]", key))


def _start(command: list[str], output: Path, **environment: str) -> Process:
    return Process(command, output, env=os.environ | environment, cwd=ROOT)


def _lines(output: str) -> list[Frame]:
    """Whole lines of JSON; what is still being written is left for the next time."""
    return [json.loads(line) for line in output.split("\n")[:-1]]


def _frames(output: str) -> Iterator[Frame]:
    for frame in output.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in frame.strip("\n").split("\n") if line)
        if "data" in fields:
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
