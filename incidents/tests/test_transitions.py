"""Every transition × every role, and of two at once only one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connections

from events.models import Event
from events.relay import relay
from incidents import services
from incidents.models import Incident
from incidents.tests.cast import WAYS, create_incident, path_of
from servers.tests.cast import EVERYBODY, Person, create_person, recorded_events

pytestmark = pytest.mark.django_db

STATUSES = tuple(WAYS)
RESPONDERS = ("responder", "operator", "admin")
OPERATORS = ("operator", "admin")
# Who may go where; nothing else leads anywhere.
TRANSITIONS = {
    ("open", "acknowledged"): RESPONDERS,
    ("open", "resolved"): RESPONDERS,
    ("acknowledged", "resolved"): RESPONDERS,
    ("resolved", "closed"): OPERATORS,
    ("resolved", "open"): RESPONDERS,
    ("closed", "open"): RESPONDERS,
}


def expected(source: str, target: str, name: str) -> int:
    if name in ("anonymous", "outsider"):
        return {"anonymous": 401, "outsider": 403}[name]
    if (source, target) not in TRANSITIONS:
        return 409
    return 200 if name in TRANSITIONS[source, target] else 403


def reachable(source: str, name: str) -> list[str]:
    return [to for to in STATUSES if name in TRANSITIONS.get((source, to), ())]


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("target", STATUSES)
@pytest.mark.parametrize("source", STATUSES)
def test_each_role_may_go_where_the_matrix_says_and_nowhere_else(
    source: str, target: str, name: str
) -> None:
    incident = create_incident(status=source)
    person, status = create_person(name), expected(source, target, name)
    before = Incident.objects.values().get()
    body = {"to": target, "comment": "So be it."}
    with recorded_events() as events:
        response = person.call("post", path_of(incident, "transition"), body)
    assert response.status_code == status
    if status == 200:
        assert response.json()["status"] == Incident.objects.get().status == target
        [event] = events
        assert (event.type, event.actor_username) == ("incident.status_changed", name)
        assert event.data == {
            "id": incident.pk,
            "title": "Disk full",
            "old_status": source,
            "new_status": target,
            "comment": "So be it.",
        }
        return
    assert events == []
    assert Incident.objects.values().get() == before
    body = response.json()
    assert set(body) == ({"detail", "allowed"} if status == 409 else {"detail"})
    if status == 409:
        assert body["allowed"] == reachable(source, name)


@pytest.mark.parametrize("name", ["viewer", "responder", "operator", "admin"])
@pytest.mark.parametrize("source", STATUSES)
def test_what_is_allowed_is_told_with_the_incident(source: str, name: str) -> None:
    incident, person = create_incident(status=source), create_person(name)
    row = person.call("get", path_of(incident)).json()
    assert row["allowed_transitions"] == reachable(source, name)


@pytest.mark.parametrize(
    ("codename", "source", "target"),
    [
        ("acknowledge_incident", "open", "acknowledged"),
        ("resolve_incident", "open", "resolved"),
        ("close_incident", "resolved", "closed"),
        ("reopen_incident", "closed", "open"),
    ],
)
def test_each_transition_needs_its_own_right(
    outsider: Person, codename: str, source: str, target: str
) -> None:
    rights = Permission.objects.filter(content_type__app_label="incidents")
    outsider.user.user_permissions.set(rights.exclude(codename=codename))
    incident = create_incident(status=source)
    path, body = path_of(incident, "transition"), {"to": target}
    assert outsider.call("post", path, body).status_code == 403
    outsider.user.user_permissions.set(rights.filter(codename__in=[codename, "view_incident"]))
    assert outsider.call("post", path, body).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, {"to": "gone"}, {"to": None}, {"to": ["open"]}, {"to": "open", "by": "me"}, [], None],
)
def test_a_malformed_transition_is_refused(responder: Person, body: Any) -> None:
    incident = create_incident()
    with recorded_events() as events:
        response = responder.call("post", path_of(incident, "transition"), body)
    assert response.status_code == 400
    assert events == []


def test_the_portal_itself_may_go_wherever_the_status_leads() -> None:
    incident = create_incident()
    assert services.allowed_for(incident, None) == ["acknowledged", "resolved"]
    with pytest.raises(services.TransitionRefused):
        services.transition_to(incident, "closed", None)


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("transition", {"to": "acknowledged"}),
        ("transition", {"to": "open"}),
        ("assign", {"assignee": None}),
        ("comment", {"text": "Where did it go?"}),
    ],
)
def test_an_incident_that_is_deleted_after_it_was_found_is_not_there(
    responder: Person, monkeypatch: pytest.MonkeyPatch, action: str, body: Any
) -> None:
    row = create_incident()
    path = path_of(row, action)
    Incident.objects.filter(pk=row.pk).delete()
    monkeypatch.setattr("incidents.api.IncidentViewSet.get_object", lambda view: row)
    with recorded_events() as events:
        response = responder.call("post", path, body)
    assert (response.status_code, set(response.json())) == (404, {"detail"})
    assert events == []


@pytest.mark.django_db(transaction=True)
def test_of_two_who_acknowledge_at_once_one_is_told_that_it_is_done() -> None:
    incident = create_incident()
    persons = [create_person("responder"), create_person("operator")]
    together = threading.Barrier(len(persons), timeout=20)

    def acknowledge(person: Person) -> Any:
        try:
            together.wait()
            response = person.call("post", path_of(incident, "transition"), {"to": "acknowledged"})
            return response.status_code, response.json()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(persons)) as threads:
        answers = sorted(threads.map(acknowledge, persons), key=lambda answer: answer[0])
    relay.stop()
    assert [status for status, _ in answers] == [200, 409]
    assert answers[1][1]["allowed"] == ["resolved"]
    assert Event.objects.filter(type="incident.status_changed").count() == 1
