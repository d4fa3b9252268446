"""The start page as the server renders it: for whom, of which moment, and with how many queries."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from automation.models import Run
from automation.tests.making import create_run, end
from events.api import emit
from events.models import Event
from incidents.tests.cast import create_incident
from incidents.tests.making import grant
from opsportal import overview
from opsportal.panels import Panel
from opsportal.sentences import SENTENCES
from servers import maintenance
from servers.models import Server
from servers.tests.cast import Person, create_server, place_events
from servers.tests.outcomes import after_test

pytestmark = pytest.mark.django_db


def page_of(person: Person) -> Any:
    """The response."""
    browser = Client()
    if person.user:
        browser.force_login(person.user)
    return browser.get("/")


def content_of(person: Person) -> str:
    response = page_of(person)
    assert response.status_code == 200
    text: str = response.content.decode()
    return text


def embedded(text: str, name: str) -> Any:
    """The JSON of this name in a page."""
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', text)
    assert found, name
    return json.loads(found[1])


def failing_server(name: str) -> Server:
    return after_test(create_server(name), success=False, message="Connection refused.")


def test_who_is_not_logged_in_goes_to_the_login(anonymous: Person) -> None:
    response = page_of(anonymous)
    assert (response.status_code, response["Location"]) == (302, "/login/?next=/")


def test_a_login_leads_here(viewer: Person) -> None:
    viewer.user.set_password("secret")
    viewer.user.save()
    body = {"username": "viewer", "password": "secret"}
    assert Client().post("/login/", body)["Location"] == "/"


def test_who_may_see_nothing_is_told_so_and_shown_nothing(outsider: Person) -> None:
    failing_server("web-01")
    create_incident("Disk full")
    create_run(create_server("web-02"), reason="Weekly")
    place_events()
    text = content_of(outsider)
    assert "Welcome, outsider" in text
    tiles = ("servers-tile", "incidents-tile", "automation-tile", "activity")
    for secret in ("web-01", "Disk full", "Run 0", "Weekly", *tiles):
        assert secret not in text


@pytest.mark.parametrize(
    ("right", "types", "seen"),
    [
        ("servers.view_server", "server.", "web-01"),
        ("incidents.view_incident", "incident.", "Disk full"),
        ("automation.view_run", "automation.queued", "Run 0"),
    ],
)
def test_only_the_domains_that_one_may_view_appear(
    outsider: Person, right: str, types: str, seen: str
) -> None:
    """In the panels, in the feed and in what is meant for the scripts."""
    grant(outsider, right)
    create_run(failing_server("web-01"))
    create_incident("Disk full")
    place_events()
    text = content_of(outsider)
    assert text.count(seen) >= 2
    for unseen in {"web-01", "Disk full", "Run 0"} - {seen}:
        assert unseen not in text
    told = Event.objects.filter(type__startswith=types).count()
    assert embedded(text, "activity-counts")["total"] == told


def test_the_cursor_is_from_before_the_state(
    viewer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> dict[str, Any]:
        create_server("web-01")
        place_events()
        return {}

    head = place_events()
    panel = Panel("servers", "servers.view_server", interrupted)
    monkeypatch.setattr(overview, "PANELS", [panel])
    monkeypatch.setattr(Panel, "tiles", "opsportal/moment.html")
    monkeypatch.setattr(Panel, "lists", "opsportal/moment.html")
    assert f'data-cursor="{head}"' in content_of(viewer)


def test_failing_are_those_whose_present_state_is_it(viewer: Person) -> None:
    failing_server("bad-01")
    after_test(failing_server("good-01"))
    server = failing_server("calm-01")
    maintenance.begin(server, "new disk", timezone.now() + timedelta(hours=1))
    unclear = failing_server("testing-01")
    Server.objects.filter(pk=unclear.pk).update(status="testing")
    text = content_of(viewer)
    failing = text.split('id="failing"')[1].split("</ol>")[0]
    assert re.findall(r'title="(\w+-01)"', failing) == ["testing-01", "bad-01"]
    assert embedded(text, "server-states")["maintenance"] == [server.pk]


def test_incidents_come_by_severity_and_then_the_last_one_first(viewer: Person) -> None:
    for title, severity in [("a", "low"), ("b", "critical"), ("c", "critical"), ("d", "high")]:
        create_incident(title, severity=severity)
    create_incident("resolved", status="resolved", severity="critical")
    text = content_of(viewer).split('id="open-incidents"')[1].split("</ol>")[0]
    assert re.findall(r'<a class="subject"[^>]*title="(\w+)"', text) == ["c", "b", "d", "a"]


def test_what_runs_comes_before_what_waits_and_what_is_over_does_not_come(
    viewer: Person, operator: Person
) -> None:
    server = create_server("web-01")
    under_way, waiting, last, stopping, over = (
        create_run(server, user=operator.user) for _ in range(5)
    )
    now = timezone.now()
    for run in (under_way, last, stopping):
        end(run, "running", "running")
    Run.objects.filter(pk=stopping.pk).update(cancel_requested_at=now)
    end(over, "failed", "failed")
    Run.objects.filter(pk=over.pk).update(finished_at=now)
    text = content_of(viewer)
    rows = text.split('id="open-runs"')[1].split("</ol>")[0]
    assert re.findall(r'href="/automations/runs/(\d+)/"', rows) == [
        str(run.pk) for run in (stopping, last, under_way, waiting)
    ]
    words = re.findall(r'"status state">(\w+)</span><span class="starter">(\w+)<', rows)
    assert words == [(word, "operator") for word in ("Cancelling", "Running", "Running", "Queued")]
    tile = text.split('id="automation-tile"')[1].split("</section>")[0]
    assert re.findall(r'data-figure="(\w+)">(\d+)<', tile) == [("running", "3"), ("queued", "1")]
    assert re.findall(r'data-key="(\w+)".*?width="(\d+)".*?"count">(\d+)<', tile, re.DOTALL) == [
        ("completed", "0", "0"),
        ("failed", "100", "1"),
        ("cancelled", "0", "0"),
    ]


def test_more_are_counted_than_are_shown(viewer: Person) -> None:
    server = create_server("web-01")
    for number in range(11):
        create_incident(f"Disk {number} full")
        create_run(server)
    text = content_of(viewer)
    for name in ("more-incidents", "more-runs"):
        assert re.search(rf'id="{name}">.*?and <span>3</span> more', text)


def test_figures_for_machines_are_no_news(viewer: Person) -> None:
    """They would hide what happens, many as they are."""
    values: dict[str, Any] = {"audience": ["servers.view_server"], "data": {}}
    Event.objects.create(type="stats.updated", timestamp=timezone.now(), **values)
    create_server("web-01")
    place_events()
    text = content_of(viewer)
    assert "stats.updated" not in text.split('id="feed"')[1].split("</ol>")[0]
    assert embedded(text, "activity-counts")["total"] == 1


def test_an_event_that_nothing_tells_of_is_told_of_by_its_type(
    viewer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(SENTENCES, "server.created")
    create_server("web-01")
    place_events()
    assert "<code>server.created</code>" in content_of(viewer)


def test_markup_is_text_and_data_of_any_kind_is_borne(viewer: Person) -> None:
    hostile = "<img src=x onerror=alert(1)> [{name}]"
    data = {"id": 1, "name": hostile, "host": "h", "status": "failed"}
    emit("server.updated", data | {"changes": {hostile: {"old": 1, "new": None}}}, subject="a.b/x")
    place_events()
    text = content_of(viewer)
    assert "<img" not in text.partition("<main")[2].replace("\\u003Cimg", "")
    assert "&lt;img src=x onerror=alert(1)&gt; [{name}] was changed: &lt;img" in text


def test_the_queries_do_not_grow_with_what_there_is(viewer: Person) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            content_of(viewer)
        return len(captured)

    for name in ("a", "b"):
        create_run(failing_server(name))
        create_incident(name, servers=(create_server(f"{name}-2"),))
    place_events()
    few = queries()
    for name in "cdefgh":
        create_run(failing_server(name))
        create_incident(name, servers=(create_server(f"{name}-2"),))
    place_events()
    assert queries() == few


def test_no_secret_is_read(viewer: Person) -> None:
    """One that cannot be decrypted must not keep the page from whoever looks for the cause."""
    failing_server("web-01")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE servers_server SET credential = 'not encrypted at all'")
    assert "web-01" in content_of(viewer)


def test_it_holds_no_transaction() -> None:
    """On SQLite it would keep every writer waiting."""
    assert "default" in overview.Overview.as_view()._non_atomic_requests  # type: ignore[attr-defined]
