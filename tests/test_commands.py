"""The commands as an operator types them: real processes, real pipes, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.portal import Portal, Web
from tests.readers import STREAM, bearer, frames, make_user
from tests.services import ROOT, ProcessFailed, free_port, wait_until

pytestmark = pytest.mark.stack("embedded")  # what it asserts comes from no database

DATA = {"id": 1, "name": "web-01", "host": "h", "status": "unknown"}


def line(**values: Any) -> str:
    return json.dumps({"type": "server.created", "data": DATA} | values) + "\n"


def new_server(portal: Portal, token: str, name: str) -> httpx.Response:
    body = {"name": name, "host": "127.0.0.1", "username": "root"}
    return httpx.post(
        portal.url("/api/v1/servers/"), json=body, headers=bearer(token), trust_env=False
    )


async def first(url: str, token: str, wanted: str, last_id: str = "") -> Any:
    """The data of the first frame of this name."""
    async with aclosing(frames(url, token, last_id)) as stream:
        async for _, name, data in stream:
            if name == wanted:
                return data
    raise AssertionError(f"the stream ended without {wanted}")


def test_emits_help_has_a_line_that_it_takes_and_the_types(portal: Portal) -> None:
    told = portal.manage("emit", "--help")
    assert "access.changed" not in told
    assert re.search(r"^ *server\.deleted +id, name, host, status$", told, re.MULTILINE)
    [example] = [text for text in told.splitlines() if text.lstrip().startswith("{")]
    assert "1 emitted, 0 bad" in portal.manage("emit", input=example)


def test_emit_publishes_each_good_line_and_reports_each_bad_one(portal: Portal) -> None:
    lines = [
        line(),
        "not json\n",
        line(type="server.burnt"),
        line(data=DATA | {"secret": "x"}),
        line(colour="red"),
        line(permissions=["nonsense"]),
        "\n",
        "[1]\n",
        line(subject="servers.server/1", permissions=["auth.view_user"], users=[7]),
        line().strip(),
    ]
    with pytest.raises(ProcessFailed) as failure:
        portal.manage("emit", input="".join(lines))
    printed = str(failure.value)
    assert "3 emitted, 6 bad" in printed
    reported = [part for part in printed.splitlines() if part.startswith("line ")]
    assert [part.split(":")[0] for part in reported] == [
        f"line {number}" for number in (2, 3, 4, 5, 6, 8)
    ]
    for text, report in zip(
        ["not JSON", "server.burnt", "secret", "colour", "nonsense", "Invalid data"],
        reported,
        strict=True,
    ):
        assert text in report


def test_emit_sends_a_line_before_the_next_is_written(portal: Portal) -> None:
    """It waits for no full batch: someone types."""
    token = make_user(portal, "viewer", "Viewer")
    url = portal.serve().url(STREAM)
    emitter = subprocess.Popen(
        [sys.executable, "manage.py", "emit"],
        cwd=ROOT,
        env=portal.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert emitter.stdin
    try:
        emitter.stdin.write(line().encode())
        emitter.stdin.flush()
        data = asyncio.run(first(url, token, "server.created", last_id="0"))
        assert data["data"] == DATA
    finally:
        emitter.stdin.close()
        assert emitter.wait(20) == 0


def test_tail_follows_and_resumes_over_a_restart_of_the_server(portal: Portal) -> None:
    admin = make_user(portal, "admin", superuser=True)
    web = portal.serve()
    origin = f"http://127.0.0.1:{web.port}"
    tail = portal.start("tail", "--url", origin, "--token", admin, "--json", "--after", "0")
    assert new_server(portal, admin, "before").status_code == 201
    tail.wait_until(lambda: '"before"' in tail.read_output(), 20, "the first event")
    portal.kill(web)
    portal.manage("emit", input=line(data=DATA | {"name": "meanwhile"}))
    portal.serve(port=web.port)
    new_server(portal, admin, "after")
    tail.wait_until(lambda: '"after"' in tail.read_output(), 60, "the event after the restart")
    events = [json.loads(text) for text in tail.read_output().splitlines() if text[:1] == "{"]
    assert [event["data"]["name"] for event in events] == ["before", "meanwhile", "after"]


def test_tail_ends_quietly_where_nobody_reads_on(portal: Portal) -> None:
    admin = make_user(portal, "admin", superuser=True)
    options = ["--url", f"http://127.0.0.1:{portal.serve().port}", "--token", admin]
    with subprocess.Popen(
        [sys.executable, "manage.py", "tail", *options],
        cwd=ROOT,
        env=portal.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as tail:
        assert tail.stdout
        assert tail.stderr
        assert b"connected" in tail.stderr.readline()
        new_server(portal, admin, "first")
        assert b"first" in tail.stdout.readline()
        tail.stdout.close()
        new_server(portal, admin, "second")
        assert tail.wait(20) == 0
        assert tail.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token", "wrong"], "401"),
        (["--token", ""], "--token is needed"),
        (["--token", "x", "--url", "nonsense"], "--url nonsense"),
    ],
)
def test_tail_says_what_is_wrong_and_ends(
    portal: Portal, arguments: list[str], message: str
) -> None:
    if "--url" not in arguments:
        portal.environment["PORT"] = str(portal.serve().port)
    with pytest.raises(ProcessFailed, match=message):
        portal.manage("tail", *arguments)


def test_serve_drains_its_streams_on_sigterm(portal_factory: Any) -> None:
    portal = portal_factory(EVENTS_DRAIN_SECONDS=0.5)
    token = make_user(portal, "viewer", "Viewer")
    web = portal.serve()

    async def drained() -> list[Any]:
        received: list[Any] = []
        async with aclosing(frames(web.url(STREAM), token)) as stream:
            async for _, name, data in stream:
                received.append((name, data))
                if name == "stream.open":
                    web.send_signal(signal.SIGTERM)
        return received

    received = asyncio.run(drained())
    assert received[-1] == ("stream.closing", {"reason": "drain"})
    assert web.wait() == 0


def test_serve_replaces_a_process_that_was_killed(portal: Portal) -> None:
    token = make_user(portal, "viewer", "Viewer")
    web = portal.serve(workers=2)
    before = children(web)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(children(web)) - set(before)) == 1, 30, "a replacement")
    assert asyncio.run(first(web.url(STREAM), token, "stream.open"))
    web.stop()
    assert not any(map(is_running, before))


def test_serve_leaves_no_process_behind_when_it_is_killed(portal: Portal) -> None:
    web = portal.serve(workers=2)
    workers = children(web)
    os.kill(web.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, workers)), 30, "the workers' end")


def test_serve_drops_a_client_that_takes_no_bytes(portal_factory: Any) -> None:
    """The kernel's buffers are full, the client neither reads nor leaves."""
    portal = portal_factory(EVENTS_WRITE_TIMEOUT=1, EVENTS_MAX_STREAMS=2)
    token = make_user(portal, "viewer", "Viewer")
    web = portal.serve()
    with stalled(web, token) as client:
        padded = line(data=DATA | {"name": "x" * 50_000})
        portal.manage("emit", input=padded * 200)
        portal.manage("emit", input=line(subject="servers.server/9"))
        wait_until(lambda: is_reset(client), 60, "the connection's end")
    about = f"{STREAM}?subject=servers.server/9"
    data = asyncio.run(first(web.url(about), token, "server.created", last_id="0"))
    assert data["subject"] == "servers.server/9"


