"""Connection tests, all of the way: API, queue, worker, a real sshd, log and stream."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse

from servers.ssh import fingerprint
from servers.tests.keys import new_host_key
from servers.tests.sshd import Sshd
from tests.portal import Portal
from tests.readers import STREAM, bearer, make_user
from tests.services import free_port

pytestmark = pytest.mark.stack("embedded")  # what it asserts comes from no database

SERVERS = "/api/v1/servers/"
TIMEOUT = 5  # seconds for a connection test

TRUST = """
from servers.models import Environment
Environment.objects.create(name="lab", accept_new_host_keys=True)
"""

SET_HOST_KEY = """
from servers.models import Server
Server.objects.filter(name={name!r}).update(host_key={key!r})
"""


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that never answers: with its backlog full, Linux drops further SYNs."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class Watch:
    """An open stream, and what it told of each server's tests."""

    def __init__(self, events: Iterator[ServerSentEvent]) -> None:
        self.events = events
        assert next(events).event == "stream.open"

    def until_over(self, names: set[str]) -> dict[str, dict[str, Any]]:
        """The last status event of each of these servers, whose tests have begun just now."""
        over: dict[str, dict[str, Any]] = {}
        testing: set[str] = set()
        while over.keys() != names:
            event = next(self.events)
            if event.event != "server.status_changed":
                continue
            body = json.loads(event.data)
            data = body["data"]
            assert body["actor"]["username"] == "operator"
            if data["new_status"] == "testing":
                assert data["name"] not in testing | over.keys()
                assert data["message"] == ""
                testing.add(data["name"])
            else:
                assert data["old_status"] == "testing"
                testing.remove(data["name"])
                over[data["name"]] = data
        return over


@contextmanager
def watching(url: str, token: str) -> Iterator[Watch]:
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        connect_sse(client, "GET", url, headers=bearer(token)) as source,
    ):
        yield Watch(source.iter_sse())


def test_each_test_ends_on_the_stream_with_a_message_of_its_own(
    portal_factory: Callable[..., Portal], sshd: Sshd
) -> None:
    portal = portal_factory(SERVERS_TEST_TIMEOUT=TIMEOUT)
    portal.serve()
    portal.worker()
    operator = make_user(portal, "operator", "Operator")
    portal.shell(TRUST)
    closed, other_key = free_port(), new_host_key()
    with (
        deaf_port() as deaf,
        silent_port() as silent,
        httpx.Client(
            base_url=portal.url(), headers=bearer(operator), timeout=30, trust_env=False
        ) as api,
        watching(portal.url(STREAM), make_user(portal, "viewer", "Viewer")) as watch,
    ):
        login = {"host": "127.0.0.1", "port": sshd.port, "username": sshd.username}
        password, key = {"credential": sshd.password}, {"credential": sshd.client_key()}
        rows = {
            "password": login | password,
            "key": login | key,
            "wrong password": login | {"credential": "x" + sshd.password},
            "closed": login | password | {"port": closed},
            "changed key": login | password,
            "deaf": login | password | {"port": deaf},
            "silent": login | password | {"port": silent},
        }
        # Where a first key is accepted, all but one.
        rows = {name: row | {"environment": "lab"} for name, row in rows.items()}
        rows["first contact"] = login | password
        paths = {}
        for name, row in rows.items():
            created = api.post(SERVERS, json=row | {"name": name})
            assert created.status_code == 201, created.text
            paths[name] = f"{SERVERS}{created.json()['id']}/"
        portal.shell(SET_HOST_KEY.format(name="changed key", key=other_key))

        for path in paths.values():
            started = api.post(f"{path}test-connection/")
            assert (started.status_code, started.json()["status"]) == (202, "testing")
        over = watch.until_over(set(rows))

        place = f"127.0.0.1 port {sshd.port}"
        expected = {
            "password": ("success", f"Logged in as {sshd.username} with a password"),
            "key": ("success", f"Logged in as {sshd.username} with a private key"),
            "wrong password": (
                "failed",
                f"{place} refused the login of {sshd.username} with a password.",
            ),
            "closed": ("failed", f"Connection refused by 127.0.0.1 port {closed}"),
            "changed key": (
                "failed",
                f"The host key of {place} has changed: accepted ssh-ed25519"
                f" {fingerprint(other_key)}",
            ),
            "deaf": (
                "failed",
                f"Timed out after {TIMEOUT} s while connecting to 127.0.0.1 port {deaf}",
            ),
            "silent": ("failed", f"Timed out after {TIMEOUT} s while waiting for the SSH banner"),
            "first contact": ("failed", f"No host key of {place} has been accepted yet"),
        }
        for name, (status, words) in expected.items():
            assert over[name]["new_status"] == status, over[name]
            assert over[name]["message"].startswith(words)
            row = api.get(paths[name]).json()
            assert (row["status"], row["last_test_message"]) == (status, over[name]["message"])
            assert (row["last_test_latency"] is not None) == (status == "success")

        # The new key is looked at and accepted; that has the server tested, and now it passes.
        keys = api.get(f"{paths['changed key']}host-key/").json()
        assert keys == {
            "accepted": fingerprint(other_key),
            "offered": fingerprint(sshd.host_key("ed25519")),
        }
        body = {"fingerprint": keys["offered"]}
        assert api.post(f"{paths['changed key']}host-key/", json=body).status_code == 200
        assert watch.until_over({"changed key"})["changed key"]["new_status"] == "success"

    logs = "".join(process.read_output() for process in portal.processes)
    assert sshd.password not in logs
    assert "PRIVATE KEY" not in logs
