"""500 servers of which 100 hang, checked by a real worker with 50 checks at once: `make bench`.

On both stacks, and twice: at first contact, where every server is shown as being tested, and again,
where the healthy ones are checked in silence. The servers that answer are one asyncssh server in
this process; those that hang take a connection and say nothing. Prints a table and writes
benchmarks/results/checks.json, with the conditions.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncssh

from benchmarks import measuring
from servers.tests.loops import SilentListener, in_thread
from tests.database import query
from tests.portal import Portal
from tests.services import Postgres, Redis

SERVERS, HANGING = 500, 100
SETTINGS = {
    "SERVERS_CHECK_INTERVAL": 86_400,
    "SERVERS_CHECK_CONCURRENCY": 50,
    "SERVERS_TEST_TIMEOUT": 10,
}
PATIENCE = 300  # seconds

CREATE = """
from servers import services
from servers.models import Credential, Environment, Server
lab = Environment.objects.create(name="lab", accept_new_host_keys=True)
shared = Credential(name="shared", kind="password", secret="open sesame")
services.save_credential(shared)
for number in range({servers}):
    hangs = number % ({servers} // {hanging}) == 0
    services.create(Server(
        name=f"server-{{number:03}}", host="127.0.0.1", port={silent} if hangs else {port},
        username="ops", environment=lab, shared_credential=shared,
    ))
"""

DUE = """
from django.utils import timezone
from servers.models import Server
Server.objects.update(next_check_at=timezone.now())
"""

READ = """
import json
from servers.models import Server
rows = Server.objects.values_list("status", "test_requested_at", "last_tested_at")
print("ROWS", json.dumps([[status, str(begun), str(ended)] for status, begun, ended in rows]))
"""

ENDED = "SELECT count(*) FROM servers_sample"


class Login(asyncssh.SSHServer):
    """Lets everybody in who says "open sesame"."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "open sesame"


@asynccontextmanager
async def answering() -> AsyncIterator[int]:
    """The port of a server that lets everybody in and runs anything with success."""
    options = {
        "server_factory": Login,
        "server_host_keys": [asyncssh.generate_private_key("ssh-ed25519")],
        "process_factory": lambda process: process.exit(0),
        "gss_host": None,
    }
    async with asyncssh.listen("127.0.0.1", 0, **options) as acceptor:
        yield acceptor.get_port()


def read(portal: Portal) -> list[tuple[str, datetime, datetime]]:
    """Status, begin and end of each server's last check."""
    printed = portal.shell(READ)
    rows = json.loads(printed.split("ROWS ")[1])
    return [(s, datetime.fromisoformat(b), datetime.fromisoformat(e)) for s, b, e in rows]


def wait_for(portal: Portal, ended: int) -> None:
    """Looks rarely, as it takes of the processors' time."""
    deadline = time.monotonic() + PATIENCE
    while query(portal, ENDED)[0][0] < ended:
        assert time.monotonic() < deadline, f"not {ended} results within {PATIENCE} s"
        time.sleep(1)


def measure(portal: Portal) -> dict[str, Any]:
    rows = read(portal)
    answered = [(end - begin).total_seconds() for status, begin, end in rows if status == "success"]
    begin, end = min(begin for _, begin, _ in rows), max(end for _, _, end in rows)
    return {
        "seconds": round((end - begin).total_seconds(), 1),
        "succeeded": len(answered),
        "failed": len(rows) - len(answered),
        "median s of one that answers": round(statistics.median(answered), 2),
    }


def run(stack: str, portal: Portal) -> list[dict[str, Any]]:
    portal.manage("migrate", "--verbosity=0")
    results = []
    with SilentListener() as silent, in_thread(answering()) as port:
        ports = {"silent": silent.port, "port": port}
        create = CREATE.format(servers=SERVERS, hanging=HANGING, **ports)
        portal.shell(create)
        portal.worker()
        wait_for(portal, SERVERS)
        results.append({"stack": stack, "checks": "first contact"} | measure(portal))
        portal.shell(DUE)
        wait_for(portal, 2 * SERVERS)
        results.append({"stack": stack, "checks": "again"} | measure(portal))
        assert silent.most <= SETTINGS["SERVERS_CHECK_CONCURRENCY"]
    return results


def main() -> None:
    results = []
    with ExitStack() as running:
        directory = Path(running.enter_context(TemporaryDirectory()))
        (directory / "embedded").mkdir()
        (directory / "scaled").mkdir()
        postgres, redis = running.enter_context(Postgres()), running.enter_context(Redis())
        with Portal(directory / "embedded", **SETTINGS) as portal:
            results += run("SQLite, no Redis", portal)
        url = postgres.create_database("bench")
        with Portal(directory / "scaled", url, redis.url, **SETTINGS) as portal:
            results += run("PostgreSQL, Redis", portal)
    for result in results:
        print(", ".join(f"{name}: {value}" for name, value in result.items()))
    measuring.write("checks", results, **SETTINGS)


if __name__ == "__main__":
    main()
