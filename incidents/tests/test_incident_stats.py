"""The figures of incidents: right, of one moment, and for whoever may view them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from incidents import services
from incidents.models import Incident
from incidents.stats import stats
from incidents.tests.cast import INCIDENTS, age, create_incident
from servers.tests.cast import EVERYBODY, Person

pytestmark = pytest.mark.django_db

STATS = f"{INCIDENTS}stats/"
DASHBOARD = "/api/v1/dashboard/stats/"
DAY = 24 * 60  # minutes
NOTHING: dict[str, Any] = {
    "open": 0,
    "unacknowledged": 0,
    "open_by_severity": {"critical": 0, "high": 0, "medium": 0, "low": 0},
    "opened": 0,
    "resolved": 0,
    "mean_time_to_acknowledge": None,
    "mean_time_to_resolve": None,
}


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    cache.clear()


@pytest.fixture
def incidents() -> dict[str, Any]:
    """Incidents of every kind; returns the figures of the last 30 days."""
    create_incident(severity="critical")
    age(create_incident(severity="critical"), created=40 * DAY)
    age(create_incident(status="acknowledged", severity="low"), created=20, acknowledged=10)
    age(create_incident(status="resolved"), created=60, acknowledged=40, resolved=30)
    age(create_incident(status="closed"), created=31 * DAY, acknowledged=90, resolved=60, closed=0)
    # Of a period before, and one that was opened again: its times of before count no more.
    old = {"created": 80 * DAY, "acknowledged": 79 * DAY, "resolved": 78 * DAY, "closed": 78 * DAY}
    age(create_incident(status="closed"), **old)
    again = create_incident(status="closed", severity="high")
    services.transition_to(again, "open", None)
    services.transition_to(again, "acknowledged", None)
    age(again, created=80 * DAY, reopened=10, acknowledged=4)
    return {
        "open": 4,
        "unacknowledged": 2,
        "open_by_severity": {"critical": 2, "high": 1, "medium": 0, "low": 1},
        "opened": 3,
        "resolved": 2,
        "mean_time_to_acknowledge": mean(10, 20, 31 * DAY - 90, 6),
        "mean_time_to_resolve": mean(30, 31 * DAY - 60),
    }


def mean(*minutes: float) -> Any:
    return pytest.approx(sum(minutes) * 60 / len(minutes), abs=0.01)


def test_the_figures_are_those_of_the_incidents(incidents: dict[str, Any]) -> None:
    assert stats() == incidents


def test_the_period_is_what_is_asked_for(incidents: dict[str, Any], viewer: Person) -> None:
    short = viewer.call("get", f"{STATS}?days=1").json()
    assert short == stats(timedelta(days=1))
    assert (short["opened"], short["resolved"]) == (3, 2)
    assert viewer.call("get", f"{STATS}?days=60").json()["opened"] == 5
    assert viewer.call("get", f"{STATS}?days=90").json()["resolved"] == 3
    assert viewer.call("get", STATS).json() == incidents


def test_without_incidents_there_are_figures_too() -> None:
    assert stats() == NOTHING


def test_the_figures_are_of_one_moment(incidents: dict[str, Any]) -> None:
    with CaptureQueriesContext(connection) as queries:
        stats()
    assert len(queries) == 1


def refused(person: Person, path: str) -> Any:
    """These views have no transaction of their own, and an error rolls back the test's."""
    with transaction.atomic():
        return person.call("get", path)


@pytest.mark.parametrize("days", ["0", "-1", "367", "1.5", "many", "9" * 5000, "1%00"])
def test_a_wrong_period_is_refused_and_not_kept(viewer: Person, days: str) -> None:
    for _ in range(2):
        response = refused(viewer, f"{STATS}?days={days}")
        assert response.status_code == 400
        assert list(response.json()["errors"]) == ["days"]
    assert viewer.call("get", STATS).status_code == 200


@pytest.mark.parametrize("name", EVERYBODY)
def test_they_are_for_whoever_may_view_incidents(people: dict[str, Person], name: str) -> None:
    people["admin"].call("get", STATS)
    status = {"outsider": 403, "anonymous": 401}.get(name, 200)
    if status != 200:
        assert refused(people[name], STATS).status_code == status
    if name != "anonymous":
        assert ("incidents" in people[name].call("get", DASHBOARD).json()) == (status == 200)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_they_can_only_be_read(method: str, admin: Person) -> None:
    assert admin.call(method, STATS, {}).status_code == 405


def test_those_of_the_same_rights_share_them_for_a_moment(viewer: Person, operator: Person) -> None:
    assert viewer.call("get", STATS)["X-Deduplicated"] == "leader"
    Incident(title="Not seen yet").save()
    second = viewer.call("get", STATS)
    assert (second["X-Deduplicated"], second.json()["open"]) == ("cached", 0)
    assert viewer.call("get", f"{STATS}?days=7")["X-Deduplicated"] == "leader"
    other = operator.call("get", STATS)
    assert (other["X-Deduplicated"], other.json()["open"]) == ("leader", 1)


def test_the_dashboard_tells_the_same(incidents: dict[str, Any], viewer: Person) -> None:
    assert viewer.call("get", DASHBOARD).json()["incidents"] == incidents
