"""The incidents' pages as the server renders them: for whom, with what, and in which order."""

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

from events import log
from events.bus import append
from events.models import Event
from events.publishing import parse
from incidents import services
from incidents.board import CARDS
from incidents.models import Incident
from incidents.tests.cast import age, create_incident
from servers.models import Server
from servers.tests.cast import EVERYBODY, ROLES, Person, create_server, place_events

pytestmark = pytest.mark.django_db

LIST, BOARD, NEW = "/incidents/", "/incidents/board/", "/incidents/new/"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
LINK = "[here](javascript:alert(3))"
# The page, and who may see it.
PAGES = {
    LIST: ROLES,
    BOARD: ROLES,
    "/incidents/{}/": ROLES,
    NEW: ("responder", "operator", "admin"),
    "/incidents/{}/edit/": ("operator", "admin"),
}


def browser(person: Person) -> Client:
    client = Client()
    if person.user:
        client.force_login(person.user)
    return client


def page(person: Person, path: str) -> str:
    response = browser(person).get(path)
    assert response.status_code == 200, response
    return response.content.decode()


def titles(text: str) -> list[str]:
    return re.findall(r'class="name" href="/incidents/\d+/"[^>]*>([^<]*)<', text)


def detail(incident: Incident) -> str:
    return f"{LIST}{incident.pk}/"


@pytest.mark.parametrize("path", PAGES)
def test_who_sees_which_page(people: dict[str, Person], path: str) -> None:
    incident = create_incident("Secret plans")
    for name in EVERYBODY:
        response = browser(people[name]).get(path.format(incident.pk))
        expected = 200 if name in PAGES[path] else 302 if name == "anonymous" else 403
        assert response.status_code == expected, name
        if expected == 403:
            assert "Secret plans" not in response.content.decode()


def test_pages_say_where_they_stand_in_the_log(viewer: Person) -> None:
    incident = create_incident()
    head = place_events()
    for path in (LIST, BOARD, detail(incident)):
        assert f'data-cursor="{head}"' in page(viewer, path)


def test_the_navigation_leads_there_for_whom_it_lets_in(viewer: Person, outsider: Person) -> None:
    assert f'href="{LIST}"' in page(viewer, "/servers/")
    assert f'href="{LIST}"' not in page(outsider, "/notifications/")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["new", "mine", "bad", "done"]),
        ("status=open&status=acknowledged", ["new", "mine", "bad"]),
        ("severity=critical&severity=high", ["mine", "bad"]),
        ("severity=critical&severity=high&status=open", ["bad"]),
        ("assignee=operator", ["mine"]),
        ("server=web-01", ["bad"]),
        ("search=NE", ["new", "mine", "done"]),
        ("ordering=created_at", ["done", "bad", "mine", "new"]),
        ("ordering=severity,-created_at", ["bad", "mine", "new", "done"]),
        ("ordering=-severity,title", ["done", "new", "mine", "bad"]),
    ],
)
def test_the_list_is_picked_and_ordered_by_its_address(
    operator: Person, server: Server, query: str, expected: list[str]
) -> None:
    rows: list[tuple[str, dict[str, Any]]] = [
        ("done", {"status": "closed", "severity": "low"}),
        ("bad", {"severity": "critical", "servers": (server,)}),
        ("mine", {"status": "acknowledged", "severity": "high", "assignee": operator.user}),
        ("new", {}),
    ]
    for minutes, (title, values) in enumerate(rows):
        age(create_incident(title, **values), created=60 - minutes)
    assert titles(page(operator, f"{LIST}?{query}")) == expected


def test_a_filter_that_is_none_shows_nothing_and_says_why(viewer: Person) -> None:
    create_incident()
    text = page(viewer, f"{LIST}?status=broken")
    assert titles(text) == []
    assert "Status: Select a valid choice. broken is not one of the available choices." in text


