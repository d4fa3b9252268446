from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from servers import checks, ssh
from servers.models import Credential, Environment, Server
from servers.serializers import ServerSerializer
from servers.tests.cast import (
    PASSWORD,
    SERVERS,
    Job,
    Person,
    client_of,
    create_person,
    create_server,
    path_of,
    place_events,
    recorded_events,
)
from servers.tests.keys import new_host_key

pytestmark = pytest.mark.django_db

NEW = {"name": "db-01", "host": "db-01.example.com", "username": "root"}
SECRET = "swordfish"


def test_a_role_that_is_taken_away_counts_with_the_same_token(viewer: Person) -> None:
    assert viewer.call("get").status_code == 200
    viewer.user.groups.clear()
    assert viewer.call("get").status_code == 403


def test_the_session_works_too_and_then_asks_for_a_csrf_token(operator: Person) -> None:
    browser = APIClient(enforce_csrf_checks=True)
    assert browser.login(username="operator", password=PASSWORD)
    assert browser.get(SERVERS).status_code == 200
    response = browser.post(SERVERS, NEW)
    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]
    assert not Server.objects.exists()


def test_a_row_that_is_not_there_is_404_to_those_who_may_look(
    viewer: Person, outsider: Person
) -> None:
    for number in ("0", "9" * 30, "9" * 5000):
        response = viewer.call("get", f"{SERVERS}{number}/")
        assert (response.status_code, set(response.json())) == (404, {"detail"})
        assert outsider.call("get", f"{SERVERS}{number}/").status_code == 403


# Reading and writing.


def test_what_is_created_is_what_is_read(operator: Person, environment: Environment) -> None:
    body = NEW | {"port": 2222, "environment": "production", "tags": ["db", "eu-1"]}
    created = operator.call("post", SERVERS, body)
    assert created.status_code == 201
    assert created.json() == operator.call("get", f"{SERVERS}{created.json()['id']}/").json()
    assert created.json().items() >= {**body, "status": "unknown"}.items()


def test_put_resets_what_it_leaves_out_and_patch_does_not(operator: Person) -> None:
    server = create_server(port=2222, tags=["web"])
    assert operator.call("patch", path_of(server), {"host": "b.example"}).json()["port"] == 2222
    body = {"name": "web-01", "host": "c.example", "username": "ops"}
    assert operator.call("put", path_of(server), body).json()["port"] == 22


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", None),
        ("name", ["web"]),
        ("name", "web\x00"),
        ("name", "\ud800"),
        ("host", "no spaces"),
        ("host", "http://example.com"),
        ("host", "-oProxyCommand=id"),
        ("host", "a" * 254),
        ("port", 0),
        ("port", 65536),
        ("port", "ssh"),
        ("port", None),
        ("username", "a:b"),
        ("username", "ro\not"),
        ("credential", 7 * [1]),
        ("credential", "x" * 20_001),
        ("environment", "no-such-environment"),
        ("environment", "\x00"),
        ("environment", "\ud800"),
        ("environment", {"name": "production"}),
        ("tags", "web"),
        ("tags", ["Web"]),
        ("tags", ["a", "a"]),
        ("tags", ["x" * 51]),
        ("tags", [1, None]),
        ("tags", [f"t{number}" for number in range(21)]),
        ("tags", None),
    ],
)
def test_a_wrong_value_is_refused_by_its_fields_name(
    operator: Person, field: str, value: Any
) -> None:
    with recorded_events() as events:
        response = operator.call("post", SERVERS, NEW | {field: value})
    assert response.status_code == 400
    assert response.json()["detail"]
    assert list(response.json()["errors"]) == [field]
    assert not Server.objects.exists()
    assert events == []


def test_a_name_is_given_once(operator: Person, server: Server) -> None:
    response = operator.call("post", SERVERS, NEW | {"name": server.name})
    assert response.status_code == 400
    assert list(response.json()["errors"]) == ["name"]


@pytest.mark.parametrize("method", ["post", "put", "patch"])
@pytest.mark.parametrize("name", ["colour", "test_id", "host_key", "\ud800", "__class__", ""])
def test_unknown_fields_are_refused_by_name(
    operator: Person, server: Server, method: str, name: str
) -> None:
    path = SERVERS if method == "post" else path_of(server)
    response = operator.call(method, path, NEW | {name: "x"})
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [name]
    assert Server.objects.get().name == "web-01"


