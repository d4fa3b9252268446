from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from incidents.api import IncidentViewSet
from incidents.models import Comment, Incident
from incidents.tests.cast import INCIDENTS, create_incident, path_of
from servers.models import Environment, Server
from servers.tests.cast import EVERYBODY, Person, create_person, create_server, recorded_events

pytestmark = pytest.mark.django_db

NEW = {"title": "Mail is slow"}

# What each may do: a request, and the status for viewer, responder, operator, admin, outsider and
# anonymous.
READ = (200, 200, 200, 200, 403, 401)
RIGHTS: dict[tuple[str, str], tuple[Any, tuple[int, ...]]] = {
    ("get", ""): (None, READ),
    ("head", ""): (None, READ),
    ("post", ""): (NEW, (403, 201, 201, 201, 403, 401)),
    ("get", "{id}/"): (None, READ),
    ("put", "{id}/"): (NEW, (403, 403, 200, 200, 403, 401)),
    ("patch", "{id}/"): (NEW, (403, 403, 200, 200, 403, 401)),
    ("delete", "{id}/"): (None, (403, 403, 403, 204, 403, 401)),
    ("post", "{id}/transition/"): ({"to": "resolved"}, (403, 200, 200, 200, 403, 401)),
    ("post", "{id}/assign/"): ({"assignee": None}, (403, 200, 200, 200, 403, 401)),
    ("post", "{id}/comment/"): ({"text": "Hm."}, (403, 201, 201, 201, 403, 401)),
    ("get", "{id}/timeline/"): (None, READ),
    ("head", "{id}/timeline/"): (None, READ),
}
ALLOWED = [
    (method, path, data, name, status)
    for (method, path), (data, statuses) in RIGHTS.items()
    for name, status in zip(EVERYBODY, statuses, strict=True)
]


@pytest.mark.parametrize(("method", "path", "data", "name", "status"), ALLOWED)
def test_each_role_may_do_what_the_matrix_says_and_nothing_else(
    method: str, path: str, data: Any, name: str, status: int
) -> None:
    incident = create_incident()
    before = Incident.objects.values().get()
    person = create_person(name)
    with recorded_events() as events:
        response = person.call(method, INCIDENTS + path.format(id=incident.pk), data)
    assert response.status_code == status
    if status in (401, 403):
        assert events == []
        assert Incident.objects.values().get() == before
        assert not Comment.objects.exists()
        if method != "head":
            assert set(response.json()) == {"detail"}


def test_the_matrix_names_every_route_of_the_api() -> None:
    routes = {("get", ""), ("post", "")}
    routes |= {(method, "{id}/") for method in ("get", "put", "patch", "delete")}
    actions: list[Any] = IncidentViewSet.get_extra_actions()
    for extra in actions:
        routes |= {(method, f"{{id}}/{extra.url_path}/") for method in extra.mapping}
    assert {key for key in RIGHTS if key[0] != "head"} == routes


# Writing


def test_what_is_created_is_what_is_read(responder: Person, server: Server) -> None:
    body = {
        "title": "Mail is slow",
        "description": "**Queues** grow.\n",
        "severity": "high",
        "assignee": "responder",
        "servers": ["web-01"],
    }
    created = responder.call("post", INCIDENTS, body)
    assert created.status_code == 201
    row = created.json()
    assert body.items() <= row.items()
    assert (row["reporter"], row["status"], row["automatic"]) == ("responder", "open", False)
    assert responder.call("get", f"{INCIDENTS}{row['id']}/").json() == row


def test_what_is_created_is_told_once(responder: Person, server: Server) -> None:
    with recorded_events() as events:
        responder.call("post", INCIDENTS, NEW | {"servers": ["web-01", "web-01"]})
    [event] = events
    assert (event.type, event.actor_username) == ("incident.created", "responder")
    assert event.data == NEW | {
        "id": Incident.objects.get().pk,
        "severity": "medium",
        "status": "open",
        "assignee": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "x" * 201),
        ("title", "a\0b"),
        ("title", None),
        ("description", "x" * 20_001),
        ("description", "\ud800"),
        ("severity", "worst"),
        ("servers", ["web-01", "nowhere"]),
        ("servers", "web-01"),
        ("servers", [1]),
        ("servers", ["\0"]),
        ("servers", None),
        ("assignee", "nobody"),
        ("assignee", "gone"),
        ("assignee", "outsider"),
        ("assignee", "\0"),
        ("assignee", 1),
        ("colour", "red"),
    ],
)
@pytest.mark.parametrize("method", ["post", "patch"])
def test_a_wrong_field_is_named_and_nothing_is_written(
    operator: Person, outsider: Person, server: Server, method: str, field: str, value: Any
) -> None:
    create_person("gone").user.delete()
    inactive = create_person("gone").user
    inactive.is_active = False
    inactive.save()
    incident = create_incident()
    before = Incident.objects.values().get()
    path = INCIDENTS if method == "post" else path_of(incident)
    with recorded_events() as events:
        response = operator.call(method, path, (NEW if method == "post" else {}) | {field: value})
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]
    assert events == []
    assert Incident.objects.values().get() == before


