"""Automatic incidents, all of the way: a real sshd that fails, the checks, workers, the API."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from servers.tests.sshd import Sshd
from tests.portal import Portal
from tests.readers import bearer, make_user
from tests.services import wait_until

PATIENCE = 90  # seconds; must not be met

pytestmark = pytest.mark.stack("embedded")  # its waits are long

SET_UP = """
from incidents.models import AutomaticIncidents
from servers.models import Environment
Environment.objects.create(name="lab", accept_new_host_keys=True)
AutomaticIncidents.objects.create(pk=1, failures=2, recovery={recovery})
"""
SHORTEN = """
from incidents.models import AutomaticIncidents
AutomaticIncidents.objects.update(recovery=1)
"""


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


def stop(sshd: Sshd) -> None:
    assert sshd.process
    sshd.process.send_signal(signal.SIGKILL)
    sshd.process.wait()


def start(sshd: Sshd) -> None:
    """Again, on the same port."""
    command = [sshd.binary, "-D", "-e", "-f", str(sshd.directory / "sshd_config")]
    with (sshd.directory / "log").open("ab") as log:
        sshd.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


class Desk:
    """What an operator sees of a portal."""

    def __init__(self, api: httpx.Client) -> None:
        self.api = api

    def get(self, path: str) -> Any:
        return self.api.get(f"/api/v1/{path}").raise_for_status().json()

    def incidents(self) -> list[dict[str, Any]]:
        return list(self.get("incidents/")["results"])

    def notes(self, incident: dict[str, Any]) -> list[str]:
        told = self.get(f"incidents/{incident['id']}/timeline/?page_size=500")["results"]
        return [each["data"]["text"] for each in told if each["type"] == "incident.commented"]

    def wait_for_status(self, server: int, status: str) -> None:
        path = f"servers/{server}/"
        wait_until(lambda: self.get(path)["status"] == status, PATIENCE, f"a {status}")

    def wait_for_incident(self, status: str) -> dict[str, Any]:
        """The only one."""

        def found() -> dict[str, Any] | None:
            incidents = self.incidents()
            assert len(incidents) <= 1
            return next((row for row in incidents if row["status"] == status), None)

        return wait_until(found, PATIENCE, f"an incident that is {status}") or {}


@pytest.mark.timeout(300)
def test_a_server_that_fails_recovers_and_fails_again_has_one_incident(
    portal_factory: Callable[..., Portal], sshd: Sshd
) -> None:
    portal = portal_factory(SERVERS_CHECK_INTERVAL=1, SERVERS_TEST_TIMEOUT=5)
    portal.shell(SET_UP.format(recovery=3600))
    portal.serve()
    worker = portal.worker()
    token = make_user(portal, "operator", "Operator")
    options: dict[str, Any] = {"base_url": portal.url(), "timeout": 30, "trust_env": False}
    with httpx.Client(headers=bearer(token), **options) as api:
        desk = Desk(api)
        login = {"host": "127.0.0.1", "port": sshd.port, "username": sshd.username}
        body = login | {"name": "web-01", "credential": sshd.client_key(), "environment": "lab"}
        created = api.post("/api/v1/servers/", json=body)
        assert created.status_code == 201, created.text
        server = created.json()["id"]
        desk.wait_for_status(server, "success")
        assert desk.incidents() == []

        stop(sshd)
        incident = desk.wait_for_incident("open")
        assert (incident["automatic"], incident["servers"]) == (True, ["web-01"])
        assert "Connection refused" in incident["description"]
        portal.kill(worker)
        portal.worker()
        wait_until(lambda: desk.notes(incident), PATIENCE, "a note of a further failure")

        start(sshd)
        desk.wait_for_status(server, "success")
        stop(sshd)
        again = "Check 1 in a row failed"
        wait_until(
            lambda: any(again in text for text in desk.notes(incident)), PATIENCE, "a new count"
        )
        assert desk.wait_for_incident("open")["id"] == incident["id"]

        start(sshd)
        desk.wait_for_status(server, "success")
        portal.shell(SHORTEN)
        resolved = desk.wait_for_incident("resolved")
        assert resolved["time_to_resolve"] > 0
        counts = [int(text.split()[1]) for text in desk.notes(incident)]
        anew = counts.index(1)
        # Of failures that say the same, the 4th, 8th and so on are noted: each once, in order,
        # whatever was killed.
        assert counts[:anew] == [4 * 2**number for number in range(anew)]
        assert counts[anew:] == [2**number for number in range(len(counts) - anew)]
