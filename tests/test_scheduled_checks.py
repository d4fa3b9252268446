"""Checks that nobody asks for, in real workers: begun by beat, and finished whatever is killed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servers.tests.loops import SilentListener
from servers.tests.sshd import Sshd
from tests.database import query
from tests.portal import Portal
from tests.services import free_port, wait_until

PATIENCE = 90  # seconds; must not be met

CREATE = """
from servers.models import Server
for number in range({count}):
    Server.objects.create(name="{prefix}-%03d" % number, **{values})
"""

LOSE = """
from datetime import timedelta
from django.utils import timezone
from servers.models import Lease, Server
past = timezone.now() - timedelta(hours=1)
Server.objects.filter(test_id__isnull=False).update(test_requested_at=past)
Server.objects.update(port={port})
Lease.objects.update(expires_at=past)
"""

UNDER_WAY = "SELECT count(*) FROM servers_server WHERE test_id IS NOT NULL"
MESSAGES = "SELECT name, status, last_test_message FROM servers_server"
SAMPLES = "SELECT count(*) FROM servers_sample JOIN servers_server s ON s.id = server_id"
TOLD = "SELECT count(*) FROM events_event WHERE type = 'server.status_changed' AND subject = "


@pytest.fixture
def silent() -> Iterator[SilentListener]:
    with SilentListener() as listener:
        yield listener


def create_servers(portal: Portal, prefix: str, count: int, **values: Any) -> None:
    values = {"host": "127.0.0.1", "username": "ops"} | values
    code = CREATE.format(prefix=prefix, count=count, values=values)
    portal.shell(code)


def samples(portal: Portal, name: str) -> int:
    return int(query(portal, f"{SAMPLES} WHERE s.name = '{name}'")[0][0])


def told(portal: Portal, name: str) -> int:
    """How many changes of this server's status are in the log."""
    [[key]] = query(portal, f"SELECT id FROM servers_server WHERE name = '{name}'")
    return int(query(portal, f"{TOLD} 'servers.server/{key}'")[0][0])


@pytest.mark.stack("embedded")
def test_beat_has_servers_checked_over_and_over_and_only_news_are_told(
    portal_factory: Callable[..., Portal],
) -> None:
    portal = portal_factory(SERVERS_CHECK_INTERVAL=1)
    with Sshd() as sshd:
        login = {"username": sshd.username, "credential": sshd.password}
        known = {"port": sshd.port, "host_key": sshd.host_key("ed25519")}
        create_servers(portal, "healthy", 1, **login, **known)
        create_servers(portal, "never", 1, port=sshd.port, check_interval=0)
        portal.worker()
        wait_until(lambda: samples(portal, "healthy-000") >= 2, PATIENCE, "two checks")
        assert told(portal, "healthy-000") == 2  # that it was tested first, and with success
    wait_until(lambda: told(portal, "healthy-000") >= 3, PATIENCE, "its failure")
    assert samples(portal, "never-000") == told(portal, "never-000") == 0


@pytest.mark.stack("scaled")
def test_a_worker_that_is_killed_leaves_no_server_in_its_test(
    portal_factory: Callable[..., Portal], silent: SilentListener
) -> None:
    portal = portal_factory(
        SERVERS_CHECK_INTERVAL=3600, SERVERS_TEST_TIMEOUT=50, SERVERS_CHECK_CONCURRENCY=6
    )
    create_servers(portal, "new", 3, port=silent.port)
    create_servers(portal, "healthy", 3, port=silent.port, status="success")
    create_servers(portal, "waiting", 3, port=silent.port)
    worker = portal.worker()
    wait_until(lambda: silent.taken == 6, PATIENCE, "checks under way")
    portal.kill(worker)
    assert query(portal, UNDER_WAY) == [(6,)]

    port = free_port()
    portal.shell(LOSE.format(port=port))
    worker = portal.worker()
    # What the killed one was about to check, and what it had not come to, are checked in its place.
    refused = f"Connection refused by 127.0.0.1 port {port}"
    worker.wait_until(
        lambda: all(
            message.startswith(refused)
            for name, _, message in query(portal, MESSAGES)
            if not name.startswith("new")
        ),
        PATIENCE,
        "results of all that nobody saw being tested",
    )
    worker.wait_until(lambda: query(portal, UNDER_WAY) == [(0,)], PATIENCE, "no test under way")
    statuses = {name: (status, message) for name, status, message in query(portal, MESSAGES)}
    assert {status for status, _ in statuses.values()} == {"failed"}
    assert "No worker reported a result" in statuses["new-000"][1]
    # That a check was lost is not told as news of a healthy server.
    assert told(portal, "healthy-000") == 1


@pytest.mark.stack("embedded")
def test_a_worker_that_is_told_to_end_waits_for_the_checks_under_way_and_begins_none(
    portal_factory: Callable[..., Portal], silent: SilentListener
) -> None:
    portal = portal_factory(
        SERVERS_CHECK_INTERVAL=3600, SERVERS_TEST_TIMEOUT=2, SERVERS_CHECK_CONCURRENCY=2
    )
    create_servers(portal, "silent", 60, port=silent.port)  # a minute's work
    worker = portal.worker()
    wait_until(lambda: silent.taken >= 2, PATIENCE, "checks under way")
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    assert query(portal, UNDER_WAY) == [(0,)]
    results = [message for _, status, message in query(portal, MESSAGES) if status == "failed"]
    assert len(results) == silent.taken
    assert all("Timed out" in message for message in results)
