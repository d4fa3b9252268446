"""Nobody's edit undoes another's unnoticed."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection, models, transaction

from events.relay import relay
from servers import checks, ssh
from servers.models import Credential, Environment, Server
from servers.tests.cast import (
    SERVERS,
    Person,
    create_person,
    create_server,
    path_of,
    recorded_events,
)

pytestmark = pytest.mark.django_db

KINDS = ("servers", "credentials", "environments")
WHOLE = {
    "servers": {"name": "first", "host": "h.example", "username": "ops"},
    "credentials": {"name": "first", "kind": "password", "secret": "swordfish"},
    "environments": {"name": "first"},
}


def send(person: Person, method: str, path: str, tag: str | None, data: Any = None) -> Any:
    body = "" if data is None else json.dumps(data)
    headers = {} if tag is None else {"If-Match": tag}
    return person.api.generic(
        method.upper(), path, body, content_type="application/json", headers=headers
    )


def tag_of(person: Person, path: str) -> str:
    return str(person.call("get", path).headers["ETag"])


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def row(admin: Person, kind: str) -> str:
    """The path of a row of each kind."""
    created = admin.call("post", f"/api/v1/{kind}/", WHOLE[kind])
    assert created.status_code == 201
    return f"/api/v1/{kind}/{created.json()['id']}/"


def stored(kind: str) -> list[dict[str, Any]]:
    """The raw rows."""
    table = {"servers": Server, "credentials": Credential, "environments": Environment}[kind]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table._meta.db_table} ORDER BY id")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def test_reading_creating_and_writing_tell_the_same_tag(admin: Person, kind: str) -> None:
    created = admin.call("post", f"/api/v1/{kind}/", WHOLE[kind])
    path = f"/api/v1/{kind}/{created.json()['id']}/"
    tag = created.headers["ETag"]
    assert re.fullmatch('"[0-9a-f]{32}"', tag)
    assert tag_of(admin, path) == tag
    edited = admin.call("patch", path, {"name": "second"})
    assert edited.headers["ETag"] == tag_of(admin, path) != tag


@pytest.mark.parametrize("method", ["patch", "put", "delete"])
def test_a_stale_write_gets_the_current_state_and_writes_nothing(
    admin: Person, kind: str, row: str, method: str
) -> None:
    stale = tag_of(admin, row)
    admin.call("patch", row, {"name": "second"})
    before, now = stored(kind), admin.call("get", row)
    with recorded_events() as events:
        response = send(admin, method, row, stale, WHOLE[kind] | {"name": "third"})
    assert response.status_code == 412
    assert response.json()["detail"]
    assert response.json()["current"] == now.json()
    assert response.headers["ETag"] == now.headers["ETag"]
    assert "swordfish" not in response.content.decode()
    assert events == []
    assert stored(kind) == before


@pytest.mark.parametrize("method", ["patch", "put", "delete"])
@pytest.mark.parametrize("header", ["{tag}", "*", ' "other" , {tag}', "{tag},W/{tag}"])
def test_a_write_that_names_the_current_tag_is_done(
    admin: Person, kind: str, row: str, method: str, header: str
) -> None:
    matching = header.format(tag=tag_of(admin, row))
    response = send(admin, method, row, matching, WHOLE[kind] | {"name": "third"})
    assert response.status_code == (204 if method == "delete" else 200)


@pytest.mark.parametrize("method", ["patch", "put", "delete"])
def test_without_if_match_the_last_one_writes(
    admin: Person, kind: str, row: str, method: str
) -> None:
    response = admin.call(method, row, WHOLE[kind] | {"name": "third"})
    assert response.status_code in (200, 204)


@pytest.mark.parametrize("method", ["patch", "delete"])
@pytest.mark.parametrize(
    "header", ["W/{tag}", "", "{bare}", '"', '"{bare}', "{bare}*", '"*"', ",", "\xff", "*, {tag}x"]
)
def test_what_is_no_strong_tag_of_it_never_matches(
    admin: Person, row: str, method: str, header: str
) -> None:
    """RFC 9110, 13.1.1: the comparison is strong."""
    tag = tag_of(admin, row)
    text = header.format(tag=tag, bare=tag.strip('"'))
    response = send(admin, method, row, text, {"name": "third"})
    assert response.status_code == 412
    assert admin.call("get", row).json()["name"] == "first"


def test_who_may_not_write_is_not_told_the_state(row: str, outsider: Person) -> None:
    for header in ('"stale"', "*"):
        response = send(outsider, "patch", row, header, {"name": "third"})
        assert (response.status_code, set(response.json())) == (403, {"detail"})
        assert "ETag" not in response.headers


def test_a_row_that_is_gone_is_404_whatever_is_named(admin: Person, kind: str, row: str) -> None:
    admin.call("delete", row)
    for method in ("patch", "put", "delete"):
        for header in ("*", '"x"'):
            assert send(admin, method, row, header, WHOLE[kind]).status_code == 404


@pytest.mark.parametrize("method", ["get", "patch", "put", "delete"])
@pytest.mark.parametrize("number", ["0", "9" * 30, "9" * 5000])
def test_a_number_that_no_row_has_is_404(
    admin: Person, kind: str, method: str, number: str
) -> None:
    response = send(admin, method, f"/api/v1/{kind}/{number}/", None, WHOLE[kind])
    assert (response.status_code, set(response.json())) == (404, {"detail"})


def test_what_a_test_finds_meanwhile_makes_no_edit_stale(operator: Person, server: Server) -> None:
    tag = tag_of(operator, path_of(server))
    checks.request_test(server, None)
    assert server.test_id is not None
    outcome = ssh.Outcome(False, "Refused.", 3.5, "ssh-ed25519 AAAA")
    checks.record_outcome(server.pk, server.test_id, outcome)
    assert tag_of(operator, path_of(server)) == tag
    assert send(operator, "patch", path_of(server), tag, {"tags": ["x"]}).status_code == 200
    server.refresh_from_db()
    assert (server.status, server.last_test_message) == ("failed", "Refused.")


@pytest.mark.parametrize(
    "values",
    [
        {"host": "b.example"},
        {"port": 23},
        {"username": "root"},
        {"credential": "starfish"},
        {"environment": "production"},
        {"tags": ["x"]},
        {"check_interval": 60},
    ],
)
def test_every_field_that_may_be_edited_counts(
    operator: Person, server: Server, environment: Environment, values: dict[str, Any]
) -> None:
    tag = tag_of(operator, path_of(server))
    assert operator.call("patch", path_of(server), values).status_code == 200
    assert tag_of(operator, path_of(server)) != tag


def test_an_edit_of_nothing_but_the_secret_makes_others_stale(operator: Person) -> None:
    created = operator.call("post", "/api/v1/credentials/", WHOLE["credentials"])
    path = f"/api/v1/credentials/{created.json()['id']}/"
    edited = send(operator, "patch", path, created.headers["ETag"], {"secret": "starfish"})
    assert edited.status_code == 200
    response = send(operator, "patch", path, created.headers["ETag"], {"secret": "sawfish"})
    assert response.status_code == 412
    assert Credential.objects.get().secret == "starfish"


def test_a_tag_tells_nothing_of_the_secret(operator: Person) -> None:
    """Of the same secret, another: or who reads the tag could try secrets out."""
    created = operator.call("post", "/api/v1/credentials/", WHOLE["credentials"])
    path = f"/api/v1/credentials/{created.json()['id']}/"
    again = operator.call("patch", path, {"secret": WHOLE["credentials"]["secret"]})
    assert again.headers["ETag"] != created.headers["ETag"]


@pytest.mark.parametrize("kind", ["servers", "credentials"], indirect=True)
def test_with_a_lost_key_it_can_be_read_and_given_another_secret(
    admin: Person, kind: str, row: str, settings: Any
) -> None:
    field = {"servers": "credential", "credentials": "secret"}[kind]
    admin.call("patch", row, {field: "swordfish"})
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    tag = tag_of(admin, row)
    renamed = send(admin, "patch", row, tag, {"name": "second"})
    assert renamed.status_code == 200
    assert send(admin, "patch", row, tag, {"name": "third"}).status_code == 412
    with recorded_events() as events:
        given = send(admin, "patch", row, renamed.headers["ETag"], {field: "starfish"})
    assert given.status_code == 200
    assert [list(event.data["changes"]) for event in events] == [[field]]
    [value] = {"servers": Server, "credentials": Credential}[kind].objects.values_list(
        field, flat=True
    )
    assert value == "starfish"


@pytest.mark.parametrize("kind", ["servers", "credentials"], indirect=True)
def test_with_a_lost_key_it_can_be_deleted(
    admin: Person, kind: str, row: str, settings: Any
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert admin.call("delete", row).status_code == 204


# At the same moment.


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    yield
    relay.stop()  # or its thread would keep a connection to the test's database


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each returned; all were begun at the same moment."""
    start = threading.Barrier(len(calls))
    answers: list[Any] = [None] * len(calls)

    def work(number: int) -> None:
        start.wait()
        try:
            answers[number] = calls[number]()
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("attempt", range(3))
def test_of_edits_with_the_same_tag_at_once_exactly_one_wins(attempt: int) -> None:
    person = create_person("operator")
    server = create_server()
    tag = tag_of(person, path_of(server))

    def edit(number: int) -> Any:
        return send(person, "patch", path_of(server), tag, {"tags": [f"t{number}"]})

    answers = at_once(*(lambda number=number: edit(number) for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    [winner] = [answer for answer in answers if answer.status_code == 200]
    losers = [answer for answer in answers if answer.status_code == 412]
    server.refresh_from_db()
    assert winner.json()["tags"] == server.tags
    assert {answer.headers["ETag"] for answer in losers} == {winner.headers["ETag"]}
    assert [answer.json()["current"]["tags"] for answer in losers] == [server.tags] * 3


@pytest.mark.usefixtures("committed")
def test_of_an_edit_and_a_deletion_at_once_one_wins() -> None:
    person = create_person("admin")
    server = create_server()
    path, tag = path_of(server), tag_of(person, path_of(server))
    edited, deleted = at_once(
        lambda: send(person, "patch", path, tag, {"tags": ["x"]}),
        lambda: send(person, "delete", path, tag),
    )
    assert (edited.status_code, deleted.status_code) in {(200, 412), (404, 204)}
    assert Server.objects.exists() == (edited.status_code == 200)


@pytest.mark.usefixtures("committed")
def test_of_two_deletions_at_once_one_finds_the_row() -> None:
    person = create_person("admin")
    server = create_server()
    with recorded_events() as events:
        answers = at_once(*[lambda: person.call("delete", path_of(server))] * 2)
    assert sorted(answer.status_code for answer in answers) == [204, 404]
    assert [event.type for event in events] == ["server.deleted"]


@pytest.mark.usefixtures("committed")
def test_a_name_that_two_give_at_once_is_given_once() -> None:
    person = create_person("operator")
    body = {"name": "db-01", "host": "h", "username": "u"}
    answers = at_once(*[lambda: person.call("post", SERVERS, body)] * 4)
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == Server.objects.count() == 1
    assert set(statuses) <= {201, 400, 409}
    assert all("detail" in answer.json() for answer in answers if answer.status_code != 201)


@pytest.mark.usefixtures("committed")
@pytest.mark.stack("scaled")
def test_an_edit_that_waited_for_a_lock_is_told_what_the_row_belongs_to_now() -> None:
    """PostgreSQL shows who waited for a lock the new row, joined with what the old one was."""
    person = create_person("operator")
    server = create_server(environment=Environment.objects.get_or_create(name="production")[0])
    staging = Environment.objects.get_or_create(name="staging")[0]
    tag = tag_of(person, path_of(server))
    answers: list[Any] = []

    def edit() -> None:
        answers.append(send(person, "patch", path_of(server), tag, {"tags": ["x"]}))
        connection.close()

    waiting = threading.Thread(target=edit)
    with transaction.atomic():
        models.QuerySet(Server).filter(pk=server.pk).update(environment=staging)
        waiting.start()
        while not waiting_for_locks():
            waiting.join(0.01)
    waiting.join()
    assert answers[0].status_code == 412
    assert answers[0].json()["current"]["environment"] == "staging"


@pytest.mark.usefixtures("committed")
@pytest.mark.stack("scaled")
@pytest.mark.parametrize("method", ["post", "patch"])
def test_a_reference_to_what_is_deleted_meanwhile_is_refused_where_it_is_written(
    method: str,
) -> None:
    """PostgreSQL would look for it at COMMIT, when nobody is left to answer."""
    person = create_person("admin")
    staging = Environment.objects.create(name="gone")
    body = {"name": "db-01", "host": "h", "username": "u", "environment": "gone"}
    path = SERVERS if method == "post" else path_of(create_server())
    answers: list[Any] = []

    def write() -> None:
        try:
            answers.append(person.call(method, path, body))
        finally:
            connection.close()

    waiting = threading.Thread(target=write)
    with transaction.atomic():
        staging.delete()
        waiting.start()
        while not waiting_for_locks():
            waiting.join(0.01)
    waiting.join()
    assert (answers[0].status_code, set(answers[0].json())) == (409, {"detail"})
    assert not Server.objects.filter(name="db-01").exists()


@pytest.mark.usefixtures("committed")
@pytest.mark.stack("scaled")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("bulk/tags/", {"add": ["b"]}),
        ("bulk/maintenance/", {"reason": "disks", "until": "2999-01-01T00:00:00Z"}),
        ("bulk/test/", {}),
    ],
)
def test_an_import_and_a_change_of_the_same_servers_do_not_wait_for_each_other(
    path: str, body: dict[str, Any]
) -> None:
    person = create_person("admin")
    keys = [create_server(f"s{9 - number}").pk for number in range(9)]
    text = "name,tags\n" + "".join(f"s{number + 1},a\n" for number in range(9))
    statuses: list[int] = []

    def run(call: Callable[[], Any]) -> threading.Thread:
        def work() -> None:
            try:
                statuses.append(call().status_code)
            finally:
                connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    with transaction.atomic():
        list(models.QuerySet(Server).select_for_update().filter(pk=keys[4]))
        imported = run(
            lambda: person.api.generic("POST", f"{SERVERS}import/", text, content_type="text/csv")
        )
        while waiting_for_locks() < 1:
            imported.join(0.01)
        changed = run(lambda: person.call("post", SERVERS + path, {"servers": keys} | body))
        while waiting_for_locks() < 2:
            changed.join(0.01)
    imported.join()
    changed.join()
    assert set(statuses) == {201, 202 if path == "bulk/test/" else 200}


@pytest.mark.usefixtures("committed")
@pytest.mark.stack("scaled")
def test_an_import_that_waited_for_a_lock_compares_with_what_the_row_belongs_to_now() -> None:
    person = create_person("operator")
    server = create_server(environment=Environment.objects.create(name="before"))
    after = Environment.objects.create(name="after")
    text = f"name,environment\n{server.name},after\n"
    answers: list[Any] = []

    def run() -> None:
        try:
            path = f"{SERVERS}import/"
            answers.append(person.api.generic("POST", path, text, content_type="text/csv"))
        finally:
            connection.close()

    waiting = threading.Thread(target=run)
    with transaction.atomic():
        models.QuerySet(Server).filter(pk=server.pk).update(environment=after)
        waiting.start()
        while not waiting_for_locks():
            waiting.join(0.01)
    waiting.join()
    assert (answers[0].json()["updated"], answers[0].json()["unchanged"]) == ([], 1)


def waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])
