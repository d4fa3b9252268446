from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from incidents import services
from incidents.models import AutomaticIncidents, Comment, Incident, Notification
from incidents.tests.cast import create_incident
from servers.models import Server
from servers.tests.cast import Person, create_person, create_server, place_events, recorded_events
from servers.tests.desk import confirm, messages
from servers.tests.desk import run_action as ask

# On one stack: what the admin does is tested on both by its services.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

PAGE = "/admin/incidents/incident/"
RULES = "/admin/incidents/automaticincidents/"
NO_COMMENT = {
    "comments-TOTAL_FORMS": "1",
    "comments-INITIAL_FORMS": "0",
    "comments-0-text": "",
}
FORM = {"title": "Disk full", "severity": "medium", "description": "", "assignee": ""}


def desk(person: Person) -> Client:
    """A browser of this person, who is on the staff."""
    person.user.is_staff = True
    person.user.save()
    browser = Client()
    browser.force_login(person.user)
    return browser


def run_action(browser: Client, action: str, *incidents: Incident, **answer: Any) -> Any:
    """What the list says after the question was confirmed with this answer."""
    asked = ask(browser, action, *incidents, page=PAGE)
    return confirm(browser, asked, page=PAGE, **answer) if "question" in asked.context else asked


def edit(person: Person, incident: Incident, **values: Any) -> Any:
    keys = list(incident.affected.exclude(server=None).values_list("server", flat=True))
    form = FORM | NO_COMMENT | {"servers": keys} | values
    return desk(person).post(f"{PAGE}{incident.pk}/change/", form)


# Writing


def test_what_is_created_here_is_told_as_everywhere(responder: Person, server: Server) -> None:
    form = FORM | {"assignee": responder.user.pk, "servers": [server.pk]}
    with recorded_events() as events:
        assert desk(responder).post(f"{PAGE}add/", form).status_code == 302
    incident = Incident.objects.get()
    assert (incident.reporter, incident.assignee) == (responder.user, responder.user)
    assert services.affected_names(incident) == ["web-01"]
    assert [(event.type, event.actor_username) for event in events] == [
        ("incident.created", "responder")
    ]


def test_an_edit_tells_its_changes(operator: Person, server: Server) -> None:
    incident = create_incident(servers=(server,))
    other = create_server("db-01")
    with recorded_events() as events:
        response = edit(operator, incident, severity="low", servers=[other.pk])
    assert response.status_code == 302
    changes: dict[str, Any] = {}
    for event in events:
        assert (event.type, event.actor_username) == ("incident.updated", "operator")
        changes |= event.data["changes"]
    assert changes == {
        "severity": {"old": "medium", "new": "low"},
        "servers": {"old": ["web-01"], "new": ["db-01"]},
    }


def test_saving_without_a_change_emits_nothing(operator: Person, server: Server) -> None:
    incident = create_incident(servers=(server,))
    before = Incident.objects.values().get()
    with recorded_events() as events:
        assert edit(operator, incident).status_code == 302
    assert events == []
    assert Incident.objects.values().get() == before


