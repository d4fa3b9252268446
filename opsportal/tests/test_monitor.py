"""What the staff sees of processes, also of those that run another version."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from events.models import ProcessReport
from events.reports import recent
from opsportal import monitor

API = "/api/v1/events/processes/"
PAGE = "/streams/"
RING = {
    "start": 90,
    "end": 100,
    "events": 10,
    "bytes": 2048,
    "oldest": "2026-11-23T09:00:00.000000Z",
}
HUB = {
    "streams": 12,
    "users": 1,
    "by_user": [{"username": "bob", "streams": 12}],
    "head": 107,
    "lag": 7,
    "ring": RING,
    "repaired_at": "2026-11-23T09:00:00.000000Z",
    "draining": True,
}
KEYS: list[tuple[str, ...]] = [*((key,) for key in HUB), *(("ring", key) for key in RING)]
# On one stack: what is shown is the same on every database.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.stack("embedded")]


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="alice", is_staff=True))
    return client


def report(hub: dict[str, Any]) -> None:
    moment = timezone.now()
    ProcessReport.objects.create(  # type: ignore[misc]
        process="elsewhere:17:1795470000",
        started_at=moment,
        reported_at=moment,
        report={"kind": "web", "hub": hub, "metrics": {}},
    )


def without(path: tuple[str, ...], tree: Any) -> dict[str, Any]:
    key, *rest = path
    kept = {name: value for name, value in tree.items() if name != key}
    return kept | ({key: without(tuple(rest), tree[key])} if rest else {})


def shown(client: Client) -> dict[str, Any]:
    """The only process that the API shows, while the page and the metrics show it too."""
    page = client.get(PAGE)
    assert page.status_code == 200
    assert "elsewhere:17:1795470000" in page.content.decode()
    assert "None" not in page.content.decode()
    assert client.get("/metrics").status_code == 200
    answer = client.get(API)
    assert answer.status_code == 200
    [process] = answer.json()
    return dict(process)


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_what_another_version_does_not_tell_is_null(staff: Client, path: tuple[str, ...]) -> None:
    report(without(path, HUB))
    process = shown(staff)
    hub = process["hub"]
    assert (hub if len(path) == 1 else hub["ring"])[path[-1]] is None
    assert without(path, hub) == without(path, HUB)
    assert process["state"] == ("running" if path == ("draining",) else "draining")


def test_what_only_another_version_tells_is_not_shown(staff: Client) -> None:
    report({**HUB, "unheard": {"of": 1}, "ring": {**RING, "unheard": 9}})
    assert shown(staff)["hub"] == HUB


@pytest.mark.parametrize("path", [API, PAGE])
def test_who_looks_takes_no_transaction(
    staff: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which on SQLite would hold up everybody who writes."""
    seen: list[bool] = []

    def look() -> Any:
        seen.append(connection.in_atomic_block)
        return recent()

    monkeypatch.setattr(monitor, "recent", look)
    assert staff.get(path).status_code == 200
    assert seen == [False]
