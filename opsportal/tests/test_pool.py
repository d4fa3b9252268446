"""A database that was away is found again soon, however long that was."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from opsportal import pool
from tests.services import Postgres

pytestmark = pytest.mark.stack("scaled")

FAILURES = 4  # after which psycopg's pool by itself would try again in 7 s


class Away(psycopg.Connection):
    """A connection to a database that cannot be reached at first."""

    attempts = 0

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Any:
        cls.attempts += 1
        if cls.attempts <= FAILURES:
            raise psycopg.OperationalError("connection refused")
        return super().connect(*args, **kwargs)


def test_who_waits_for_a_connection_is_not_kept_from_one_by_failures_of_before(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE", 0.2)
    monkeypatch.setattr(pool, "WAIT", 5.0)
    monkeypatch.setattr(Away, "attempts", 0)
    options = pool.options(2)
    with (
        ConnectionPool(postgres.url, connection_class=Away, open=True, **options) as connections,
        connections.connection() as connection,
    ):
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert Away.attempts > FAILURES