def test_a_form_that_was_open_during_a_transition_does_not_undo_it(
    operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = create_incident()

    def resolve_meanwhile(form: Any) -> Any:
        services.transition_to(incident, "resolved", None, "By itself.")
        return form.cleaned_data

    monkeypatch.setattr("incidents.admin.IncidentForm.clean", resolve_meanwhile)
    edit(operator, incident, title="Disk fuller")
    row = Incident.objects.get()
    assert (row.title, row.status, row.status_comment) == ("Disk fuller", "resolved", "By itself.")


def test_nobody_is_given_it_who_may_not_look_at_it(operator: Person, outsider: Person) -> None:
    incident = create_incident()
    response = edit(operator, incident, assignee=outsider.user.pk)
    assert response.status_code == 200
    assert "outsider may not view incidents." in response.content.decode()
    assert Incident.objects.get().assignee is None


def test_who_may_not_assign_is_not_offered_it(operator: Person, outsider: Person) -> None:
    rights = Permission.objects.filter(codename__in=["view_incident", "change_incident"])
    outsider.user.user_permissions.set(rights)
    incident = create_incident(assignee=operator.user)
    page = desk(outsider).get(f"{PAGE}{incident.pk}/change/").content.decode()
    assert 'name="assignee"' not in page
    edit(outsider, incident, assignee="", title="Disk fuller")
    row = Incident.objects.get()
    assert (row.title, row.assignee) == ("Disk fuller", operator.user)


# Comments


def test_a_comment_is_added_as_everywhere(operator: Person) -> None:
    incident = create_incident()
    with recorded_events() as events:
        assert edit(operator, incident, **{"comments-0-text": "It is *DNS*."}).status_code == 302
    [event] = events
    assert event.type == "incident.commented"
    assert (event.data["author"], event.data["text"]) == ("operator", "It is *DNS*.")
    assert Comment.objects.get().author == operator.user


def test_what_was_said_is_shown_and_stays(admin: Person, operator: Person) -> None:
    incident = create_incident()
    services.comment(incident, operator.user, "<b>It is DNS.</b>")
    said = Comment.objects.get()
    services.comment(incident, None, "Check 4 in a row failed.")
    browser = desk(admin)
    page = browser.get(f"{PAGE}{incident.pk}/change/").content.decode()
    assert "Check 4" not in page
    assert "&lt;b&gt;It is DNS.&lt;/b&gt;" in page
    forged = {
        "comments-TOTAL_FORMS": "1",
        "comments-INITIAL_FORMS": "1",
        "comments-0-id": said.pk,
        "comments-0-incident": incident.pk,
        "comments-0-text": "It was me.",
        "comments-0-DELETE": "on",
    }
    with recorded_events() as events:
        browser.post(f"{PAGE}{incident.pk}/change/", FORM | forged)
    assert events == []
    assert [row.text for row in Comment.objects.all()] == [said.text, "Check 4 in a row failed."]


def test_who_may_not_comment_adds_none(outsider: Person) -> None:
    rights = Permission.objects.filter(codename__in=["view_incident", "change_incident"])
    outsider.user.user_permissions.set(rights)
    incident = create_incident()
    edit(outsider, incident, **{"comments-0-text": "Hm."})
    assert not Comment.objects.exists()


# Looking


@pytest.mark.parametrize("name", ["viewer", "responder"])
def test_who_may_look_only_sees_all_of_it(name: str, server: Server) -> None:
    gone = create_server("gone-01")
    incident = create_incident(servers=(server, gone), description="Queues grow.")
    gone.delete()
    browser = desk(create_person(name))
    response = browser.get(f"{PAGE}{incident.pk}/change/")
    assert response.status_code == 200
    page = response.content.decode()
    assert "gone-01, web-01" in page
    assert "Queues grow." in page
    assert 'name="title"' not in page
    assert 'name="servers"' not in page
    assert browser.post(f"{PAGE}{incident.pk}/change/", FORM | NO_COMMENT).status_code == 403


def test_those_without_the_right_see_no_incidents(outsider: Person) -> None:
    browser, incident = desk(outsider), create_incident()
    for path in ("", f"{incident.pk}/change/", f"{incident.pk}/history/"):
        assert browser.get(f"{PAGE}{path}").status_code == 403


def test_its_history_is_its_trail(viewer: Person, operator: Person) -> None:
    incident = create_incident()
    edit(operator, incident, title="Disk fuller")
    services.transition_to(incident, "acknowledged", operator.user, "On it.")
    place_events()
    page = desk(viewer).get(f"{PAGE}{incident.pk}/history/").content.decode()
    for words in ("Incident opened", "Disk fuller", "acknowledged", "On it.", "<td>operator</td>"):
        assert words in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", ["b", "a"]), ("status__exact=open", ["a"]), ("q=queue", ["b"]), ("q=nothing", [])],
)
def test_the_list_filters_and_searches(viewer: Person, query: str, expected: list[str]) -> None:
    create_incident("a")
    create_incident("b", "resolved", description="Queues grow.")
    response = desk(viewer).get(f"{PAGE}?{query}")
    assert [row.title for row in response.context["cl"].result_list] == expected


# Transitions


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("viewer", []),
        ("responder", ["acknowledge", "resolve", "reopen", "assign"]),
        ("operator", ["acknowledge", "resolve", "close", "reopen", "assign"]),
        ("admin", ["acknowledge", "resolve", "close", "reopen", "assign", "delete_selected"]),
    ],
)
def test_each_role_is_offered_its_transitions_and_no_other_runs(
    name: str, offered: list[str]
) -> None:
    actions = {
        "acknowledge": "open",
        "resolve": "open",
        "close": "resolved",
        "reopen": "closed",
        "assign": "open",
        "delete_selected": "open",
    }
    person = create_person(name)
    browser = desk(person)
    for action, status in actions.items():
        incident = create_incident(status=status)
        page = browser.get(PAGE).content.decode()
        assert (f'value="{action}"' in page) == (action in offered)
        forged = {"action": action, "select_across": "1", "_selected_action": [incident.pk]}
        answer = {"confirmed": str(incident.pk), "assignee": person.user.pk}
        with recorded_events() as events:
            browser.post(PAGE, forged)
        assert events == []
        with recorded_events() as events:
            browser.post(PAGE, forged | answer)
        assert bool(events) == (action in offered and action != "delete_selected")