@pytest.mark.parametrize(
    "field", ["id", "status", "last_tested_at", "last_test_message", "created_at"]
)
def test_what_the_portal_finds_out_itself_cannot_be_written(
    operator: Person, server: Server, field: str
) -> None:
    before = Server.objects.values(field).get()
    operator.call("patch", path_of(server), {field: "success"})
    assert Server.objects.values(field).get() == before


def test_deleting_a_server_leaves_the_others(admin: Person, server: Server) -> None:
    other = create_server("web-02")
    assert admin.call("delete", path_of(server)).status_code == 204
    assert admin.call("get", path_of(server)).status_code == 404
    assert Server.objects.get() == other


def test_a_test_that_ends_during_an_edit_is_not_undone_by_it(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, committing: Callable[[], Any]
) -> None:
    operator = create_person("operator")
    server = create_server()
    checks.request_test(server, None)
    outcome = ssh.Outcome(True, "Logged in.", 12.0)
    assert server.test_id is not None

    def record() -> None:
        assert server.test_id is not None
        checks.record_outcome(server.pk, server.test_id, outcome)
        connection.close()

    worker = threading.Thread(target=record)

    def slow_validate(self: ServerSerializer, values: dict[str, Any]) -> dict[str, Any]:
        worker.start()
        worker.join(0.3)  # time enough to slip between reading and writing, where nothing stops it
        return values

    monkeypatch.setattr(ServerSerializer, "validate", slow_validate)
    assert operator.call("patch", path_of(server), {"tags": ["web"]}).status_code == 200
    worker.join()
    server.refresh_from_db()
    assert (server.tags, server.status) == (["web"], "success")


# The credential.


def test_the_credential_is_in_no_answer(operator: Person, admin: Person) -> None:
    created = operator.call("post", SERVERS, NEW | {"credential": SECRET})
    path = f"{SERVERS}{created.json()['id']}/"
    answers = [
        created,
        operator.call("get"),
        operator.call("get", path),
        operator.call("patch", path, {"credential": f"{SECRET}!"}),
        operator.call("patch", path, {"port": 23}),
        operator.call("put", path, NEW | {"credential": SECRET}),
        operator.call("put", path, NEW | {"credential": SECRET, "port": "no"}),
        operator.call("get", f"{path}host-key/"),
        operator.call("post", f"{path}test-connection/"),
        operator.call("options", path),
        operator.call("get", f"{SERVERS}?search={SECRET}&credential={SECRET}"),
        admin.call("delete", path),
    ]
    for answer in answers:
        body = answer.content.decode().replace(f"search={SECRET}&credential={SECRET}", "")
        assert SECRET not in body
        assert '"credential":"' not in body


def test_the_credential_is_kept_as_it_was_typed(operator: Person) -> None:
    secret = "  ünï \t\r\n"
    operator.call("post", SERVERS, NEW | {"credential": secret})
    assert Server.objects.get().credential == secret


def test_a_change_that_does_not_name_the_credential_keeps_it(
    operator: Person, server: Server
) -> None:
    operator.call("patch", path_of(server), {"port": 23})
    operator.call("put", path_of(server), NEW)
    assert Server.objects.get().credential == SECRET
    operator.call("patch", path_of(server), {"credential": ""})
    assert Server.objects.get().credential == ""


def test_reading_never_decrypts_a_credential(viewer: Person, server: Server) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE servers_server SET credential = 'no token'")
    assert viewer.call("get").status_code == 200
    assert viewer.call("get", path_of(server)).status_code == 200


# The cursor that joins an answer and the stream.


@pytest.mark.parametrize("path", ["", "{id}/", "{id}/host-key/"])
def test_reads_carry_the_logs_head(viewer: Person, server: Server, path: str) -> None:
    head = place_events()
    assert head > 0
    response = viewer.call("get", SERVERS + path.format(id=server.pk))
    assert response.headers["X-Event-Cursor"] == str(head)
    server.port = 99
    server.save()
    unplaced = viewer.call("get", SERVERS + path.format(id=server.pk))
    assert unplaced.headers["X-Event-Cursor"] == str(head)
    place_events()
    placed = viewer.call("get", SERVERS + path.format(id=server.pk))
    assert placed.headers["X-Event-Cursor"] == str(head + 1)