def test_pages_of_the_list_keep_its_filter(viewer: Person) -> None:
    Incident.objects.bulk_create(Incident(title=f"n{number}") for number in range(51))
    Incident.objects.create(title="other", severity="low")
    text = page(viewer, f"{LIST}?severity=medium")
    assert "1–50 of 51 incidents" in text
    assert 'href="?severity=medium&amp;page=2"' in text
    assert titles(page(viewer, f"{LIST}?severity=medium&page=2")) == ["n0"]


def test_rows_count_their_comments_at_no_cost_a_row(viewer: Person, operator: Person) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text = page(viewer, LIST)
        assert re.findall(r'class="number">(\d+)', text)[-1] == "2"
        return len(captured)

    first = create_incident(servers=(create_server("web-01"),))
    for text in ("One.", "Two."):
        services.comment(first, operator.user, text)
    few = queries()
    for number in range(5):
        create_incident(servers=(create_server(f"db-{number}"),), assignee=operator.user)
    assert queries() == few


def test_counters_lead_to_what_they_count(viewer: Person) -> None:
    for severity in ("high", "high", "low"):
        create_incident(severity=severity)
    create_incident(severity="low", status="acknowledged")
    create_incident(severity="critical", status="closed")
    text = page(viewer, LIST)
    found = re.findall(r'href="([^"]*)"><strong data-figure="(\w+)">(\d+)', text)
    assert {name: int(number) for _, name, number in found} == {
        "open": 4,
        "unacknowledged": 3,
        "critical": 0,
        "high": 2,
        "medium": 0,
        "low": 2,
    }
    for address, _, number in found:
        assert len(titles(page(viewer, address.replace("&amp;", "&")))) == int(number), address


def test_the_board_has_what_is_to_be_done_and_what_was_done_lately(viewer: Person) -> None:
    worst = create_incident("worst", severity="critical")
    age(worst, created=600)
    create_incident("plain")
    create_incident("taken", status="acknowledged")
    create_incident("solved", status="resolved")
    create_incident("closed", status="closed")
    long_closed = create_incident("long closed", status="closed")
    Incident.objects.filter(pk=long_closed.pk).update(closed_at=timezone.now() - timedelta(days=8))
    text = page(viewer, BOARD).split("<template")[0]
    lanes = re.split(r'<section class="lane" data-status="', text)[1:]
    found = {lane.split('"')[0]: titles(lane) for lane in lanes}
    assert found == {
        "open": ["worst", "plain"],
        "acknowledged": ["taken"],
        "resolved": ["solved"],
        "closed": ["closed"],
    }


def test_a_column_with_too_many_leads_to_the_list(viewer: Person) -> None:
    Incident.objects.bulk_create(Incident(title=f"n{number}") for number in range(CARDS + 1))
    text = page(viewer, BOARD).split("<template")[0]
    assert len(titles(text)) == CARDS
    assert 'href="/incidents/?status=open"' in text


# Name: the moves that the page offers for incidents in each status, and whether it takes comments.
OFFERED = {
    "viewer": ({}, False),
    "responder": (
        {
            "open": ["acknowledged", "resolved"],
            "acknowledged": ["resolved"],
            "resolved": ["open"],
            "closed": ["open"],
        },
        True,
    ),
    "operator": (
        {
            "open": ["acknowledged", "resolved"],
            "acknowledged": ["resolved"],
            "resolved": ["closed", "open"],
            "closed": ["open"],
        },
        True,
    ),
}


@pytest.mark.parametrize("name", OFFERED)
def test_actions_are_offered_as_rights_and_status_allow(
    people: dict[str, Person], name: str
) -> None:
    moves, may_comment = OFFERED[name]
    for status in ("open", "acknowledged", "resolved", "closed"):
        text = page(people[name], detail(create_incident(status=status)))
        buttons = re.findall(r'<button name="to" value="(\w+)"[^>]*?(hidden)?>', text)
        assert [to for to, hidden in buttons if not hidden] == moves.get(status, [])
        assert ("<textarea" in text) == may_comment
        assert ("/assign/" in text) == (name != "viewer")
        assert ("/edit/" in text) == (name == "operator")
        offered = json.loads(text.split('id="moves" type="application/json">')[1].split("<")[0])
        assert {status: set(targets) for status, targets in offered.items() if targets} == {
            status: set(targets) for status, targets in moves.items()
        }