def stalled(web: Web, token: str) -> socket.socket:
    """An open stream of which nothing is read any more."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", web.port))
    head = f"GET {STREAM} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    client.sendall(head.encode())
    client.recv(10)
    return client


def is_reset(client: socket.socket) -> bool:
    """Whether the peer dropped the connection, without reading from it."""
    poll = select.poll()
    poll.register(client, select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children(web: Web) -> list[int]:
    return children_of(web.pid)


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True)
    return [int(child) for child in listed.stdout.split()]


def test_serve_says_why_it_cannot_listen(portal: Portal) -> None:
    web = portal.serve()
    with pytest.raises(ProcessFailed, match="cannot listen on"):
        portal.manage("serve", "--port", str(web.port))


def test_the_demo_runs_once_in_a_directory_and_says_what_ended_it(portal: Portal) -> None:
    arguments = ("run_demo", "--no-activity", "--port")
    demo = portal.start(*arguments, str(free_port()))
    demo.wait_until(lambda: "is running at" in demo.read_output(), 60, "the demo's greeting")
    with pytest.raises(ProcessFailed, match="a demo is running"):
        portal.manage(*arguments, str(free_port()))
    worker = next(pid for pid in children_of(demo.pid) if b"worker" in command_line(pid))
    os.kill(worker, signal.SIGKILL)
    assert demo.wait(60) == 1
    assert "`manage.py worker`" in demo.read_output()
    assert "was killed by SIGKILL" in demo.read_output()


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_daphne_streams_too(portal: Portal) -> None:
    """`manage.py runserver`, for development."""
    admin = make_user(portal, "admin", superuser=True)
    port = free_port()
    daphne = portal.start("runserver", "--noreload", f"127.0.0.1:{port}")
    origin = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{origin}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    daphne.wait_until(answers, 30, "daphne answers")
    portal.manage("emit", input=line())
    data = asyncio.run(first(origin + STREAM, admin, "server.created", last_id="0"))
    assert data["data"] == DATA


def test_a_change_in_a_shell_reaches_a_stream(portal: Portal) -> None:
    """Another process, which ends at once after its commit."""
    token = make_user(portal, "viewer", "Viewer")
    url = portal.serve().url(STREAM)

    async def change_and_read() -> Any:
        async with aclosing(frames(url, token)) as stream:
            async for _, name, data in stream:
                if name == "stream.open":
                    code = (
                        "from servers.models import Server;"
                        "Server.objects.create(name='shell', host='h', username='u')"
                    )
                    await asyncio.to_thread(portal.manage, "shell", "-c", code)
                elif name == "server.created":
                    return data
        raise AssertionError("the stream ended")

    assert asyncio.run(change_and_read())["data"]["name"] == "shell"