@pytest.mark.parametrize("path", ["", "{id}/", "{id}/host-key/"])
def test_the_cursor_is_read_before_the_data(viewer: Person, server: Server, path: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        viewer.call("get", SERVERS + path.format(id=server.pk))
    statements = [query["sql"] for query in queries]
    cursor = [number for number, sql in enumerate(statements) if "events_loghead" in sql]
    data = [number for number, sql in enumerate(statements) if 'FROM "servers_server"' in sql]
    assert len(cursor) == 1
    assert data
    assert cursor[0] < min(data)


def test_a_refusal_carries_no_cursor(outsider: Person, server: Server) -> None:
    assert "X-Event-Cursor" not in outsider.call("get").headers


# Connection tests.


def test_a_test_is_accepted_told_and_queued(
    responder: Person,
    server: Server,
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    with recorded_events() as events, committing():
        response = responder.call("post", path_of(server, "test-connection"))
        assert jobs() == []  # not before the commit
    server.refresh_from_db()
    assert response.status_code == 202
    assert response.json()["status"] == server.status == "testing"
    [event] = events
    assert (event.type, event.actor_id) == ("server.status_changed", responder.user.pk)
    assert (event.data["old_status"], event.data["new_status"]) == ("unknown", "testing")
    [job] = jobs()
    assert job.task == "servers.tasks.test_connection"
    assert job.arguments == [server.pk, str(server.test_id), responder.user.pk]


def test_a_second_test_meanwhile_starts_no_second_job(
    responder: Person,
    operator: Person,
    server: Server,
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    with committing():
        responder.call("post", path_of(server, "test-connection"))
    with recorded_events() as events, committing():
        response = operator.call("post", path_of(server, "test-connection"))
    assert (response.status_code, response.json()["status"]) == (202, "testing")
    assert events == []
    assert len(jobs()) == 1


def test_a_refused_test_is_not_queued(
    viewer: Person,
    outsider: Person,
    server: Server,
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    with committing():
        viewer.call("post", path_of(server, "test-connection"))
        outsider.call("post", path_of(server, "test-connection"))
    assert jobs() == []


def test_a_test_takes_no_input(responder: Person, server: Server) -> None:
    response = responder.call("post", path_of(server, "test-connection"), {"host": "evil"})
    assert (response.status_code, list(response.json()["errors"])) == (400, ["host"])
    server.refresh_from_db()
    assert server.status == "unknown"


# Host keys.


def test_host_keys_are_told_by_their_fingerprints(viewer: Person, server: Server) -> None:
    path = path_of(server, "host-key")
    assert viewer.call("get", path).json() == {"accepted": None, "offered": None}
    server.host_key, server.offered_host_key = new_host_key(), new_host_key()
    server.save()
    assert viewer.call("get", path).json() == {
        "accepted": ssh.fingerprint(server.host_key),
        "offered": ssh.fingerprint(server.offered_host_key),
    }


def test_the_offered_key_is_accepted_by_its_fingerprint(operator: Person, server: Server) -> None:
    offered = new_host_key()
    Server.objects.update(host_key=new_host_key(), offered_host_key=offered)
    body = {"fingerprint": ssh.fingerprint(offered)}
    with recorded_events() as events:
        response = operator.call("post", path_of(server, "host-key"), body)
    assert response.status_code == 200
    assert response.json() == {"accepted": ssh.fingerprint(offered), "offered": None}
    server.refresh_from_db()
    assert (server.host_key, server.offered_host_key) == (offered, "")
    [event] = events
    assert (event.type, event.actor_username) == ("server.updated", "operator")
    assert list(event.data["changes"]) == ["host_key"]


@pytest.mark.parametrize("offers", [True, False])
def test_any_other_fingerprint_is_a_conflict(
    operator: Person, server: Server, offers: bool
) -> None:
    accepted = new_host_key()
    Server.objects.update(host_key=accepted, offered_host_key=new_host_key() if offers else "")
    body = {"fingerprint": ssh.fingerprint(accepted)}
    with recorded_events() as events:
        response = operator.call("post", path_of(server, "host-key"), body)
    assert (response.status_code, set(response.json())) == (409, {"detail"})
    assert events == []
    assert Server.objects.get().host_key == accepted


@pytest.mark.parametrize("body", [{}, {"fingerprint": ""}, {"fingerprint": "x", "force": True}])
def test_accepting_a_key_takes_a_fingerprint_and_nothing_else(
    operator: Person, server: Server, body: dict[str, Any]
) -> None:
    response = operator.call("post", path_of(server, "host-key"), body)
    assert response.status_code == 400
    assert response.json()["detail"]


def test_the_right_to_one_action_is_no_right_to_another(
    outsider: Person, server: Server, django_user_model: Any
) -> None:
    outsider.user.user_permissions.add(Permission.objects.get(codename="accept_host_key"))
    person = Person(client_of(django_user_model.objects.get(pk=outsider.user.pk)))
    assert person.call("post", path_of(server, "test-connection")).status_code == 403
    assert person.call("get", path_of(server, "host-key")).status_code == 403
    assert person.call("patch", path_of(server), {"port": 1}).status_code == 403


@pytest.fixture
def deploy(db: None) -> Credential:
    return Credential.objects.create(name="deploy", kind="password", secret="swordfish")


@pytest.mark.parametrize("method", ["post", "patch"])
def test_who_may_not_view_credentials_binds_none_and_guesses_no_name(
    outsider: Person, server: Server, deploy: Credential, method: str
) -> None:
    outsider.user.user_permissions.add(
        *Permission.objects.filter(codename__in=["add_server", "change_server", "view_server"])
    )
    path = path_of(server) if method == "patch" else SERVERS
    body = {"name": "b", "host": "h", "username": "u"}
    for name in (deploy.name, "guess"):
        response = outsider.call(method, path, body | {"shared_credential": name})
        assert response.status_code == 400
        assert response.json()["errors"] == {"shared_credential": ["There is no such credential."]}
    assert not Server.objects.exclude(shared_credential=None).exists()


def test_who_may_not_view_credentials_keeps_and_takes_away_the_present_one(
    outsider: Person, deploy: Credential
) -> None:
    outsider.user.user_permissions.add(Permission.objects.get(codename="change_server"))
    server = create_server(credential="", shared_credential=deploy)
    for name in (deploy.name, None):
        values = {"port": 23, "shared_credential": name}
        assert outsider.call("patch", path_of(server), values).status_code == 200
        server.refresh_from_db()
        assert (server.port, server.shared_credential) == (23, deploy if name else None)


def test_who_may_view_credentials_is_told_of_an_unknown_one(operator: Person) -> None:
    body = {"name": "b", "host": "h", "username": "u", "shared_credential": "guess"}
    errors = operator.call("post", SERVERS, body).json()["errors"]
    assert errors == {"shared_credential": ["There is no such credential."]}


def test_a_credential_of_its_own_beside_the_present_shared_one_is_refused(
    operator: Person, deploy: Credential
) -> None:
    server = create_server(credential="", shared_credential=deploy)
    both = {"credential": "x", "shared_credential": deploy.name}
    response = operator.call("patch", path_of(server), both)
    assert (response.status_code, list(response.json()["errors"])) == (400, ["shared_credential"])
    server.refresh_from_db()
    assert (server.credential, server.shared_credential) == ("", deploy)


def test_no_credential_for_a_server_that_has_none_of_its_own_changes_nothing(
    operator: Person, deploy: Credential
) -> None:
    server = create_server(credential="", shared_credential=deploy, status="success")
    with recorded_events() as events:
        assert operator.call("patch", path_of(server), {"credential": ""}).status_code == 200
    server.refresh_from_db()
    assert (server.status, server.shared_credential, events) == ("success", deploy, [])


def test_no_credential_takes_its_own_away(operator: Person) -> None:
    server = create_server(status="success")
    assert operator.call("patch", path_of(server), {"credential": ""}).status_code == 200
    server.refresh_from_db()
    assert (server.status, server.credential) == ("unknown", "")
