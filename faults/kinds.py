"""The faults. Each does its harm to a stage, undoes it, and returns in words what happened."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

import psycopg

from faults.stage import Stage, elapsed, hold, release
from tests.services import wait_until

OUTAGE: Final = (0.5, 6.0)  # seconds for which a server is away
STOP: Final = (6.0, 9.0)  # seconds for which a process is stopped: longer than it may hold a lock
HELD: Final = (1.0, 5.0)  # seconds for which a transaction stays open
STALL: Final = (4.0, 7.0)  # seconds for which a reader takes nothing: longer than it is borne

TERMINATE: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = 'faults' AND pid <> pg_backend_pid()
"""


def kill_web(stage: Stage, chance: Random) -> str:
    number = chance.randrange(len(stage.webs))
    stage.portal.kill(stage.webs[number])
    return _replaced(stage, number, f"web {number} killed")


def kill_relay(stage: Stage, chance: Random) -> str:
    """Kills it between its look at the log and its commit."""
    number = chance.randrange(len(stage.webs))
    with stage.head_locked():
        _wait_for_relays(stage)
        stage.portal.kill(stage.webs[number])
    return _replaced(stage, number, f"web {number} killed while its relay was at it")


def restart_web(stage: Stage, chance: Random) -> str:
    number = chance.randrange(len(stage.webs))
    stage.webs[number].stop()
    return _replaced(stage, number, f"web {number} told to end")


def stop_web(stage: Stage, chance: Random) -> str:
    """On PostgreSQL, it is given the lock of the log's head meanwhile. It wakes long after."""
    number, seconds = chance.randrange(len(stage.webs)), chance.uniform(*STOP)
    web = stage.webs[number]
    with stage.head_locked():
        _wait_for_relays(stage)
        web.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    web.send_signal(signal.SIGCONT)
    return f"web {number} stopped for {seconds:.1f} s while its relay was at it"


def kill_writer(stage: Stage, chance: Random) -> str:
    """Its relay dies with it, anywhere between commit and position."""
    kind = chance.choice(["saves", "bulk", "rights"])
    name = stage.writer(kind)
    stage.portal.kill(stage.writers[name])
    stage.start_writer(kind)
    return f"writer {name} killed, another one in its place"


def kill_in_transaction(stage: Stage, chance: Random) -> str:
    kind = chance.choice(["saves", "bulk"])
    name = hold(stage, kind)
    stage.portal.kill(stage.writers[name])
    stage.start_writer(kind)
    return f"writer {name} killed within a transaction"


def hold_transaction(stage: Stage, chance: Random) -> str:
    """Its events have lower ids than many that are read before it commits."""
    seconds = chance.uniform(*HELD)
    name = hold(stage, chance.choice(["saves", "bulk"]))
    time.sleep(seconds)
    release(stage, name)
    return f"a transaction of {name} open for {seconds:.1f} s"


def cut_readers(stage: Stage, chance: Random) -> str:
    readers = chance.sample(stage.readers, 4)
    for reader in readers:
        reader.cut = True
    return f"cut within a frame: {'; '.join(reader.name for reader in readers)}"


def stall_reader(stage: Stage, chance: Random) -> str:
    seconds = chance.uniform(*STALL)
    reader = next(reader for reader in stage.readers if reader.narrow)
    reader.stall = seconds
    time.sleep(seconds)
    return f"a reader took nothing for {seconds:.1f} s"


def kill_worker(stage: Stage, chance: Random) -> str:
    assert stage.worker is not None
    stage.portal.kill(stage.worker)
    started = time.monotonic()
    stage.replace_worker()
    return f"worker killed, back after {elapsed(started)}"


def kill_redis(stage: Stage, chance: Random) -> str:
    seconds = chance.uniform(*OUTAGE)
    stage.redis.kill()
    time.sleep(seconds)
    stage.redis.start()
    return f"Redis killed, back and empty after {seconds:.1f} s"


def stop_redis(stage: Stage, chance: Random) -> str:
    """It takes connections, and answers nothing."""
    seconds = chance.uniform(*OUTAGE)
    stage.redis.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    stage.redis.send_signal(signal.SIGCONT)
    return f"Redis stopped for {seconds:.1f} s"


def crash_postgres(stage: Stage, chance: Random) -> str:
    """As `pg_ctl stop -m immediate`: it recovers from its log when it starts."""
    started = time.monotonic()
    stage.postgres.crash()
    time.sleep(chance.uniform(*OUTAGE))
    stage.postgres.start()
    return f"PostgreSQL shut down at once, back after {elapsed(started)}"


def cut_database(stage: Stage, chance: Random) -> str:
    with psycopg.connect(stage.postgres.url, autocommit=True) as connection:
        ended = connection.execute(TERMINATE).fetchall()
    return f"{len(ended)} connections to PostgreSQL ended"


def _replaced(stage: Stage, number: int, what: str) -> str:
    started = time.monotonic()
    stage.replace_web(number)
    return f"{what}, back after {elapsed(started)}"


def _wait_for_relays(stage: Stage) -> None:
    """Until they are at it; on SQLite, where that cannot be seen, for a moment."""
    if stage.scaled:
        wait_until(stage.relays_waiting, 10, "relays at the lock of the log's head")
    else:
        time.sleep(0.3)


class Kind(NamedTuple):
    """A fault, and the parts that it touches: two that share none may come together."""

    strike: Callable[[Stage, Random], str]
    touches: frozenset[str]


WEBS: Final = frozenset({"webs", "database"})  # a web process that starts needs the database
WRITERS: Final = frozenset({"writers"})
READERS: Final = frozenset({"readers"})
WORKER: Final = frozenset({"worker", "database"})
REDIS: Final = frozenset({"Redis"})
DATABASE: Final = frozenset({"database"})

EVERYWHERE: Final = {
    "kill web": Kind(kill_web, WEBS),
    "kill relay": Kind(kill_relay, WEBS | WRITERS),  # who are to be waiting, too
    "restart web": Kind(restart_web, WEBS),
    "stop web": Kind(stop_web, WEBS | WRITERS),
    "kill writer": Kind(kill_writer, WRITERS),
    "kill in transaction": Kind(kill_in_transaction, WRITERS),
    "hold transaction": Kind(hold_transaction, WRITERS),
    "cut readers": Kind(cut_readers, READERS),
    "stall reader": Kind(stall_reader, READERS),
}
SCALED: Final = {
    "kill worker": Kind(kill_worker, WORKER | REDIS),
    "kill Redis": Kind(kill_redis, REDIS),
    "stop Redis": Kind(stop_redis, REDIS),
    "crash PostgreSQL": Kind(crash_postgres, DATABASE),
    "cut database": Kind(cut_database, DATABASE),
}


def kinds_of(stack: str) -> dict[str, Kind]:
    return EVERYWHERE | (SCALED if stack == "scaled" else {})