@pytest.mark.parametrize("name", ["status", "automatic", "reporter", "resolved_at", "updated_at"])
def test_what_is_only_read_is_not_written(operator: Person, name: str) -> None:
    incident = create_incident()
    before = Incident.objects.values().get()
    operator.call("patch", path_of(incident), {name: "closed"})
    assert Incident.objects.values().get() == before


def test_an_edit_tells_what_changed_from_what_to_what(operator: Person, server: Server) -> None:
    incident = create_incident(servers=(server, create_server("db-01")))
    create_server("db-02")
    body = {"severity": "critical", "assignee": "operator", "servers": ["db-02", "db-01"]}
    with recorded_events() as events:
        response = operator.call("patch", path_of(incident), body)
    assert response.json()["servers"] == ["db-01", "db-02"]
    [event] = events
    assert (event.type, event.actor_username) == ("incident.updated", "operator")
    assert event.data["changes"] == {
        "severity": {"old": "medium", "new": "critical"},
        "assignee": {"old": None, "new": "operator"},
        "servers": {"old": ["db-01", "web-01"], "new": ["db-01", "db-02"]},
    }


@pytest.mark.parametrize("value", ["gone", "nobody", "outsider", 7, ["responder"]])
def test_it_is_assigned_only_to_whom_it_can_be(
    responder: Person, outsider: Person, value: Any
) -> None:
    inactive = create_person("gone").user
    inactive.is_active = False
    inactive.save()
    incident = create_incident()
    with recorded_events() as events:
        response = responder.call("post", path_of(incident, "assign"), {"assignee": value})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["assignee"])
    assert events == []


def test_it_is_assigned_and_given_back(responder: Person, viewer: Person) -> None:
    incident = create_incident()
    path = path_of(incident, "assign")
    with recorded_events() as events:
        for name in ("viewer", None):
            assert responder.call("post", path, {"assignee": name}).json()["assignee"] == name
    assert [event.data["changes"]["assignee"] for event in events] == [
        {"old": None, "new": "viewer"},
        {"old": "viewer", "new": None},
    ]


def test_who_may_edit_but_not_assign_does_neither_by_the_other(
    outsider: Person, viewer: Person
) -> None:
    rights = ["view_incident", "add_incident", "change_incident"]
    outsider.user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    incident = create_incident(assignee=viewer.user)
    path = path_of(incident)
    for value in (None, "outsider"):
        assert outsider.call("patch", path, {"assignee": value}).status_code == 403
    assert outsider.call("post", INCIDENTS, NEW | {"assignee": "viewer"}).status_code == 403
    assert outsider.call("put", path, NEW | {"assignee": "viewer"}).status_code == 200
    assert outsider.call("post", INCIDENTS, NEW | {"assignee": None}).status_code == 201


@pytest.mark.parametrize(
    ("action", "body"), [("assign", {"assignee": None}), ("comment", {"text": "Hm."})]
)
def test_who_may_not_read_it_is_not_told_of_it_by_what_they_do(
    outsider: Person, action: str, body: dict[str, Any]
) -> None:
    incident = create_incident()
    rights = Permission.objects.filter(codename=f"{action}_incident")
    outsider.user.user_permissions.set(rights)
    with recorded_events() as events:
        assert outsider.call("post", path_of(incident, action), body).status_code == 403
    assert events == []
    outsider.user.user_permissions.add(Permission.objects.get(codename="view_incident"))
    assert outsider.call("post", path_of(incident, action), body).status_code in (200, 201)


def test_an_assignee_who_left_can_be_sent_back_but_not_chosen(
    operator: Person, viewer: Person
) -> None:
    incident, other = create_incident(assignee=viewer.user), create_incident("Another one")
    viewer.user.is_active = False
    viewer.user.save()
    read = {"title": "Disk fuller", "assignee": "viewer"}
    response = operator.call("put", path_of(incident), read)
    assert (response.status_code, response.json()["assignee"]) == (200, "viewer")
    assert operator.call("put", path_of(other), read).status_code == 400
    assert operator.call("post", INCIDENTS, read).status_code == 400


def test_a_comment_answers_with_its_entry(responder: Person) -> None:
    incident = create_incident()
    path = path_of(incident, "comment")
    with recorded_events() as events:
        response = responder.call("post", path, {"text": "It is *DNS*."})
    entry = response.json()
    assert (response.status_code, entry["type"]) == (201, "incident.commented")
    assert entry["data"] == events[0].data
    assert entry["data"]["html"] == "<p>It is <em>DNS</em>.</p>\n"
    assert entry["actor"]["username"] == entry["data"]["author"] == "responder"
    assert responder.call("get", path_of(incident, "timeline")).json()["results"][-1] == entry