def test_a_viewer_can_do_nothing_on_list_and_board(viewer: Person) -> None:
    create_incident()
    for path in (LIST, BOARD):
        text = page(viewer, path)
        assert 'name="to"' not in text
        assert "checkbox" not in text.split("<table")[-1].split("<ol")[-1]
        assert NEW not in text


def test_markup_of_people_stays_text(operator: Person, viewer: Person) -> None:
    incident = create_incident(HOSTILE, description=f"**bold** {HOSTILE} {LINK}")
    services.comment(incident, operator.user, f"*well* {HOSTILE} {LINK}")
    services.transition_to(incident, "acknowledged", operator.user, HOSTILE)
    services.edit(incident, {"title": f"{HOSTILE} again"})
    for path in (LIST, BOARD, detail(incident)):
        text = page(viewer, path)
        assert "<img src=x" not in text
        assert "alert(2)</script>" not in text
        assert 'href="javascript:' not in text
    assert "<strong>bold</strong>" in text
    assert "<em>well</em>" in text


def test_events_that_were_published_by_hand_do_no_harm(viewer: Person) -> None:
    """Their data may be whatever their schema lets through."""
    incident = create_incident()
    data = {"id": incident.pk, "title": "T", "severity": "low", "status": "open", "assignee": None}
    changes = {"": {}, "title": {"new": [1, {"a": None}]}, "servers": {"old": [1], "new": 10**400}}
    said = {"id": incident.pk, "comment": 10**30, "author": None, "text": "x", "html": HOSTILE}
    for event_type, values in (
        ("incident.updated", data | {"changes": changes}),
        ("incident.commented", said),
    ):
        event = {"type": event_type, "data": values, "subject": f"incidents.incident/{incident.pk}"}
        append([parse(event)])
    place_events()
    text = page(viewer, detail(incident))
    assert "<img src=x" not in text
    assert "alert(2)</script>" not in text


def test_a_timeline_has_its_newest_on_top_and_each_once(viewer: Person, operator: Person) -> None:
    incident = create_incident()
    for number in range(60):
        services.comment(incident, operator.user, f"note {number}.")
    services.transition_to(incident, "acknowledged", operator.user, "Mine.")
    first, second = (page(viewer, f"{detail(incident)}?entries={number}") for number in (1, 2))
    assert first.index("Mine.") < first.index("note 59.") < first.index("note 11.")
    assert "data-older" in second
    said = re.findall(r"note (\d+)\.", first + second)
    assert said == [str(number) for number in range(59, -1, -1)]
    assert second.index("note 0.") < second.index("opened this incident")


def test_an_entry_has_one_key_before_and_after_its_place(viewer: Person) -> None:
    """An event that is rendered before it is placed comes again by the stream."""
    incident = create_incident()
    place_events()
    services.transition_to(incident, "resolved", None)
    before = re.findall(r'data-key="([^"]*)"', page(viewer, detail(incident)))
    place_events()
    events = Event.objects.filter(type__startswith="incident.").order_by("-position")
    keys = [" ".join((e["type"], e["timestamp"])) for e in map(log.public, events)]
    assert before == keys
    assert re.findall(r'data-key="([^"]*)"', page(viewer, detail(incident))) == keys


def test_times_count_from_the_opening(viewer: Person) -> None:
    incident = create_incident(status="resolved")
    age(incident, created=90, acknowledged=85, resolved=10)
    text = page(viewer, detail(incident))
    assert 'id="acknowledged">after 5 min<' in text
    assert 'id="resolved">after 1 h 20 min<' in text


def test_servers_are_led_to_but_for_those_that_are_gone(viewer: Person, server: Server) -> None:
    gone = create_server("db-01")
    incident = create_incident(servers=(server, gone))
    services.keep_names(gone)
    gone.delete()
    text = page(viewer, detail(incident))
    assert f'<a href="/servers/{server.pk}/">web-01</a>' in text
    assert '<span class="server">db-01</span>' in text
