"""`/metrics`: to whom it is shown, and that it is what Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from events import metrics
from events.models import ProcessReport
from events.reports import LIFETIME, reporter
from servers.tests.cast import Person, authorization_of
from tests.plugin import Services
from tests.portal import Portal, Web
from tests.services import ROOT

FAR = "192.0.2.7"
HUB = {
    "streams": 12,
    "users": 3,
    "head": 107,
    "lag": 7,
    "ring": {"start": 90, "end": 100, "events": 10, "bytes": 2048, "oldest": None},
    "repaired_at": "2026-11-23T09:00:00.000000Z",
    "draining": True,
}
# On one stack: what is shown is the same on every database.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.stack("embedded")]


def ask(address: str = "127.0.0.1", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(REMOTE_ADDR=address).get("/metrics", headers=named)


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(text: str, name: str, **labels: str) -> list[float]:
    """The values of the samples of this name that have these labels."""
    samples = [sample for family in families(text).values() for sample in family.samples]
    return [
        sample.value
        for sample in samples
        if sample.name == f"opsportal_events_{name}" and labels.items() <= sample.labels.items()
    ]


@pytest.fixture
def other() -> ProcessReport:
    """The report of another process, ten seconds old."""
    moment = timezone.now() - timedelta(seconds=10)
    known: dict[str, Any] = {
        "appended": {"": 41},
        "resets": {"retention": 2, "unknown_cursor": 1},
        "relay_lag_seconds": {"bounds": [0.1, 1.0], "counts": [3, 2, 1], "sum": 9.5},
    }
    return ProcessReport.objects.create(  # type: ignore[misc]
        process="elsewhere:17:1795470000",
        started_at=moment,
        reported_at=moment,
        report={"kind": "web", "hub": HUB, "metrics": metrics.snapshot() | known},
    )


def person(*, staff: bool) -> User:
    return User.objects.create(username="someone", is_staff=staff)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_a_caller_on_this_machine_needs_no_credentials(address: str) -> None:
    assert ask(address).status_code == 200


@pytest.mark.parametrize("address", [FAR, "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7", "", "x"])
def test_an_anonymous_caller_elsewhere_is_shown_nothing(address: str) -> None:
    response = ask(address)
    assert response.status_code == 401
    assert set(response.json()) == {"detail"}
    assert b"opsportal_events" not in response.content


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via"],
)
def test_a_proxy_on_this_machine_opens_it_to_nobody(header: str) -> None:
    response = ask("127.0.0.1", **{header: "127.0.0.1"})
    assert response.status_code == 401
    assert b"opsportal_events" not in response.content


@pytest.mark.parametrize(("staff", "status"), [(True, 200), (False, 403)])
def test_elsewhere_it_is_for_staff_by_token(staff: bool, status: int) -> None:
    response = ask(FAR, Authorization=authorization_of(person(staff=staff)))
    assert response.status_code == status


@pytest.mark.parametrize(("staff", "status"), [(True, 200), (False, 403)])
def test_elsewhere_it_is_for_staff_by_session(staff: bool, status: int) -> None:
    client = Client(REMOTE_ADDR=FAR)
    client.force_login(person(staff=staff))
    assert client.get("/metrics").status_code == status


def test_elsewhere_a_bad_token_is_refused() -> None:
    assert ask(FAR, Authorization="Bearer nonsense").status_code == 401


@pytest.mark.parametrize(
    "accept", ["", "text/plain;version=0.0.4", "application/openmetrics-text;q=0.9,*/*;q=0.1"]
)
def test_it_is_prometheus_text_whatever_is_accepted(accept: str) -> None:
    response = ask(Accept=accept)
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert families(response.content.decode())


def test_every_metric_has_its_prefix_and_its_help(other: ProcessReport) -> None:
    """And there is one for everything that is counted."""
    found = families(ask().content.decode())
    assert all(name.startswith("opsportal_events_") for name in found)
    assert all(family.documentation for family in found.values())
    counted = {metric.name for metric in (*metrics.COUNTERS, *metrics.HISTOGRAMS)}
    assert {f"opsportal_events_{name}" for name in counted} <= set(found)


def test_every_metric_is_documented(other: ProcessReport) -> None:
    text = (ROOT / "docs/operations.md").read_text()
    for name, family in families(ask().content.decode()).items():
        short = name.removeprefix("opsportal_events_")
        suffix = "_total" if family.type == "counter" else ""
        assert f"`{short}{suffix}`" in text, short


def test_the_numbers_of_this_process_are_those_of_now() -> None:
    before = values(ask().content.decode(), "appended_total", process=reporter.process)
    metrics.appended.add(5)
    after = values(ask().content.decode(), "appended_total", process=reporter.process)
    assert after == [before[0] + 5]


def test_another_process_is_as_it_reported_itself(other: ProcessReport) -> None:
    text = ask().content.decode()

    def told(name: str, **labels: str) -> list[float]:
        return values(text, name, process=other.process, **labels)

    assert told("streams") == [12]
    assert told("stream_users") == [3]
    assert told("lag_events") == [7]
    assert told("ring_bytes") == [2048]
    assert told("draining") == [1]
    assert told("last_repair_timestamp_seconds") == [1795424400]
    assert told("ring_span_seconds") == []  # an empty ring has none
    assert told("appended_total") == [41]
    assert told("resets_total", reason="retention") == [2]
    assert told("resets_total", reason="unknown_cursor") == [1]
    (age,) = told("report_age_seconds", kind="web")
    assert age >= 10


def test_a_histogram_is_cumulated(other: ProcessReport) -> None:
    text = ask().content.decode()
    name = "relay_lag_seconds"
    bounds = {"0.1": 3, "1.0": 5, "+Inf": 6}
    for bound, count in bounds.items():
        assert values(text, f"{name}_bucket", process=other.process, le=bound) == [count]
    assert values(text, f"{name}_count", process=other.process) == [6]
    assert values(text, f"{name}_sum", process=other.process) == [9.5]


def test_a_process_of_another_version_may_not_know_a_metric(other: ProcessReport) -> None:
    del other.report["metrics"]["appended"]
    other.save()
    text = ask().content.decode()
    assert values(text, "appended_total", process=other.process) == []
    assert values(text, "streams", process=other.process) == [12]


HUB_KEYS = {
    "streams": "streams",
    "users": "stream_users",
    "head": "head_position",
    "lag": "lag_events",
    "ring": "ring_bytes",
    "repaired_at": "last_repair_timestamp_seconds",
    "draining": "draining",
}


@pytest.mark.parametrize(("key", "name"), HUB_KEYS.items())
def test_a_hub_of_another_version_may_lack_a_number(
    other: ProcessReport, key: str, name: str
) -> None:
    other.report["hub"] = {k: value for k, value in HUB.items() if k != key} | {"unheard": {}}
    other.save()
    text = ask().content.decode()
    gone = {name} | ({"ring_events", "ring_span_seconds"} if key == "ring" else set())
    for shown in HUB_KEYS.values():
        assert bool(values(text, shown, process=other.process)) is (shown not in gone), shown


def test_a_worker_has_counters_and_no_streams(other: ProcessReport) -> None:
    other.report |= {"kind": "worker", "hub": None}
    other.save()
    text = ask().content.decode()
    assert values(text, "streams", process=other.process) == []
    assert values(text, "appended_total", process=other.process) == [41]


def test_a_process_that_reports_no_more_is_gone(other: ProcessReport) -> None:
    other.reported_at = timezone.now() - LIFETIME - timedelta(seconds=1)
    other.save()
    assert other.process not in ask().content.decode()


def test_the_own_report_is_not_shown_beside_the_live_one(other: ProcessReport) -> None:
    other.process = reporter.process
    other.save(force_insert=True)
    assert len(values(ask().content.decode(), "appended_total", process=reporter.process)) == 1


def test_a_scraper_on_this_machine_is_not_sent_to_https(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert ask().status_code == 200
    assert Client().get("/login/").status_code == 301


def test_no_endpoint_of_the_api_is_it(admin: Person) -> None:
    assert admin.call("get", "/api/v1/metrics").status_code == 404
    assert "/metrics" not in admin.call("get", "/api/v1/schema/").content.decode()


@contextmanager
def database_taken_away(portal: Portal, stack: str, services: Services) -> Iterator[None]:
    url = portal.environment["DATABASE_URL"]
    if stack == "embedded":
        Path(url.removeprefix("sqlite:///")).write_bytes(b"no database" * 1000)
        yield
    else:
        name = url.rpartition("/")[2]
        services.postgres.drop_database(name)
        yield
        services.postgres.create_database(name)


def scrape(web: Web, **headers: str) -> httpx.Response:
    return httpx.get(web.url("/metrics"), headers=headers, trust_env=False, timeout=30)


@pytest.fixture
def web(portal: Portal) -> Web:
    """A web process whose hub is at work."""
    web = portal.serve()
    web.wait_until(lambda: values(scrape(web).text, "streams") == [0], 20, "its hub is at work")
    return web


def test_behind_the_real_server_a_forwarded_address_opens_it_to_nobody(web: Web) -> None:
    """That server takes the client's address from the header."""
    assert scrape(web, **{"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_without_a_database_it_has_the_numbers_of_this_process(
    portal: Portal, web: Web, stack: str, services: Services
) -> None:
    with database_taken_away(portal, stack, services):
        response = scrape(web)
        portal.kill(web)  # which would wait for its database
    assert response.status_code == 200
    assert values(response.text, "streams") == [0]
