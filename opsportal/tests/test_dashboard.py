"""The dashboard's figures: right, of one moment, and for whoever may view them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.catalogue import catalogue
from events.models import Event
from events.subscriptions import matches
from servers.models import Environment, Server
from servers.stats import stats
from servers.tests.cast import Person, create_server, place_events

pytestmark = pytest.mark.django_db

STATS = "/api/v1/dashboard/stats/"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOTHING: dict[str, Any] = {
    "total": 0,
    "by_status": {"unknown": 0, "testing": 0, "success": 0, "failed": 0},
    "by_environment": {},
    "tested": 0,
    "failing": 0,
    "oldest_test_at": None,
}


NO_INCIDENTS: dict[str, Any] = {
    "open": 0,
    "unacknowledged": 0,
    "open_by_severity": {"critical": 0, "high": 0, "medium": 0, "low": 0},
    "opened": 0,
    "resolved": 0,
    "mean_time_to_acknowledge": None,
    "mean_time_to_resolve": None,
}


NO_RUNS: dict[str, Any] = {
    "queued": 0,
    "running": 0,
    "completed": 0,
    "failed": 0,
    "cancelled": 0,
    "mean_duration": None,
}
ALL_EMPTY = {"servers": NOTHING, "incidents": NO_INCIDENTS, "automation": NO_RUNS}


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    cache.clear()


@pytest.fixture
def inventory(environment: Environment) -> dict[str, Any]:
    """Servers in every state; returns their figures."""
    success, failed = Server.Status.SUCCESS, Server.Status.FAILED
    create_server("a", status=success, last_tested_at=NOON, environment=environment)
    create_server("b", status=failed, last_tested_at=NOON - timedelta(hours=1))
    create_server("c", status=failed, last_tested_at=NOON, environment=environment)
    create_server("d", status=Server.Status.TESTING, last_tested_at=NOON - timedelta(hours=2))
    create_server("e")
    return {
        "total": 5,
        "by_status": {"unknown": 1, "testing": 1, "success": 1, "failed": 2},
        "by_environment": {"": 3, "production": 2},
        "tested": 4,
        "failing": 2,
        "oldest_test_at": NOON - timedelta(hours=2),
    }


def test_the_figures_are_those_of_the_inventory(inventory: dict[str, Any]) -> None:
    assert stats() == inventory


def test_an_empty_inventory_has_figures_too(db: None) -> None:
    assert stats() == NOTHING


def test_the_figures_are_of_one_moment(inventory: dict[str, Any]) -> None:
    with CaptureQueriesContext(connection) as queries:
        stats()
    assert len(queries) == 1


def test_a_viewer_gets_the_servers_figures(viewer: Person, inventory: dict[str, Any]) -> None:
    response = viewer.call("get", STATS)
    assert response.status_code == 200
    assert response["X-Deduplicated"] == "leader"
    assert response.json() == {
        "servers": inventory | {"oldest_test_at": "2026-11-23T10:00:00Z"},
        "incidents": NO_INCIDENTS,
        "automation": NO_RUNS,
    }


@pytest.mark.parametrize("role", ["responder", "operator", "admin"])
def test_so_do_all_roles(role: str, people: dict[str, Person]) -> None:
    assert people[role].call("get", STATS).json() == ALL_EMPTY


def test_each_domain_is_for_whoever_may_view_it(outsider: Person) -> None:
    for codename, told in (
        ("view_incident", {"incidents": NO_INCIDENTS}),
        ("view_run", {"automation": NO_RUNS}),
        ("view_automation", {}),
    ):
        outsider.user.user_permissions.set([Permission.objects.get(codename=codename)])
        assert outsider.call("get", STATS).json() == told


def test_an_outsider_gets_nothing_even_after_a_viewer(viewer: Person, outsider: Person) -> None:
    viewer.call("get", STATS)
    response = outsider.call("get", STATS)
    assert response.status_code == 200
    assert response.json() == {}
    assert viewer.call("get", STATS).json() == ALL_EMPTY


def test_a_viewer_without_the_right_any_more_gets_nothing(viewer: Person) -> None:
    assert viewer.call("get", STATS).json()
    viewer.user.groups.clear()
    assert viewer.call("get", STATS).json() == {}


def test_anonymous_callers_are_refused(viewer: Person, anonymous: Person) -> None:
    viewer.call("get", STATS)
    assert anonymous.call("get", STATS).status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_it_can_only_be_read(method: str, admin: Person) -> None:
    assert admin.call("head", STATS).status_code == 200
    assert admin.call(method, STATS, {}).status_code == 405


def test_its_cursor_is_from_before_its_figures(
    viewer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = place_events()

    def changed_meanwhile() -> dict[str, Any]:
        create_server("a")
        assert place_events() > head
        return stats()

    domain = replace(catalogue.domains["servers"], compute=changed_meanwhile)
    monkeypatch.setitem(catalogue.domains, "servers", domain)
    response = viewer.call("get", STATS)
    assert int(response["X-Event-Cursor"]) == head
    assert json.loads(response.content)["servers"]["total"] == 1


@pytest.mark.parametrize("name", sorted(catalogue.domains))
def test_what_is_pushed_is_what_it_answers(
    name: str, viewer: Person, inventory: dict[str, Any]
) -> None:
    catalogue.subscribers[f"stats.{name}"].handle()
    event = Event.objects.get(type="stats.updated")
    assert event.data == {"domain": name, "stats": viewer.call("get", STATS).json()[name]}
    assert event.audience == [catalogue.domains[name].permission]


@pytest.mark.parametrize(
    ("event_type", "domains"),
    [
        ("server.created", {"servers"}),
        ("server.status_changed", {"servers"}),
        ("environment.updated", {"servers"}),
        ("incident.deleted", {"incidents"}),
        ("automation.queued", {"automation"}),
        ("automation.cancelled", {"automation"}),
        ("automation.target_changed", set()),
        ("log.added", set()),
        ("notification.sent", set()),
        ("stats.updated", set()),
    ],
)
def test_figures_follow_the_events_of_their_domain(event_type: str, domains: set[str]) -> None:
    summaries = [each for each in catalogue.subscribers.values() if each.name.startswith("stats.")]
    found = {each.name for each in summaries if matches(each.types, event_type)}
    assert found == {f"stats.{name}" for name in domains}