def test_a_transition_says_what_it_did_and_what_not(operator: Person) -> None:
    first, second = create_incident("a"), create_incident("b", "closed")
    with recorded_events() as events:
        response = run_action(desk(operator), "acknowledge", first, second, comment="Mine.")
    assert messages(response) == [
        "Incidents acknowledged now: 1.",
        "Left alone, as from their status they cannot become acknowledged: b.",
    ]
    [event] = events
    assert event.data["comment"] == "Mine."
    assert (event.subject, event.actor_username) == (f"incidents.incident/{first.pk}", "operator")


def test_many_are_given_to_somebody_who_may_look_at_them_or_to_nobody(
    operator: Person, responder: Person, outsider: Person
) -> None:
    incidents = [create_incident("a"), create_incident("b")]
    browser = desk(operator)
    refused = run_action(browser, "assign", *incidents, assignee=outsider.user.pk)
    assert list(refused.context["form"].errors) == ["assignee"]
    assert not Incident.objects.exclude(assignee=None)
    done = run_action(browser, "assign", *incidents, assignee=responder.user.pk)
    assert messages(done) == ["Incidents of responder: 2."]
    assert Incident.objects.filter(assignee=responder.user).count() == 2
    run_action(browser, "assign", incidents[0], assignee="")
    assert Incident.objects.filter(assignee=None).get() == incidents[0]


def test_deleting_emits_and_takes_its_notifications_with_it(admin: Person) -> None:
    incident = create_incident()
    services.comment(incident, admin.user, "Never mind.")
    Notification.objects.create(
        incident=incident, user=admin.user, event_type="incident.created", title="T"
    )
    with recorded_events() as events:
        desk(admin).post(f"{PAGE}{incident.pk}/delete/", {"post": "yes"})
    assert [(event.type, event.actor_username) for event in events] == [
        ("incident.deleted", "admin")
    ]
    assert not Notification.objects.exists()


# Automatic incidents


@pytest.mark.parametrize("saved", [False, True])
def test_the_rules_are_one_page_before_and_after_they_are_saved(admin: Person, saved: bool) -> None:
    if saved:
        AutomaticIncidents.objects.create(pk=1)
    browser = desk(admin)
    response = browser.get(RULES, follow=True)
    assert response.redirect_chain[-1][0] == f"{RULES}1/change/"
    form = {"enabled": "on", "failures": "5", "severity": "critical", "recovery": "0"}
    assert browser.post(f"{RULES}1/change/", form).status_code == 302
    rules = AutomaticIncidents.objects.values().get()
    assert rules == {
        "id": 1,
        "enabled": True,
        "failures": 5,
        "severity": "critical",
        "recovery": 0,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("failures", "0"), ("failures", "-1"), ("failures", "9" * 30), ("recovery", "-1")],
)
def test_wrong_rules_are_refused_in_the_form(admin: Person, field: str, value: str) -> None:
    form = {"enabled": "on", "failures": "5", "severity": "low", "recovery": "60"}
    response = desk(admin).post(f"{RULES}1/change/", form | {field: value})
    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert not AutomaticIncidents.objects.exists()


def test_the_rules_are_neither_added_nor_deleted(admin: Person) -> None:
    AutomaticIncidents.objects.create(pk=1)
    admin.user.is_superuser = True
    browser = desk(admin)
    assert browser.get(f"{RULES}add/").status_code == 403
    assert browser.post(f"{RULES}1/delete/", {"post": "yes"}).status_code == 403
    assert browser.get(f"{RULES}2/change/").status_code == 302
    assert AutomaticIncidents.objects.exists()


@pytest.mark.parametrize("name", ["viewer", "responder", "operator", "outsider"])
def test_only_admins_see_the_rules(name: str) -> None:
    browser = desk(create_person(name))
    assert browser.get(RULES).status_code == 403
    assert browser.get(f"{RULES}1/change/").status_code == 403
    form = {"enabled": "", "failures": "5", "severity": "low", "recovery": "60"}
    assert browser.post(f"{RULES}1/change/", form).status_code == 403
    assert not AutomaticIncidents.objects.exists()
