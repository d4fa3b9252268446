"""Connections to PostgreSQL, shared by a process's threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from typing import Any, Final

from psycopg_pool import ConnectionPool, PoolTimeout

WAIT: Final = 20.0  # seconds that a thread waits for a connection
PATIENCE: Final = 1.0  # seconds after which the pool gives an attempt up, and a new one begins


def options(size: int) -> Mapping[str, Any]:
    """Those of psycopg's pool of at most `size` connections.

    While nobody can connect, the pool waits twice as long after each attempt, all its threads with
    it: by itself it would find a database that was away for minutes only minutes later.
    """
    return {
        "min_size": 0,
        "max_size": size,
        "timeout": WAIT,
        "reconnect_timeout": PATIENCE,
        "reconnect_failed": try_again,
    }


def try_again(pool: ConnectionPool) -> None:
    """Begins a new attempt where somebody waits, as nobody else would come to ask for one."""
    if pool.get_stats().get("requests_waiting"):
        Thread(target=_ask, args=(pool,), name="pool-attempt", daemon=True).start()


def _ask(pool: ConnectionPool) -> None:
    with suppress(PoolTimeout), pool.connection(timeout=PATIENCE):
        pass
