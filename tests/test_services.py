from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from tests.portal import Portal
from tests.services import (
    ROOT,
    MissingService,
    Postgres,
    Process,
    ProcessFailed,
    Redis,
    find_program,
    free_port,
    wait_until,
)

pytestmark = pytest.mark.stack("embedded")  # it starts servers of its own

# Started by a process of its own, which this program ends without giving it a chance to clean up.
ABANDON = """
import os, pathlib, signal, sys
from tests.services import Process
sleeper = Process(["sh", "-c", "sleep 300 & echo $!; wait"], pathlib.Path(sys.argv[1]))
sleeper.wait_until(sleeper.read_output, 10, "the sleeper's child")
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_redis_keeps_its_port_over_stop_start_and_kill() -> None:
    with Redis() as server:
        client = redis.Redis.from_url(server.url)
        with client:
            assert client.ping()
            server.stop()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert client.ping()
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert client.ping()
    assert not server.directory.exists()


def test_postgres_keeps_its_databases_over_a_restart() -> None:
    with Postgres() as server:
        url = server.create_database("first")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (id int)")
        server.stop()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(url)
        server.start()
        copy = server.create_database("copy", template="first")
        with psycopg.connect(copy) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        server.drop_database("copy")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(copy)
    assert not server.directory.exists()


def test_postgres_stops_while_clients_are_connected() -> None:
    with Postgres() as server:
        connection = psycopg.connect(server.url)
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(MissingService, match=r"no-such-server.*no-such-package"):
        find_program("no-such-server", "no-such-package")


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < free_port() < lowest for _ in range(20))


def test_wait_until_says_what_did_not_happen() -> None:
    with pytest.raises(TimeoutError, match=r"0\.1 s: pigs fly"):
        wait_until(lambda: False, 0.1, "pigs fly")


def test_a_process_that_ends_early_shows_its_output(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo out of paper; exit 3"], tmp_path / "output")
    with pytest.raises(ProcessFailed, match=r"ended with 3 before: print(.|\n)*out of paper"):
        process.wait_until(lambda: False, 10, "print")
    process.kill()


def test_a_process_that_ignores_its_signal_is_killed_and_reported(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "trap '' TERM; echo up; sleep 300 & wait"], tmp_path / "output")
    process.wait_until(process.read_output, 10, "up")
    with pytest.raises(ProcessFailed, match=r"did not end within 0\.2 s"):
        process.stop(timeout=0.2)
    assert process.returncode == -signal.SIGKILL


def test_a_killed_run_takes_its_processes_and_their_children_with_it(tmp_path: Path) -> None:
    output = tmp_path / "output"
    run = subprocess.run([sys.executable, "-c", ABANDON, str(output)], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    child = int(output.read_text())
    wait_until(lambda: not is_running(child), 10, "the child is gone")


def test_a_portal_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        Portal(tmp_path, EVENTS_HEARTBEAT="soon") as portal,
        pytest.raises(ProcessFailed, match="EVENTS_HEARTBEAT must be"),
    ):
        portal.serve()


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="no_such_command"):
        Portal(tmp_path).manage("no_such_command")


def test_a_portal_inherits_no_setting_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTS_HEARTBEAT", "7")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6379/0")
    environment = Portal(tmp_path, EVENTS_RING_SIZE=5).environment
    assert environment["EVENTS_HEARTBEAT"] == environment["REDIS_URL"] == ""
    assert environment["EVENTS_RING_SIZE"] == "5"
    assert environment["PATH"] == os.environ["PATH"]
