"""The timeline is the event log's account of an incident, for whoever may read it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import log, retention
from events.api import acting, emit, format_timestamp, subject_of
from events.models import Event, Subscription
from incidents import markdown, services
from incidents import timeline as timelines
from incidents.models import Comment, Incident
from incidents.tests.cast import create_incident, path_of
from incidents.timeline import Timeline
from servers.models import Server
from servers.tests.cast import Person, create_server, place_events

pytestmark = pytest.mark.django_db

TYPES = ("incident.created", "incident.updated", "incident.status_changed", "incident.commented")


def entries(person: Person, incident: Incident, query: str = "") -> list[dict[str, Any]]:
    response = person.call("get", f"{path_of(incident, 'timeline')}{query}")
    assert response.status_code == 200
    return list(response.json()["results"])


def forget() -> None:
    """The log forgets all that has happened so far, which every subscription has handled."""
    Subscription.objects.update(cursor=place_events())
    retention.prune(timedelta())


def notify(incident: Incident, **options: Any) -> None:
    data = {"id": 1, "channel": None, "incident": incident.pk, "title": "T", "attempts": 1}
    emit("notification.sent", data | {"error": ""}, subject=subject_of(incident), **options)


DEEDS = st.sampled_from(
    ["acknowledged", "resolved", "closed", "open", "comment", "note", "edit", "assign", "servers"]
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(deeds=st.lists(st.tuples(DEEDS, st.booleans()), max_size=15), forgotten=st.booleans())
def test_it_equals_the_event_logs_account_whatever_was_done(
    operator: Person,
    viewer: Person,
    server: Server,
    deeds: list[tuple[str, bool]],
    forgotten: bool,
) -> None:
    with transaction.atomic():
        incident, other = create_incident(), create_incident("Another one")
        for number, (deed, of_the_other) in enumerate(deeds):
            with acting(lambda: operator.user):
                act(other if of_the_other else incident, deed, operator, server, number)
        place_events()
        if forgotten:
            services.comment(incident, operator.user, "Not placed yet.")
        told = list(Timeline(incident, viewer.user))
        rows = Event.objects.filter(subject=subject_of(incident), type__in=TYPES)
        account = [log.public(event) for event in rows.order_by("pk")]
        assert told == account
        said = [each["data"]["comment"] for each in told if each["type"] == TYPES[3]]
        assert said == list(incident.comments.values_list("pk", flat=True))
        last = [each["data"] for each in told if each["type"] == TYPES[2]][-1:]
        assert [data["new_status"] for data in last] in ([], [incident.status])
        transaction.set_rollback(True)


def act(incident: Incident, deed: str, person: Person, server: Server, number: int) -> None:
    incident.refresh_from_db()
    match deed:
        case "comment":
            services.comment(incident, person.user, f"*{number}*")
        case "note":
            services.comment(incident, None, f"{number}")
        case "edit":
            services.edit(incident, {"title": f"Title {number}", "severity": "low"})
        case "assign":
            services.assign(incident, None if incident.assignee else person.user)
        case "servers":
            services.edit(incident, {}, [] if incident.affected.exists() else [server])
        case _ if deed in services.allowed_for(incident, person.user):
            services.transition_to(incident, deed, person.user, f"{number}")


def test_what_was_done_just_now_is_there_before_it_has_a_position(responder: Person) -> None:
    incident = create_incident()
    place_events()
    with transaction.atomic():
        responder.call("post", path_of(incident, "transition"), {"to": "acknowledged"})
    told = entries(responder, incident)
    assert [each["type"] for each in told] == ["incident.created", "incident.status_changed"]
    assert [each["id"] is None for each in told] == [False, True]
    place_events()
    assert None not in [each["id"] for each in entries(responder, incident)]


def test_comments_outlive_the_log(responder: Person) -> None:
    incident = create_incident()
    responder.call("post", path_of(incident, "comment"), {"text": "It is *DNS*."})
    place_events()
    before = [each for each in entries(responder, incident) if each["type"] == TYPES[3]]
    forget()
    assert not Event.objects.exists()
    responder.call("post", path_of(incident, "comment"), {"text": "It was."})
    first, second = entries(responder, incident)
    comment = Comment.objects.order_by("pk")[0]
    assert first == before[0] | {"id": None, "timestamp": format_timestamp(comment.created_at)}
    assert second["data"]["text"] == "It was."


def test_a_note_of_the_portal_that_the_log_forgot_has_no_actor(viewer: Person) -> None:
    incident = create_incident()
    services.comment(incident, None, "Check 4 in a row failed.")
    forget()
    [told] = entries(viewer, incident)
    assert (told["actor"], told["data"]["author"]) == (None, None)


def test_what_its_reader_may_not_see_is_not_there(
    viewer: Person, operator: Person, responder: Person
) -> None:
    incident = create_incident()
    notify(incident)
    notify(incident, users=[responder.user])
    notify(incident, permissions=["auth.delete_user"])
    place_events()

    def kinds(person: Person) -> list[str]:
        return [each["type"] for each in entries(person, incident)]

    assert kinds(viewer) == ["incident.created"]
    assert kinds(operator) == ["incident.created", "notification.sent"]
    assert kinds(responder) == ["incident.created", "notification.sent"]


def test_nothing_of_another_incident_is_there(viewer: Person) -> None:
    incident, other = create_incident(), create_incident("Another one")
    services.comment(other, None, "Not here.")
    # `1` is also the beginning of `10` to `19`.
    for number in range(20):
        create_incident(f"{number}")
    assert [each["data"]["title"] for each in entries(viewer, incident)] == ["Disk full"]


def test_a_server_is_not_mistaken_for_an_incident_of_its_number(viewer: Person) -> None:
    incident = create_incident()
    create_server("db-01", pk=incident.pk)
    assert [each["type"] for each in entries(viewer, incident)] == ["incident.created"]


def test_it_comes_in_pages(viewer: Person) -> None:
    incident = create_incident()
    for number in range(5):
        services.comment(incident, None, f"{number}")
    first = entries(viewer, incident, "?page_size=4")
    second = entries(viewer, incident, "?page_size=4&page=2")
    assert first + second == entries(viewer, incident)
    assert (len(first), len(second)) == (4, 2)


def test_forgotten_comments_come_in_its_pages_too(viewer: Person) -> None:
    incident = create_incident()
    for number in range(3):
        services.comment(incident, None, f"{number}")
    forget()
    for number in range(3, 6):
        services.comment(incident, None, f"{number}")
    pages = [entries(viewer, incident, f"?page_size=2&page={page}") for page in (1, 2, 3)]
    told = [[entry["data"]["text"] for entry in page] for page in pages]
    assert told == [["0", "1"], ["2", "3"], ["4", "5"]]


def test_a_page_is_all_that_is_rendered(viewer: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    incident = create_incident()
    for number in range(20):
        services.comment(incident, None, f"{number}")
    forget()
    rendered: list[str] = []

    def render(text: str) -> str:
        rendered.append(text)
        return text

    monkeypatch.setattr(markdown, "render", render)
    entries(viewer, incident, "?page_size=2&page=3")
    assert rendered == ["4", "5"]


def test_a_page_is_all_that_is_read(viewer: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    incident = create_incident()
    for number in range(50):
        services.comment(incident, None, f"{number}")
    place_events()
    read: list[int] = []

    def public(row: Event) -> dict[str, Any]:
        read.append(row.pk)
        return log.public(row)

    monkeypatch.setattr(timelines, "public", public)
    assert len(entries(viewer, incident, "?page_size=5&page=3")) == 5
    assert len(read) == 5


def test_to_comment_reads_nothing_of_it(responder: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    incident = create_incident()
    monkeypatch.setattr(timelines, "events_about", None)
    response = responder.call("post", path_of(incident, "comment"), {"text": "Hm."})
    assert response.status_code == 201


def test_comments_that_were_published_by_hand_hide_none(viewer: Person) -> None:
    incident = create_incident()
    services.comment(incident, None, "Written.")
    forget()
    for number in (10**30, -1, 0):
        data = {"id": 1, "comment": number, "author": None, "text": "Made up.", "html": ""}
        emit("incident.commented", data, subject=subject_of(incident))
    services.comment(incident, None, "Written, too.")
    told = [entry["data"]["text"] for entry in entries(viewer, incident)]
    assert told == ["Written.", *["Made up."] * 3, "Written, too."]


def test_of_an_incident_that_is_gone_there_is_none(viewer: Person) -> None:
    incident = create_incident()
    path = path_of(incident, "timeline")
    incident.delete()
    assert viewer.call("get", path).status_code == 404
