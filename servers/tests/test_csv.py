"""Servers from and to CSV files: every bad line is told, and a bad file changes nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from servers import csv_files
from servers.models import Credential, Environment, Server, StatusPeriod
from servers.tests.cast import SERVERS, Person, create_server, recorded_events

# On one stack: what a file says is of no database.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

IMPORT = f"{SERVERS}import/"
EXPORT = f"{SERVERS}export/"
PAGE = "/servers/import/"
SECRET = "swordfish"
HEADER = "name,host,username\n"


def send(person: Person, content: str | bytes, query: str = "", kind: str = "text/csv") -> Any:
    body: Any = content  # bytes are taken, too
    return person.api.generic("POST", IMPORT + query, body, content_type=kind)


def errors_of(response: Any) -> dict[int, dict[str, list[str]]]:
    """By line; the answer has to be a refusal."""
    assert response.status_code == 400
    body = response.json()
    assert set(body) == {"detail", "errors"}
    return {bad["line"]: bad["errors"] for bad in body["errors"]}


def error_of(response: Any) -> str:
    """The one text there is."""
    [errors] = errors_of(response).values()
    [[text]] = errors.values()
    return text


def stored() -> list[Any]:
    return list(Server.objects.order_by("pk").values())


@pytest.fixture
def credential(db: None) -> Credential:
    return Credential.objects.create(name="deploy", kind="password", secret=SECRET)


@pytest.fixture
def unchanged() -> Iterator[None]:
    """Nothing is written, and nobody is told of anything."""
    before = stored()
    with recorded_events() as events:
        yield
    assert stored() == before
    assert events == []


# Cells and lines.


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_defused_cell_is_restored_to_what_it_was(cell: str) -> None:
    assert csv_files.restored(csv_files.defused(cell)) == cell


@given(st.text(st.sampled_from("'=+-@\t\r\n\uff1da"), max_size=6))
def test_no_defused_cell_begins_as_a_formula_does(cell: str) -> None:
    defused = csv_files.defused(cell)
    assert not defused.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    assert csv_files.restored(defused) == cell


cells = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'=+-@\t\r\n\",;"))


@given(st.lists(st.tuples(cells.filter(bool), *[cells] * 8), max_size=5))
def test_what_is_written_is_read(rows: list[tuple[str, ...]]) -> None:
    lines, bad = csv_files.read(csv_files.write(rows))
    assert bad == []
    assert [tuple(line.cells.values()) for line in lines] == [row[:8] for row in rows]


@given(st.binary())
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with suppress(csv_files.BadFile):
        csv_files.read(csv_files.decode(content))


@pytest.mark.parametrize(
    "text",
    [
        'name,host\n"a\nb",x\nc,y\n',
        'name;host\r\n"a\r\nb";x\r\nc;y\r\n',
        '\ufeffname\thost\r"a\rb"\tx\rc\ty',
        '\n\nname,host\n\n"a\nb",x\n,\nc,y',
    ],
)
def test_line_numbers_are_those_of_an_editor(text: str) -> None:
    lines, bad = csv_files.read(text)
    shown = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert bad == []
    assert [line.cells["host"] for line in lines] == ["x", "y"]
    assert [shown[line.number - 1].strip('"')[0] for line in lines] == ["a", "c"]


# Import: what it does.


def test_new_servers_are_created_and_checked_soon(
    operator: Person, environment: Environment, credential: Credential
) -> None:
    columns = "name,host,port,username,shared_credential,environment,tags,check_interval\n"
    text = columns + "a,10.0.0.1,2222,ops,deploy,production,web eu-1,60\nb,b.example.com,,ops,,,,\n"
    with recorded_events() as events:
        response = send(operator, text)
    assert response.status_code == 201
    assert response.json() == {
        "dry_run": False,
        "created": ["a", "b"],
        "updated": [],
        "unchanged": 0,
    }
    first, second = Server.objects.order_by("name")
    assert (first.host, first.port, first.username) == ("10.0.0.1", 2222, "ops")
    assert (first.environment, first.shared_credential) == (environment, credential)
    assert (first.tags, first.check_interval) == (["web", "eu-1"], 60)
    assert (second.port, second.environment, second.shared_credential) == (22, None, None)
    assert (second.tags, second.check_interval) == ([], None)
    assert first.next_check_at is not None
    assert [event.type for event in events] == ["server.created"] * 2
    states = StatusPeriod.objects.filter(ended_at=None).values_list("server__name", "state")
    assert sorted(states) == [("a", "unknown"), ("b", "unknown")]


def test_a_dry_run_says_the_same_and_writes_nothing(operator: Person, unchanged: None) -> None:
    for query in ("?dry_run=1", "?dry_run=true"):
        response = send(operator, f"{HEADER}a,10.0.0.1,ops\n", query)
        assert response.status_code == 200
        assert response.json() == {
            "dry_run": True,
            "created": ["a"],
            "updated": [],
            "unchanged": 0,
        }


def test_an_unclear_dry_run_writes_nothing(operator: Person, unchanged: None) -> None:
    for query in ("?dry_run=", "?dry_run", "?dry_run=perhaps"):
        assert send(operator, f"{HEADER}a,10.0.0.1,ops\n", query).status_code == 400


def test_a_server_of_that_name_is_updated(operator: Person, environment: Environment) -> None:
    create_server("a", host_key="key", environment=environment, status="success", tags=["x"])
    with recorded_events() as events:
        response = send(operator, "name,host,tags\na,10.0.0.9,x y\n")
    assert response.json() == {
        "dry_run": False,
        "created": [],
        "updated": ["a"],
        "unchanged": 0,
    }
    server = Server.objects.get()
    assert (server.host, server.tags) == ("10.0.0.9", ["x", "y"])
    # It is reached in another way; what has no column is as it was.
    assert server.status == "unknown"
    assert (server.username, server.credential) == ("ops", SECRET)
    assert (server.environment, server.host_key) == (environment, "key")
    changed = [event for event in events if event.type == "server.updated"]
    assert [set(event.data["changes"]) for event in changed] == [{"host", "tags"}]


def test_a_line_that_changes_nothing_writes_nothing(
    operator: Person, server: Server, unchanged: None
) -> None:
    response = send(operator, f"{HEADER} {server.name},{server.host} ,{server.username}\n")
    assert response.status_code == 201
    assert (response.json()["updated"], response.json()["unchanged"]) == ([], 1)


def test_an_empty_cell_is_the_default(operator: Person, environment: Environment) -> None:
    create_server("a", port=2222, environment=environment, tags=["x"], check_interval=60)
    response = send(operator, "name,port,environment,tags,check_interval\na,,,,\n")
    assert response.json()["updated"] == ["a"]
    server = Server.objects.get()
    assert (server.port, server.environment, server.tags) == (22, None, [])
    assert server.check_interval is None
    assert server.credential == SECRET


def test_excels_separator_and_mark_are_taken(operator: Person) -> None:
    for separator in (";", "\t"):
        text = "\ufeffname,host,username\r\nmünchen%,10.0.0.1,ops\r\n,,\r\n"
        text = text.replace(",", separator).replace("%", str(ord(separator)))
        assert send(operator, text).status_code == 201
    names = Server.objects.order_by("name").values_list("name", flat=True)
    assert list(names) == ["münchen59", "münchen9"]


def test_a_status_is_passed_by(operator: Person, server: Server, unchanged: None) -> None:
    response = send(operator, f"name,status\n{server.name},failed\n")
    assert response.json()["unchanged"] == 1


# Import: what it refuses.


def test_every_bad_line_is_told_and_no_good_one_written(
    operator: Person, server: Server, environment: Environment, unchanged: None
) -> None:
    text = (
        "name,host,port,username,shared_credential,environment,tags,check_interval\n"
        "good,10.0.0.1,22,ops,,production,web,60\n"
        '"two\nlines",bad host,0,o p,none,nowhere,UPPER ok,5\n'
        f"{server.name},,x,ops,,,,\n"
        "good,10.0.0.2,22,ops,,,,\n"
        "short,10.0.0.3\n"
        'quoted,"10.0.0.4"x,22,ops,,,,\n'
        ",10.0.0.5,22,ops,,,,\n"
        'open,"10.0.0.6,22,ops,,,,\n'
        "swallowed,10.0.0.7,22,ops,,,,\n"
    )
    response = send(operator, text)
    errors = errors_of(response)
    assert {line: set(columns) for line, columns in errors.items()} == {
        3: {
            "name",
            "host",
            "port",
            "username",
            "shared_credential",
            "environment",
            "tags",
            "check_interval",
        },
        5: {"host", "port"},
        6: {"name"},
        7: {"non_field_errors"},
        8: {"non_field_errors"},
        9: {"name"},
        10: {"non_field_errors"},
    }
    assert errors[6] == {"name": ["It is on line 2, too."]}
    assert errors[7] == {"non_field_errors": ["The header has 8 columns, and this line 2."]}
    assert errors[10] == {"non_field_errors": ["A quote is opened and not closed."]}
    names = [bad["name"] for bad in response.json()["errors"]]
    assert names[:3] == ["two\nlines", server.name, "good"]
    assert errors_of(send(operator, text, "?dry_run=1")) == errors


def test_a_new_server_needs_host_and_username(operator: Person, unchanged: None) -> None:
    required = {"host": ["This field is required."], "username": ["This field is required."]}
    assert errors_of(send(operator, "name\na\n")) == {2: required}


UNKNOWN = ["This column is not known."]
NO_SECRETS = ["Secrets are not taken from files. Name a shared_credential."]


@pytest.mark.parametrize(
    ("header", "errors"),
    [
        ("host,username", {"name": ["This column is missing."]}),
        ("name,Host,", {"Host": UNKNOWN, "column 3": UNKNOWN}),
        ("name,host,name", {"name": ["This column is there 2 times."]}),
        ("name,credential", {"credential": NO_SECRETS}),
        ("name,password", {"password": NO_SECRETS}),
        ("name,id,next_check_at", {"id": UNKNOWN, "next_check_at": UNKNOWN}),
        ('name,"host', {"non_field_errors": ["A quote is opened and not closed."]}),
    ],
)
def test_a_wrong_header_is_told_by_its_columns(
    operator: Person, header: str, errors: dict[str, Any], unchanged: None
) -> None:
    assert errors_of(send(operator, f"{header}\na,b,c\n")) == {1: errors}


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_a_file_without_a_header_is_refused(operator: Person, text: str, unchanged: None) -> None:
    assert errors_of(send(operator, text)) == {1: {"name": ["This column is missing."]}}


def test_too_many_lines_are_refused(operator: Person, unchanged: None) -> None:
    text = HEADER + "".join(f"a{number},h,u\n" for number in range(csv_files.MOST_LINES + 1))
    response = send(operator, text)
    assert error_of(response) == "A file has at most 5,000 servers."
    assert set(errors_of(response)) == {csv_files.MOST_LINES + 2}


def test_a_file_that_is_too_large_is_refused(operator: Person, unchanged: None) -> None:
    response = send(operator, b"name\n" + b"a" * 1_048_576)
    assert (response.status_code, set(response.json())) == (413, {"detail"})


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("a\0b,10.0.0.1,22,ops,,", "name"),
        ("a,10.0.0.1\0,22,ops,,", "host"),
        ("a,10.0.0.1,22,o\0ps,,", "username"),
        ("a,10.0.0.1,22,ops,x\0y,", "environment"),
        ("a,10.0.0.1,22,ops,,x\0y", "tags"),
        (f"a,10.0.0.1,{'9' * 5000},ops,,", "port"),
        ("a,10.0.0.1,1e9,ops,,", "port"),
        ("a,10.0.0.1,-1,ops,,", "port"),
        (f"{'a' * 101},10.0.0.1,22,ops,,", "name"),
        (f"a,{'b' * 100_000},22,ops,,", "host"),
        (f"a,10.0.0.1,22,ops,,{' '.join(f't{number}' for number in range(21))}", "tags"),
    ],
)
def test_no_cell_is_an_error_of_the_server(
    operator: Person, line: str, column: str, unchanged: None
) -> None:
    response = send(operator, f"name,host,port,username,environment,tags\n{line}\n")
    assert set(errors_of(response)[2]) == {column}
    assert len(response.json()["errors"][0]["name"]) <= csv_files.LONGEST_NAME


@pytest.mark.parametrize("broken", [b"\xff", b"\xed\xa0\x80", b"\xc3"])
def test_what_is_no_text_is_told_by_its_line(
    operator: Person, broken: bytes, unchanged: None
) -> None:
    response = send(operator, b"name,host\r\na,b\r\n" + broken)
    assert errors_of(response) == {
        3: {"non_field_errors": ["The file is not in UTF-8 from here on."]}
    }


def test_another_kind_of_body_is_refused(operator: Person, unchanged: None) -> None:
    assert send(operator, '{"name": "a"}', kind="application/json").status_code == 415


@contextmanager
def another_inserting(name: str) -> Iterator[None]:
    """Another process takes the name after it was looked for, and before it is written."""
    taken: list[Server] = []

    def interrupt(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith('INSERT INTO "servers_server"') and not taken:
            taken.append(Server(name=name, host="10.0.0.1", username="other"))
            taken[0].save()
        return execute(sql, *rest)

    with connection.execute_wrapper(interrupt):
        yield
    assert taken


def test_a_name_that_is_taken_in_the_same_moment_is_a_conflict(operator: Person) -> None:
    with another_inserting("new"):
        response = send(operator, f"{HEADER}first,10.0.0.1,ops\nnew,10.0.0.1,ops\n")
    assert (response.status_code, set(response.json())) == (409, {"detail"})
    assert not Server.objects.filter(name="first").exists()


# Rights.


def test_who_may_add_and_not_change_updates_nothing(outsider: Person) -> None:
    create_server("a")
    outsider.user.user_permissions.add(Permission.objects.get(codename="add_server"))
    before = stored()
    response = send(outsider, f"{HEADER}b,10.0.0.1,ops\na,10.0.0.9,ops\n")
    assert errors_of(response) == {
        3: {"non_field_errors": ["It exists, and you may not change servers."]}
    }
    assert stored() == before
    # Or a dry run would tell whether a guess at what the server has is right.
    for line in ("a,10.0.0.9,ops", "a,10.0.0.5,ops", "a,bad host,o p"):
        guess = send(outsider, f"{HEADER}{line}\n", "?dry_run=1")
        assert error_of(guess) == "It exists, and you may not change servers."


def test_who_may_not_view_credentials_binds_none_and_guesses_no_name(
    outsider: Person, credential: Credential, server: Server
) -> None:
    outsider.user.user_permissions.add(
        *Permission.objects.filter(codename__in=["add_server", "change_server"])
    )
    header = "name,host,port,username,shared_credential\n"
    for line in ("web-01,,22,ops,{}", "web-01,10.0.0.5,x,ops,{}", "b,10.0.0.6,22,ops,{}"):
        right, wrong = (
            errors_of(send(outsider, header + line.format(name), "?dry_run=1"))
            for name in (credential.name, "guess")
        )
        assert right == wrong
        assert right[2]["shared_credential"] == ["There is no shared credential of this name."]


def test_who_may_not_view_credentials_imports_what_names_the_present_one(
    outsider: Person, credential: Credential
) -> None:
    outsider.user.user_permissions.add(
        *Permission.objects.filter(codename__in=["add_server", "change_server"])
    )
    create_server("a", credential="", shared_credential=credential)
    response = send(outsider, "name,port,shared_credential\na,23,deploy\n")
    assert response.json()["updated"] == ["a"]
    server = Server.objects.get()
    assert (server.port, server.shared_credential) == (23, credential)


def test_who_may_not_add_imports_nothing(people: dict[str, Person], unchanged: None) -> None:
    wanted = {"viewer": 403, "responder": 403, "outsider": 403, "anonymous": 401}
    for query in ("", "?dry_run=1"):
        statuses = {
            name: send(people[name], f"{HEADER}a,10.0.0.1,ops\n", query).status_code
            for name in wanted
        }
        assert statuses == wanted


def test_a_refused_export_is_told_in_json(outsider: Person, server: Server) -> None:
    response = outsider.api.get(EXPORT)
    assert response.status_code == 403
    assert response["Content-Type"] == "application/json"
    assert set(response.json()) == {"detail"}
    assert outsider.api.get(EXPORT, headers={"Accept": "image/png"}).status_code == 406


# Queries.


def queries_of(action: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert action().status_code == 200
    return len(queries)


def test_a_dry_run_asks_no_more_for_many_lines(
    operator: Person, environment: Environment, credential: Credential
) -> None:
    for number in range(0, 40, 2):
        create_server(
            f"a{number}", environment=environment, credential="", shared_credential=credential
        )
    header = "name,host,username,environment,shared_credential\n"
    lines = [f"a{number},10.0.0.9,ops,production,deploy\n" for number in range(40)]
    few = queries_of(lambda: send(operator, header + "".join(lines[:2]), "?dry_run=1"))
    many = queries_of(lambda: send(operator, header + "".join(lines), "?dry_run=1"))
    assert many == few <= 12


def test_an_export_asks_no_more_for_many_servers(
    operator: Person, environment: Environment
) -> None:
    create_server("a", environment=environment)
    few = queries_of(lambda: operator.api.get(EXPORT))
    for number in range(20):
        create_server(f"b{number}", environment=environment)
    assert queries_of(lambda: operator.api.get(EXPORT)) == few


def test_no_secret_is_read_or_lost(operator: Person, credential: Credential, settings: Any) -> None:
    create_server("own")
    create_server("shared", credential="", shared_credential=credential)
    key = settings.FIELD_ENCRYPTION_KEYS
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with CaptureQueriesContext(connection) as queries:
        exported = operator.api.get(EXPORT).content.decode()
        planned = send(operator, exported.replace("10.0.0.5", "10.0.0.6"), "?dry_run=1")
    assert planned.json()["updated"] == ["own", "shared"]
    assert SECRET not in exported
    columns = {'"servers_server"."credential"', '"servers_credential"."secret"'}
    assert not [c for c in columns for query in queries.captured_queries if c in query["sql"]]
    assert send(operator, exported.replace("10.0.0.5", "10.0.0.6")).status_code == 201
    settings.FIELD_ENCRYPTION_KEYS = key
    assert Server.objects.get(name="own").credential == SECRET
    assert Credential.objects.get().secret == SECRET


# Export.


def exported_rows(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="servers.csv"'
    return list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))


def test_an_export_imported_again_changes_nothing(
    operator: Person, environment: Environment, credential: Credential
) -> None:
    names = ["=1+1", "'=1", "''@x", "'plain", "-dash", "+49", "a,b;c", 'quo"te', "two  words", "ü"]
    for number, name in enumerate(names):
        create_server(name, username="=cmd|x" if number % 2 else "ops", tags=["b", "a"][:number])
    create_server(
        "shared",
        credential="",
        shared_credential=credential,
        environment=environment,
        check_interval=0,
        host="::1",
    )
    content = operator.api.get(EXPORT).content
    with recorded_events() as events:
        response = send(operator, content)
    assert response.json() == {
        "dry_run": False,
        "created": [],
        "updated": [],
        "unchanged": len(names) + 1,
    }
    assert events == []
    Server.objects.all().delete()
    assert send(operator, content).status_code == 201
    assert operator.api.get(EXPORT).content == content.replace(b",success", b",unknown")


def test_no_exported_cell_is_a_formula(operator: Person) -> None:
    create_server("=HYPERLINK(1)", username="-2+3")
    [row] = exported_rows(operator.api.get(EXPORT))
    assert (row["name"], row["username"]) == ("'=HYPERLINK(1)", "'-2+3")
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


@pytest.mark.parametrize("delimiter", csv_files.DELIMITERS)
def test_no_separator_that_a_program_may_take_cuts_a_formula_out_of_a_cell(
    operator: Person, delimiter: str
) -> None:
    """Excel takes the separator of its user's country, whatever the file was written with."""
    cut = f"x{delimiter}=cmd|'/C calc'!A1"
    content = csv_files.write([(cut, *[""] * 8)])
    rows = list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter))
    cells = [cell for row in rows for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    if delimiter == ",":
        assert rows[1][0] == cut


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028"])
def test_no_name_holds_a_control_character(operator: Person, character: str) -> None:
    name = f"a{character}b"
    errors = errors_of(send(operator, f'{HEADER}"{name}",10.0.0.1,ops\n'))
    assert [list(columns) for columns in errors.values()] == [["name"]]
    for path, body in (
        (SERVERS, {"name": name, "host": "h", "username": "u"}),
        ("/api/v1/credentials/", {"name": name, "kind": "password", "secret": "x"}),
    ):
        response = operator.call("post", path, body)
        assert (response.status_code, list(response.json()["errors"])) == (400, ["name"])


def test_an_export_is_what_the_list_shows_on_all_its_pages(operator: Person) -> None:
    for number in range(60):
        create_server(f"a{number:02}", tags=["web"], status="success")
    create_server("b")
    query = "?tag=web&ordering=-name&page=2&page_size=10"
    rows = exported_rows(operator.api.get(EXPORT + query))
    assert [row["name"] for row in rows] == [f"a{number:02}" for number in reversed(range(60))]
    assert {row["status"] for row in rows} == {"success"}
    assert set(rows[0]) == set(csv_files.EXPORTED)
    assert operator.api.get(f"{EXPORT}?status=bad").status_code == 400


# The pages.


def browser_of(person: Person) -> Client:
    browser = Client()
    browser.force_login(person.user)
    return browser


def checked_by(browser: Client, text: str | bytes) -> Any:
    """The page after its first step, by file."""
    content = text if isinstance(text, bytes) else text.encode()
    return browser.post(PAGE, {"file": SimpleUploadedFile("servers.csv", content)})


def test_the_page_writes_what_was_looked_at_and_only_on_confirmation(operator: Person) -> None:
    browser = browser_of(operator)
    page = checked_by(browser, f'{HEADER}web,10.0.0.1,"ops"\n')
    assert page.status_code == 200
    assert not Server.objects.exists()
    answer = browser.post(PAGE, {"checked": page.context["checked"]})
    assert (answer.status_code, answer["Location"]) == (302, "/servers/")
    assert Server.objects.get().name == "web"
    shown = browser.get(PAGE)
    assert "Imported: 1 created, 0 updated, 0 unchanged." in shown.content.decode()


def test_the_page_shows_again_what_has_become_something_else(operator: Person) -> None:
    browser = browser_of(operator)
    page = checked_by(browser, f"{HEADER}a,10.0.0.1,ops\n")
    create_server("a")
    answer = browser.post(PAGE, {"checked": page.context["checked"]})
    assert answer.status_code == 409
    assert "changed meanwhile" in answer.content.decode()
    assert Server.objects.get().host == "10.0.0.5"
    assert browser.post(PAGE, {"checked": answer.context["checked"]}).status_code == 302
    assert Server.objects.get().host == "10.0.0.1"


def test_the_page_shows_again_what_clashed_with_another_write(operator: Person) -> None:
    browser = browser_of(operator)
    page = checked_by(browser, f"{HEADER}first,10.0.0.1,ops\nnew,10.0.0.1,ops\n")
    with another_inserting("new"):
        answer = browser.post(PAGE, {"checked": page.context["checked"]})
    assert answer.status_code == 409
    assert not Server.objects.filter(name="first").exists()


def test_what_was_checked_can_become_bad(operator: Person, environment: Environment) -> None:
    browser = browser_of(operator)
    page = checked_by(browser, "name,host,username,environment\na,10.0.0.1,ops,production\n")
    environment.delete()
    answer = browser.post(PAGE, {"checked": page.context["checked"]})
    assert answer.status_code == 400
    assert "There is no environment of this name." in answer.content.decode()
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"text": " \n"},
        {"text": "name\nx\n"},
        {"text": "nonsense"},
        {"text": "a\0b"},
        {"checked": "forged"},
        {"file": SimpleUploadedFile("a.csv", HEADER.encode() + b"\n" * 1_048_576)},
        {"file": SimpleUploadedFile("a.csv", HEADER.encode() + b"a,h,\xff\n")},
        {"file": SimpleUploadedFile("a.csv", b"name,host,username\na,h,u\n"), "text": "name"},
    ],
    ids=str,
)
def test_the_page_refuses_what_it_cannot_take(
    operator: Person, form: dict[str, Any], unchanged: None
) -> None:
    answer = browser_of(operator).post(PAGE, form)
    assert answer.status_code == 400
    assert "Import servers" in answer.content.decode()