@pytest.mark.parametrize("text", ["", " ", None, "x" * 20_001, "\0", "\ud800"])
def test_a_comment_that_is_none_is_refused(responder: Person, text: Any) -> None:
    incident = create_incident()
    response = responder.call("post", path_of(incident, "comment"), {"text": text})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["text"])
    assert not Comment.objects.exists()


# Edits that are not lost


def tag_of(person: Person, incident: Incident) -> str:
    return str(person.call("get", path_of(incident))["ETag"])


def edit_if(person: Person, incident: Incident, tag: str, body: Any) -> Any:
    person.api.credentials(HTTP_IF_MATCH=tag)
    try:
        return person.call("patch", path_of(incident), body)
    finally:
        person.api.credentials()


@pytest.mark.parametrize("body", [{"title": "Disk fuller"}, {"servers": []}, {"servers": ["db"]}])
def test_an_edit_of_what_is_past_is_refused(
    operator: Person, server: Server, body: dict[str, Any]
) -> None:
    create_server("db")
    incident = create_incident(servers=(server,))
    tag = tag_of(operator, incident)
    assert operator.call("patch", path_of(incident), body).status_code == 200
    before = Incident.objects.values().get()
    response = edit_if(operator, incident, tag, {"severity": "low", "servers": ["web-01"]})
    assert response.status_code == 412
    assert body.items() <= response.json()["current"].items()
    assert Incident.objects.values().get() == before
    assert edit_if(operator, incident, response["ETag"], {"severity": "low"}).status_code == 200


def test_what_nobody_edits_leaves_the_tag_as_it_is(operator: Person, server: Server) -> None:
    other = create_server("db-01")
    incident = create_incident(servers=(server, other))
    tag = tag_of(operator, incident)
    operator.call("post", path_of(incident, "transition"), {"to": "acknowledged"})
    operator.call("post", path_of(incident, "comment"), {"text": "Hm."})
    Server.objects.filter(pk=server.pk).update(name="a-01", status="failed")
    assert tag_of(operator, incident) == tag
    response = edit_if(operator, incident, tag, {"servers": ["db-01"]})
    assert response.status_code == 200
    assert response["ETag"] == tag_of(operator, incident) != tag


def test_the_tag_of_a_channel_stands_for_its_environments_too(
    admin: Person, environment: Environment
) -> None:
    path = "/api/v1/notification-channels/"
    body = {"name": "Desk", "kind": "webhook", "url": "https://desk.example.com/in"}
    created = admin.call("post", path, body)
    assert created.status_code == 201, created.json()
    path += f"{created.json()['id']}/"
    tag = admin.call("get", path)["ETag"]
    assert created["ETag"] == tag
    changed = admin.call("patch", path, {"environments": ["production"]})
    assert changed["ETag"] != tag
    admin.api.credentials(HTTP_IF_MATCH=tag)
    assert admin.call("patch", path, {"environments": []}).status_code == 412


# Picking


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["c", "b", "a"]),
        ("status=open", ["a"]),
        ("status=open&status=closed", ["c", "a"]),
        ("severity=low&severity=high", ["b", "a"]),
        ("status=open&severity=high", []),
        ("assignee=responder", ["b"]),
        ("assignee=nobody", []),
        ("server=web-01", ["b", "a"]),
        ("server=gone-01", ["c"]),
        ("search=QUEUE", ["c"]),
        ("ordering=title", ["a", "b", "c"]),
        ("ordering=-created_at", ["c", "b", "a"]),
    ],
)
def test_the_list_is_picked_from(
    responder: Person, server: Server, query: str, expected: list[str]
) -> None:
    gone = create_server("gone-01")
    create_incident("a", severity="low", servers=(server,))
    create_incident("b", "resolved", (server,), severity="high", assignee=responder.user)
    create_incident("c", "closed", (gone,), description="The queue grows.")
    gone.delete()
    rows = responder.call("get", f"{INCIDENTS}?{query}").json()["results"]
    assert [row["title"] for row in rows] == expected


@pytest.mark.parametrize(
    "query", ["status=gone", "severity=worst", "ordering=secret", "search=%00"]
)
def test_a_wrong_filter_is_refused(viewer: Person, query: str) -> None:
    assert viewer.call("get", f"{INCIDENTS}?{query}").status_code == 400


def test_a_filter_beside_an_edit_does_not_hurt(operator: Person) -> None:
    """PostgreSQL locks no row of a DISTINCT."""
    incident = create_incident()
    path = f"{path_of(incident)}?status=open&severity=medium&search=disk"
    assert operator.call("patch", path, {"title": "Disk fuller"}).status_code == 200


def test_a_list_takes_no_more_queries_for_more_incidents(viewer: Person, server: Server) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert viewer.call("get", INCIDENTS).status_code == 200
        return len(queries)

    create_incident(servers=(server,), assignee=viewer.user, reporter=viewer.user)
    few = count()
    for name in ("db-01", "db-02", "db-03"):
        create_incident(servers=(server, create_server(name)), assignee=viewer.user)
    assert count() == few
