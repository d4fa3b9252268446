"""Where the database has no time, a request is answered 503, with when to come back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from psycopg_pool import PoolTimeout

from opsportal import pool
from opsportal.overview import Overview
from opsportal.trouble import RETRY_AFTER, way_out
from servers import services
from servers.models import Server
from servers.tests.cast import Person

pytestmark = pytest.mark.django_db(transaction=True)

SERVERS = "/api/v1/servers/"


def caused(cause: Exception) -> OperationalError:
    """As Django raises what its database's driver raises."""
    error = OperationalError()
    error.__cause__ = cause
    return error


def refused(sqlstate: str) -> OperationalError:
    return caused(psycopg.errors.lookup(sqlstate)())


def sqlite_error(code: int) -> OperationalError:
    cause = sqlite3.OperationalError()
    cause.sqlite_errorcode = code
    return caused(cause)


def raises(error: Exception) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


@pytest.fixture
def visitor(operator: Person) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(operator.user)
    return client


@pytest.fixture
def api(operator: Person) -> Person:
    operator.api.raise_request_exception = False
    return operator


@contextmanager
def locked() -> Iterator[None]:
    """Somebody else writes to SQLite's file, for longer than anyone waits."""
    connection.ensure_connection()
    connection.connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(connection.settings_dict["NAME"])
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()
        connection.close()  # and its busy_timeout


@contextmanager
def taken() -> Iterator[None]:
    """Others hold the pool's only connection, for longer than anyone waits."""
    connection.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connection.settings_dict["OPTIONS"], "pool", pool.options(1))
        other = connection.copy()
        try:
            other.ensure_connection()
            patch.setattr(connection.pool, "timeout", 0.05)  # type: ignore[attr-defined]
            yield
        finally:
            other.close()
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "busy",
    [
        pytest.param(locked, marks=pytest.mark.stack("embedded")),
        pytest.param(taken, marks=pytest.mark.stack("scaled")),
    ],
)
def test_who_finds_the_database_busy_is_told_to_come_back(
    busy: Any, api: Person, visitor: Client
) -> None:
    with busy():
        answer = api.call("get", SERVERS)
        page = visitor.get("/servers/")
    assert_to_be_tried_again(answer)
    assert_to_be_tried_again(page)
    assert page.headers["Content-Type"].startswith("text/html")
    assert answer.json()["detail"] in page.content.decode()
    assert api.call("get", SERVERS).status_code == visitor.get("/servers/").status_code == 200


@pytest.mark.stack("scaled")
def test_a_page_that_is_not_there_needs_the_database_too(visitor: Client) -> None:
    with taken():
        assert_to_be_tried_again(visitor.get("/nowhere/"))
    assert visitor.get("/nowhere/").status_code == 404


def assert_to_be_tried_again(response: Any) -> None:
    assert response.status_code == 503
    assert 1 <= int(response.headers["Retry-After"]) <= RETRY_AFTER
    assert "Try it again." in response.content.decode()


@pytest.mark.parametrize("number", ["40001", "40P01"])
def test_a_transaction_that_gave_way_to_another_is_to_be_tried_again(
    api: Person, server: Server, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    error = refused(number)
    assert_to_be_tried_again(raised_by_an_edit(error, api, server, monkeypatch))


@pytest.mark.parametrize("error", [ValueError("a secret"), OperationalError("a secret")])
def test_any_other_error_is_one_that_says_nothing(
    error: Exception, api: Person, visitor: Client, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = raised_by_an_edit(error, api, server, monkeypatch)
    assert (response.status_code, set(response.json())) == (500, {"detail"})
    assert "Retry-After" not in response.headers
    monkeypatch.setattr(Overview, "get_context_data", raises(error))
    page = visitor.get("/")
    assert page.status_code == 500
    assert page.headers["Content-Type"].startswith("text/html")
    assert "secret" not in response.content.decode() + page.content.decode()


@pytest.mark.parametrize(
    ("error", "is_passing"),
    [
        (sqlite_error(sqlite3.SQLITE_BUSY), True),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), False),
        (refused("40001"), True),
        (refused("57P01"), False),
        (OperationalError(), False),
        (PoolTimeout(), False),
        (None, False),
    ],
)
def test_what_may_be_over_the_next_time(error: Exception | None, is_passing: bool) -> None:
    assert bool(way_out(error)) == is_passing


def raised_by_an_edit(
    error: Exception, person: Person, server: Server, patch: pytest.MonkeyPatch
) -> Any:
    patch.setattr(services, "edit", raises(error))
    return person.call("patch", f"{SERVERS}{server.pk}/", {"port": 23})
