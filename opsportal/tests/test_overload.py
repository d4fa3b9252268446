"""Where the database has no time, a request is answered 503, with when to come back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from opsportal import pool
from opsportal.overload import RETRY_AFTER
from servers import services
from servers.models import Server
from servers.tests.cast import Person

pytestmark = pytest.mark.django_db(transaction=True)

SERVERS = "/api/v1/servers/"


@contextmanager
def locked(patch: pytest.MonkeyPatch) -> Iterator[None]:
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
def taken(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Others hold the pool's only connection, for longer than anyone waits."""
    patch.setattr(pool, "WAIT", 0.05)
    connection.close()
    patch.setitem(connection.settings_dict["OPTIONS"], "pool", pool.options(1))
    other = connection.copy()
    try:
        other.ensure_connection()
        yield
    finally:
        other.close()
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's has one
        patch.undo()


@pytest.mark.parametrize(
    "without_time",
    [
        pytest.param(locked, marks=pytest.mark.stack("embedded")),
        pytest.param(taken, marks=pytest.mark.stack("scaled")),
    ],
)
def test_who_finds_the_database_busy_is_told_to_come_back(
    without_time: Any, operator: Person, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with without_time(monkeypatch):
        answer = operator.api.get(SERVERS)
        page = client.get("/login/")
    for response in (answer, page):
        assert response.status_code == 503
        assert 1 <= int(response.headers["Retry-After"]) <= RETRY_AFTER
    detail = answer.json()["detail"]
    assert "Try it again." in detail
    assert page.headers["Content-Type"].startswith("text/html")
    assert detail in page.content.decode()
    assert operator.api.get(SERVERS).status_code == client.get("/login/").status_code == 200


@pytest.mark.parametrize("number", ["40001", "40P01"])
def test_a_transaction_that_gave_way_to_another_is_to_be_tried_again(
    operator: Person, server: Server, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    response = refused_by_the_database(operator, server, monkeypatch, number)
    assert (response.status_code, set(response.json())) == (503, {"detail"})
    assert 1 <= int(response.headers["Retry-After"]) <= RETRY_AFTER


def test_another_error_of_the_database_is_one(
    operator: Person, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OperationalError):
        refused_by_the_database(operator, server, monkeypatch, "57P01")


def refused_by_the_database(
    person: Person, server: Server, monkeypatch: pytest.MonkeyPatch, number: str
) -> Any:
    class Ended(Exception):
        sqlstate = number

    def refuse(*_: Any) -> None:
        raise OperationalError from Ended()

    monkeypatch.setattr(services, "edit", refuse)
    return person.call("patch", f"{SERVERS}{server.pk}/", {"port": 23})
