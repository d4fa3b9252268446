"""What the forms of the incidents' pages do, with scripts and without, and for whom."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from events.models import Event
from incidents import services
from incidents.models import Comment, Incident
from incidents.tests.cast import create_incident
from servers.models import Server
from servers.tests.cast import EVERYBODY, Person, create_person, create_server

pytestmark = pytest.mark.django_db

RESPONDERS = {"responder", "operator", "admin"}
OPERATORS = {"operator", "admin"}
# Path, body, who may.
ACTIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "transition": ({"to": "acknowledged"}, RESPONDERS),
    "assign": ({"assignee": "admin"}, RESPONDERS),
    "comment": ({"comment": "Looking."}, RESPONDERS),
    "bulk-transition": ({"to": "acknowledged"}, RESPONDERS),
    "bulk-assign": ({"assignee": "admin"}, RESPONDERS),
    "edit": ({"title": "Other", "severity": "low"}, OPERATORS),
    "new": ({"title": "Another", "severity": "low"}, RESPONDERS),
}
HTMX = {"HX-Request": "true"}


def post(
    person: Person, action: str, *incidents: Incident, script: bool = False, **body: Any
) -> Any:
    """The answer to the form, sent by a script, or as by a browser without."""
    client = Client()
    if person.user:
        client.force_login(person.user)
    keys = [incident.pk for incident in incidents]
    if action.startswith("bulk"):
        body["incidents"] = keys
    if action == "edit":
        body.setdefault("version", version(person, incidents[0]))
    single = action not in ("new", "bulk-transition", "bulk-assign")
    path = reverse(f"incidents:{action}", args=keys if single else [])
    return client.post(path, body, headers=HTMX if script else {}, follow=not script)


def version(person: Person, incident: Incident) -> str:
    client = Client()
    if person.user:
        client.force_login(person.user)
    text = client.get(reverse("incidents:edit", args=[incident.pk])).content.decode()
    found = re.search(r'name="version" value="([^"]*)"', text)
    return found[1].replace("&quot;", '"') if found else ""


def told(response: Any) -> dict[str, str]:
    found: dict[str, str] = json.loads(response["HX-Trigger"])["told"]
    return found


def messages(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize("action", ACTIONS)
def test_who_may_do_what(people: dict[str, Person], action: str) -> None:
    body, allowed = ACTIONS[action]
    for name in EVERYBODY:
        incident = create_incident()
        before = Event.objects.count()
        response = post(people[name], action, incident, **body)
        done = Event.objects.count() > before
        assert done == (name in allowed), name
        if name not in allowed:
            assert response.status_code == (200 if name == "anonymous" else 403), name


def test_without_scripts_the_page_comes_back_as_it_is_then(responder: Person) -> None:
    incident = create_incident()
    response = post(responder, "transition", incident, to="acknowledged", comment="Mine.")
    assert response.redirect_chain == [(f"/incidents/{incident.pk}/", 302)]
    text = response.content.decode()
    assert 'data-status="acknowledged"' in text
    assert "Mine." in text
    response = post(responder, "transition", incident, to="resolved", board="1")
    assert response.redirect_chain == [("/incidents/board/", 302)]
    response = post(responder, "comment", incident, comment="*Done.*")
    assert "<em>Done.</em>" in response.content.decode()


def test_the_second_of_two_is_told_who_was_quicker(responder: Person, operator: Person) -> None:
    incident = create_incident()
    assert post(responder, "transition", incident, script=True, to="acknowledged").content == b""
    response = post(operator, "transition", incident, script=True, to="acknowledged")
    assert response.status_code == 409
    text = "responder was quicker: it is acknowledged already."
    assert told(response) == {"level": "problem", "text": text}
    assert messages(post(operator, "transition", incident, to="acknowledged")) == [text]
    own = post(responder, "transition", incident, script=True, to="acknowledged")
    assert told(own)["text"] == "It is acknowledged already."


def test_a_right_that_only_this_transition_lacks_is_refused(responder: Person) -> None:
    incident = create_incident(status="resolved")
    assert post(responder, "transition", incident, script=True, to="closed").status_code == 403
    incident.refresh_from_db()
    assert incident.status == "resolved"


@pytest.mark.parametrize(
    ("action", "body", "text"),
    [
        ("transition", {"to": "broken"}, "To: Select a valid choice."),
        ("transition", {}, "To: This field is required."),
        ("comment", {"comment": "  "}, "Say something first."),
        ("comment", {"comment": "x" * 20_001}, "Ensure this value has at most 20000 characters"),
        ("assign", {"assignee": "nobody-such"}, "There is no such user."),
        ("assign", {"assignee": "outsider"}, "outsider may not view incidents."),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_done(
    responder: Person, outsider: Person, action: str, body: dict[str, str], text: str
) -> None:
    incident = create_incident()
    before = Event.objects.count()
    response = post(responder, action, incident, script=True, **body)
    assert response.status_code == 400
    assert text in told(response)["text"]
    assert Event.objects.count() == before


def test_an_incident_goes_from_hand_to_hand(responder: Person, operator: Person) -> None:
    incident = create_incident()
    for name in ("operator", ""):
        assert post(responder, "assign", incident, script=True, assignee=name).status_code == 204
        incident.refresh_from_db()
        assert (incident.assignee.username if incident.assignee else "") == name


def test_many_are_moved_but_those_that_others_moved_before(responder: Person) -> None:
    rows = [create_incident("one"), create_incident("two", status="resolved")]
    response = post(responder, "bulk-transition", *rows, script=True, to="acknowledged")
    assert told(response) == {
        "level": "notice",
        "text": "Acknowledged: 1 incident. Left as they are: two (resolved).",
    }
    assert set(Incident.objects.values_list("status", flat=True)) == {"acknowledged", "resolved"}
    assert post(responder, "bulk-transition", script=True, to="resolved").status_code == 400


def test_many_are_given_to_one(responder: Person) -> None:
    rows = [create_incident("one"), create_incident("two")]
    response = post(responder, "bulk-assign", *rows, assignee="responder")
    assert messages(response) == ["Given to responder: 2 incidents."]
    assert set(Incident.objects.values_list("assignee__username", flat=True)) == {"responder"}


def test_what_is_opened_has_what_was_filled_in(responder: Person, server: Server) -> None:
    response = post(
        responder,
        "new",
        title="Disk full",
        severity="critical",
        description="It *is*.\n",
        servers=[server.pk],
        assignee=responder.user.pk,
    )
    incident = Incident.objects.get()
    assert response.redirect_chain == [(f"/incidents/{incident.pk}/", 302)]
    assert incident.reporter == incident.assignee == responder.user
    assert (incident.title, incident.severity) == ("Disk full", "critical")
    assert incident.description == "It *is*.\n"
    assert services.affected_names(incident) == ["web-01"]


def test_what_was_typed_is_kept_where_something_is_wrong(responder: Person, server: Server) -> None:
    response = post(
        responder, "new", severity="high", description="Long & <text>", servers=[server.pk]
    )
    assert response.status_code == 400
    text = response.content.decode()
    assert "This field is required." in text
    assert "Long &amp; &lt;text&gt;</textarea>" in text
    assert re.search(rf'value="{server.pk}"[^>]* checked', text)
    assert '<option value="high" selected>' in text
    assert not Incident.objects.exists()


def test_a_link_may_name_what_is_affected(responder: Person, server: Server) -> None:
    create_server("db-01")
    client = Client()
    client.force_login(responder.user)
    text = client.get("/incidents/new/?server=web-01&server=nowhere").content.decode()
    assert re.findall(r'name="servers" value="(\d+)"[^>]* checked', text) == [str(server.pk)]


def test_who_may_not_assign_cannot_by_a_form(db: None) -> None:
    person, victim = create_person("outsider"), create_person("admin")
    names = ["add_incident", "view_incident"]
    person.user.user_permissions.set(Permission.objects.filter(codename__in=names))
    post(person, "new", title="Mine", severity="low", assignee=victim.user.pk)
    assert Incident.objects.get().assignee is None


def test_an_edit_writes_what_was_changed_and_nothing_else(operator: Person, server: Server) -> None:
    incident = create_incident(description="As it was.", severity="low", servers=(server,))
    before = Event.objects.count()
    post(
        operator,
        "edit",
        incident,
        title="Disk full again",
        severity="low",
        description="As it was.",
        servers=[server.pk],
    )
    event = Event.objects.order_by("pk").last()
    assert event is not None
    assert Event.objects.count() == before + 1
    assert event.data["changes"] == {"title": {"old": "Disk full", "new": "Disk full again"}}


def test_an_edit_of_what_somebody_changed_meanwhile_is_not_saved(operator: Person) -> None:
    incident = create_incident()
    begun = version(operator, incident)
    services.edit(incident, {"severity": "critical"})
    response = post(operator, "edit", incident, title="Typed", severity="medium", version=begun)
    assert response.status_code == 409
    text = response.content.decode()
    assert "Somebody else has changed it meanwhile." in text
    assert 'value="Typed"' in text
    assert f'<a href="/incidents/{incident.pk}/" target="_blank">' in text
    incident.refresh_from_db()
    assert (incident.title, incident.severity) == ("Disk full", "critical")
    again = re.search(r'name="version" value="([^"]*)"', text)
    assert again
    kept = again[1].replace("&quot;", '"')
    response = post(operator, "edit", incident, title="Typed", severity="medium", version=kept)
    incident.refresh_from_db()
    assert (incident.title, incident.severity) == ("Typed", "medium")


def test_what_was_deleted_meanwhile_is_not_found(responder: Person) -> None:
    incident = create_incident()
    key = incident.pk
    incident.delete()
    gone = Incident(pk=key)
    for action in ("transition", "assign", "comment"):
        body = ACTIONS[action][0]
        assert post(responder, action, gone, script=True, **body).status_code == 404
    assert not Comment.objects.exists()