def test_pasted_text_stays_to_be_mended(operator: Person) -> None:
    answer = browser_of(operator).post(PAGE, {"text": f"\r\n\r\n{HEADER}<b>,no host,ops\n"})
    assert answer.status_code == 400
    assert [bad.line for bad in answer.context["bad"]] == [4]
    assert "&lt;b&gt;,no host,ops" in answer.content.decode()
    assert "<b>" not in answer.content.decode()


def test_the_pages_are_for_those_with_the_right(people: dict[str, Person], server: Server) -> None:
    statuses = {
        name: [browser_of(person).get(path).status_code for path in (PAGE, "/servers/export/")]
        for name, person in people.items()
        if person.user
    }
    assert statuses == {
        "viewer": [403, 200],
        "responder": [403, 200],
        "operator": [200, 200],
        "admin": [200, 200],
        "outsider": [403, 403],
    }
    assert Client().get(PAGE)["Location"] == f"/login/?next={PAGE}"
    text = {"text": f"{HEADER}a,10.0.0.1,ops\n"}
    assert browser_of(people["viewer"]).post(PAGE, text).status_code == 403
    assert Client(enforce_csrf_checks=True).post(PAGE, text).status_code == 403


def test_the_exported_page_is_the_filtered_list(operator: Person) -> None:
    create_server("a", tags=["web"])
    create_server("b")
    browser = browser_of(operator)
    assert [row["name"] for row in exported_rows(browser.get("/servers/export/?tag=web"))] == ["a"]
    refused = browser.get("/servers/export/?status=bad")
    assert (refused.status_code, refused["Location"]) == (302, "/servers/?status=bad")
