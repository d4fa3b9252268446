"""Notifications in real workers, to real receivers: each once, whenever a worker is killed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from incidents.tests.receivers import LOOPBACK, Hooks, Mail
from tests.portal import Portal
from tests.readers import bearer, make_user
from tests.services import wait_until

pytestmark = pytest.mark.stack("scaled")  # its waits are long, and its races are the database's

PATIENCE = 60  # seconds; must not be met
CHANNELS = "/api/v1/notification-channels/"
NOTIFICATIONS = "/api/v1/notifications/"

# What waits for its next attempt, or for the end of a dead worker's claim, is let wait no longer.
HURRY = """
from datetime import timedelta
from django.utils import timezone
from incidents.models import Notification
past = timezone.now() - timedelta(seconds=1)
print("ROWS", Notification.objects.filter(state={state!r}).update(next_attempt_at=past))
"""


@pytest.fixture
def portal(portal_factory: Callable[..., Portal]) -> Portal:
    return portal_factory(NOTIFICATIONS_ALLOWED_NETWORKS=",".join(LOOPBACK))


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[Mail]:
    with Mail() as server:
        yield server


class Office:
    """An admin at a portal's API."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        portal.serve()
        headers = bearer(make_user(portal, "admin", "Admin"))
        self.api = httpx.Client(base_url=portal.url(), headers=headers, timeout=30, trust_env=False)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self.api.post(path, json=body or {})
        assert answer.is_success, answer.text
        return answer.json()

    def channel(self, name: str, kind: str, url: str) -> dict[str, Any]:
        made: dict[str, Any] = self.post(CHANNELS, {"name": name, "kind": kind, "url": url})
        return made

    def open_incident(self) -> int:
        made = self.post("/api/v1/incidents/", {"title": "Disk full", "severity": "high"})
        return int(made["id"])

    def notifications(self) -> dict[str, dict[str, Any]]:
        """By channel."""
        answer = self.api.get(NOTIFICATIONS, params={"mine": "false"})
        return {row["channel"]: row for row in answer.raise_for_status().json()["results"]}

    def wait_for(self, what: str, test: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        wait_until(lambda: test(self.notifications()), PATIENCE, what)

    def wait_for_state(self, channel: str, state: str, attempts: int) -> None:
        def reached(rows: dict[str, dict[str, Any]]) -> bool:
            row = rows.get(channel, {})
            return (row.get("state"), row.get("attempts")) == (state, attempts)

        self.wait_for(f"{channel} is {state} after {attempts} attempts", reached)

    def hurry(self, state: str) -> None:
        printed = self.portal.shell(HURRY.format(state=state))
        assert "ROWS 1" in printed


@pytest.fixture
def office(portal: Portal) -> Iterator[Office]:
    made = Office(portal)
    with made.api:
        yield made


@pytest.mark.timeout(300)
def test_each_is_delivered_once_though_workers_are_killed_between_the_attempts(
    office: Office, hooks: Hooks, mail: Mail
) -> None:
    """The mail server accepts at once; the webhook's fails twice, and its worker is killed after
    each failure."""
    hooks.answers = [500, 503]
    secret = office.channel("hook", "webhook", hooks.url())["secret"]
    office.channel("mail", "apprise", mail.url())
    worker = office.portal.worker()
    incident = office.open_incident()
    office.wait_for_state("mail", "sent", 1)
    for attempt in (1, 2):
        office.wait_for_state("hook", "queued", attempt)
        office.portal.kill(worker)
        office.hurry("queued")
        worker = office.portal.worker()
    office.wait_for_state("hook", "sent", 3)
    payloads = [call.verified(secret) for call in hooks.calls]
    assert len(payloads) == 3
    assert {call.key for call in hooks.calls} == {hooks.calls[0].key}
    assert {json.dumps(payload, sort_keys=True) for payload in payloads} == {
        json.dumps(payloads[0], sort_keys=True)
    }
    assert payloads[0]["type"] == "incident.created"
    assert payloads[0]["data"]["id"] == incident
    assert [message["Subject"] for message in mail.messages] == ["[HIGH] Disk full"]
    timeline = office.api.get(f"/api/v1/incidents/{incident}/timeline/").json()["results"]
    told = [(row["type"], row["data"].get("channel")) for row in timeline]
    assert sorted(told) == [
        ("incident.created", None),
        ("notification.sent", "hook"),
        ("notification.sent", "mail"),
    ]
    logs = "".join(process.read_output() for process in office.portal.processes)
    assert Mail.password not in logs
    assert secret not in logs


@pytest.mark.timeout(300)
def test_what_a_killed_worker_had_begun_is_sent_by_the_next(office: Office, hooks: Hooks) -> None:
    """The receiver never answered: from outside that is no delivery, and the key is the same."""
    hooks.hold = threading.Event()
    office.channel("hook", "webhook", hooks.url())
    worker = office.portal.worker()
    office.open_incident()
    wait_until(hooks.arrived.is_set, PATIENCE, "the first attempt")
    office.portal.kill(worker)
    hooks.hold.set()
    office.wait_for_state("hook", "sending", 1)
    hooks.hold = None
    office.hurry("sending")
    office.portal.worker()
    office.wait_for_state("hook", "sent", 2)
    assert len({call.key for call in hooks.calls}) == 1
    assert len(hooks.calls) == 2


@pytest.mark.timeout(300)
def test_what_was_handled_before_its_worker_was_killed_is_sent_once_and_not_handled_again(
    office: Office, hooks: Hooks
) -> None:
    """The row is there and its job is lost, as with a worker that is killed before the send."""
    office.channel("hook", "webhook", hooks.url())
    code = (
        "from events.delivery import run; from incidents import deliveries;"
        "deliveries._hand_over = lambda pk, **_: None;"
        "run('incidents.notifications')"
    )
    office.portal.shell(code)  # which places it at the head
    office.open_incident()

    def handled() -> bool:
        office.portal.shell(code)
        return "hook" in office.notifications()

    wait_until(handled, PATIENCE, "the event is handled")
    assert office.notifications()["hook"]["state"] == "queued"
    assert hooks.calls == []
    office.portal.worker()
    office.wait_for_state("hook", "sent", 1)
    assert len(hooks.calls) == 1
    assert len(office.notifications()) == 1


@pytest.mark.timeout(300)
def test_two_workers_send_each_once(office: Office, hooks: Hooks) -> None:
    office.channel("hook", "webhook", hooks.url())
    for _ in range(2):
        office.portal.worker()
    path = f"{CHANNELS}{office.api.get(CHANNELS).json()['results'][0]['id']}/test/"
    wanted = {office.post(path)["id"] for _ in range(20)}

    def sent() -> set[int]:
        answer = office.api.get(NOTIFICATIONS, params={"state": "sent"}).json()
        return {row["id"] for row in answer["results"]}

    wait_until(lambda: sent() == wanted, PATIENCE, "all tests are sent")
    assert len(hooks.calls) == len({call.key for call in hooks.calls}) == 20
