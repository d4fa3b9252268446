"""What an incident tells of itself, and what stays of it when others go."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from incidents import services
from incidents.models import Incident
from incidents.tests.cast import age, create_incident, path_of
from servers.models import Server
from servers.tests.cast import Person, create_server, recorded_events

pytestmark = pytest.mark.django_db


def affected(incident: Incident) -> list[str]:
    return services.affected_names(incident)


# The phases


def test_each_phase_has_its_time_and_a_reopened_one_begins_anew(operator: Person) -> None:
    incident = create_incident()
    times = ["acknowledged_at", "resolved_at", "closed_at", "reopened_at"]
    for so_far, status in enumerate(("acknowledged", "resolved", "closed")):
        assert [name for name in times if getattr(incident, name)] == times[:so_far]
        services.transition_to(incident, status, operator.user)
    moments = [incident.created_at, *(getattr(incident, name) for name in times[:3])]
    assert moments == sorted(moments)
    services.transition_to(incident, "open", operator.user)
    assert [name for name in times if getattr(incident, name)] == ["reopened_at"]


def test_the_times_to_do_something_count_from_its_opening(viewer: Person) -> None:
    incident = create_incident(status="resolved")
    age(incident, created=60, acknowledged=50, resolved=20)
    row = viewer.call("get", path_of(incident)).json()
    assert (row["time_to_acknowledge"], row["time_to_resolve"]) == (600, 2400)


def test_the_times_of_a_reopened_one_count_from_then(operator: Person) -> None:
    incident = create_incident(status="closed")
    services.transition_to(incident, "open", operator.user)
    row = operator.call("get", path_of(incident)).json()
    assert (row["time_to_acknowledge"], row["time_to_resolve"]) == (None, None)
    services.transition_to(incident, "resolved", operator.user)
    age(incident, created=9000, reopened=60, resolved=20)
    row = operator.call("get", path_of(incident)).json()
    # It was resolved without anybody's having acknowledged it.
    assert (row["time_to_acknowledge"], row["time_to_resolve"]) == (None, 2400)


# What it affects


def test_a_server_that_is_deleted_stays_by_the_name_it_had_last(
    server: Server, viewer: Person
) -> None:
    incident = create_incident(servers=(server, create_server("db-01")))
    server.name = "web-one"
    server.save()
    assert affected(incident) == ["db-01", "web-one"]
    server.delete()
    assert affected(incident) == ["db-01", "web-one"]
    assert viewer.call("get", path_of(incident)).json()["servers"] == ["db-01", "web-one"]


def test_so_do_many_that_are_deleted_at_once(server: Server) -> None:
    other = create_server("db-01")
    incident = create_incident(servers=(server, other))
    Server.objects.filter(pk=other.pk).update(name="db-one")
    Server.objects.all().delete()
    assert affected(incident) == ["db-one", "web-01"]


def test_a_server_that_somebody_else_has_deleted_keeps_its_name(server: Server) -> None:
    incident = create_incident(servers=(server,))
    Server.objects.get(pk=server.pk).delete()
    server.delete()
    assert affected(incident) == ["web-01"]


def test_a_name_that_was_not_saved_is_not_kept(server: Server) -> None:
    incident = create_incident(servers=(server,))
    server.name = "only here"
    server.delete()
    assert affected(incident) == ["web-01"]


def test_servers_that_are_gone_stay_when_others_are_chosen(server: Server) -> None:
    incident = create_incident(servers=(server,))
    server.delete()
    services.edit(incident, {}, [create_server("db-01")])
    assert affected(incident) == ["db-01", "web-01"]
    services.edit(incident, {}, [])
    assert affected(incident) == ["web-01"]


def test_choosing_the_same_servers_changes_nothing(server: Server) -> None:
    incident = create_incident(servers=(server,))
    before = Incident.objects.values().get()
    with recorded_events() as events:
        services.edit(incident, {"title": "Disk full"}, [server])
    assert events == []
    assert Incident.objects.values().get() == before


def test_an_edit_of_the_servers_alone_is_an_update_too(server: Server) -> None:
    incident = create_incident()
    before = incident.updated_at
    with recorded_events() as events:
        services.edit(incident, {}, [server])
    [event] = events
    assert event.type == "incident.updated"
    assert event.data["changes"] == {"servers": {"old": [], "new": ["web-01"]}}
    assert Incident.objects.get().updated_at > before


def test_an_edit_of_fields_and_servers_is_one_update(server: Server, operator: Person) -> None:
    incident = create_incident()
    before = incident.updated_at
    values = {"title": "Disks full", "severity": "medium", "assignee": operator.user}
    with recorded_events() as events:
        services.edit(incident, values, [server])
    [event] = events
    assert event.data == {
        "id": incident.pk,
        "title": "Disks full",
        "severity": "medium",
        "status": "open",
        "assignee": "operator",
        "changes": {
            "title": {"old": "Disk full", "new": "Disks full"},
            "assignee": {"old": None, "new": "operator"},
            "servers": {"old": [], "new": ["web-01"]},
        },
    }
    row = Incident.objects.get()
    assert (row.title, row.assignee) == ("Disks full", operator.user)
    assert row.updated_at == incident.updated_at > before


def test_a_credential_that_cannot_be_read_stops_no_list(
    server: Server, responder: Person, settings: Any
) -> None:
    incident = create_incident(servers=(server,))
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert responder.call("get", path_of(incident)).json()["servers"] == ["web-01"]
    body = {"to": "acknowledged"}
    response = responder.call("post", path_of(incident, "transition"), body)
    assert (response.status_code, response.json()["servers"]) == (200, ["web-01"])


# People


def test_when_its_people_are_deleted_it_stays_and_says_so(
    responder: Person, operator: Person, viewer: Person
) -> None:
    incident = create_incident(reporter=responder.user, assignee=responder.user)
    services.comment(incident, responder.user, "Looking.")
    with recorded_events() as events:
        get_user_model().objects.get(pk=responder.user.pk).delete()
    row = viewer.call("get", path_of(incident)).json()
    assert (row["reporter"], row["assignee"]) == (None, None)
    told = [event for event in events if event.type.startswith("incident.")]
    assert [event.data["changes"] for event in told] == [
        {"assignee": {"old": "responder", "new": None}}
    ]
    entries = viewer.call("get", path_of(incident, "timeline")).json()["results"]
    [said] = [entry for entry in entries if entry["type"] == "incident.commented"]
    assert said["data"]["author"] == "responder"


def test_an_incident_is_given_to_nobody_who_may_not_look_at_it(outsider: Person) -> None:
    with pytest.raises(ValidationError, match="may not view incidents"):
        create_incident(assignee=outsider.user)
    incident = create_incident()
    with pytest.raises(ValidationError, match="may not view incidents"):
        services.assign(incident, outsider.user)
    assert Incident.objects.get().assignee is None


def test_who_has_it_already_keeps_it_without_that_right(responder: Person) -> None:
    incident = create_incident(assignee=responder.user)
    responder.user.groups.clear()
    incident = Incident.objects.get(pk=incident.pk)
    services.edit(incident, {"title": "Disk fuller", "assignee": incident.assignee})
    assert Incident.objects.get().title == "Disk fuller"


def test_assigning_again_the_same_is_no_event(responder: Person) -> None:
    incident = create_incident(assignee=responder.user)
    with recorded_events() as events:
        services.assign(incident, responder.user)
    assert events == []
