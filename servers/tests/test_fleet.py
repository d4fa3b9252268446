import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from servers import fleet
from servers.fleet import FleetServer
from servers.ssh import Outcome, Target, check

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis

HEALTHY = ("web-01", "web-02", "db-01")
SLOWNESS = 0.3  # seconds


@asynccontextmanager
async def running(directory: Path, base_port: int = 0) -> AsyncIterator[dict[str, FleetServer]]:
    """Run the fleet, with edge-01 changing its key right after each first login."""
    async with fleet.running(
        directory, base_port=base_port, slow_seconds=SLOWNESS, change_seconds=0
    ) as servers:
        yield {server.name: server for server in servers}


async def check_one(server: FleetServer, host_key: str | None = None) -> Outcome:
    known = server.host_key if host_key is None else host_key
    target = Target(server.host, server.port, server.username, server.password, host_key=known)
    async with asyncio.timeout(12):
        return await check(target, timeout=10)


async def connect(
    server: FleetServer, client: type[asyncssh.SSHClient] = asyncssh.SSHClient
) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        server.host,
        server.port,
        username=server.username,
        password=server.password or None,
        client_factory=client,
        known_hosts=None,
        config=None,
        client_keys=None,
    )


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # A killed orphan may stay a zombie where no init collects it.
    return status.rpartition(")")[2].split()[0] not in "ZX"


async def wait_until_dead(pids: list[int]) -> None:
    async with asyncio.timeout(5):
        while any(is_alive(pid) for pid in pids):
            await asyncio.sleep(0.01)


async def start_two_processes(connection: asyncssh.SSHClientConnection) -> list[int]:
    process = await connection.create_process("sleep 300 & echo $$ $!; wait")
    pids = [int(word) for word in (await process.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(is_alive(pid) for pid in pids)
    return pids


@pytest.mark.asyncio
async def test_healthy_servers_pass_a_check(tmp_path: Path) -> None:
    async with running(tmp_path) as servers:
        assert list(servers) == [role.name for role in fleet.ROLES]
        outcomes = await asyncio.gather(*(check_one(servers[name]) for name in HEALTHY))
    assert [outcome.success for outcome in outcomes] == [True] * 3


@pytest.mark.asyncio
async def test_legacy_refuses_the_login(tmp_path: Path) -> None:
    async with running(tmp_path) as servers:
        outcome = await check_one(servers["legacy-01"])
    assert "refused the login of ops with a password" in outcome.message


@pytest.mark.asyncio
async def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as servers:
        outcome = await check_one(replace(servers["web-01"], password="guess"))
    assert "refused the login" in outcome.message


@pytest.mark.asyncio
async def test_backup_is_slow_but_passes(tmp_path: Path) -> None:
    async with running(tmp_path) as servers:
        outcome = await check_one(servers["backup-01"])
    assert outcome.success, outcome.message
    assert (outcome.latency or 0) >= SLOWNESS * 1000


@pytest.mark.asyncio
async def test_edge_changes_its_key_once_it_was_seen(tmp_path: Path) -> None:
    async with running(tmp_path) as servers:
        edge = servers["edge-01"]
        assert (await check_one(edge)).success
        changed = await check_one(edge)
        assert "has changed" in changed.message
        # It stays with the new key until somebody has accepted that.
        assert (await check_one(edge)).host_key == changed.host_key
        assert (await check_one(edge, changed.host_key)).success


@pytest.mark.asyncio
async def test_a_restart_keeps_keys_and_password_but_for_edge(tmp_path: Path) -> None:
    async with running(tmp_path) as before:
        pass
    async with running(tmp_path) as after:
        assert (await check_one(after["web-01"], before["web-01"].host_key)).success
    changed = [name for name in before if before[name].host_key != after[name].host_key]
    assert changed == ["edge-01"]
    assert before["db-01"].password == after["db-01"].password
    assert len({server.host_key for server in after.values()}) == len(fleet.ROLES)


@pytest.mark.asyncio
async def test_secrets_are_for_this_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "fleet"
    async with running(directory) as servers:
        assert servers["web-01"].password not in repr(servers["web-01"])
    assert directory.stat().st_mode & 0o777 == 0o700
    files = [path for path in directory.iterdir() if path.is_file()]
    assert len(files) == len(fleet.ROLES)  # edge-01's key is kept nowhere; the password is
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.asyncio
async def test_a_taken_port_is_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(tmp_path, base_port=port) as servers:
            assert servers["web-01"].port not in (0, port)
            assert (await check_one(servers["web-01"])).success


@pytest.mark.asyncio
async def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    async with running(tmp_path) as servers:
        ports = {f"{server.port:04X}" for server in servers.values()}
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        listening = [row[1].split(":") for row in rows if row[3] == "0A"]
        addresses = {address for address, port in listening if port in ports}
    assert addresses == {"0100007F"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("command", "sent", "status", "stdout", "stderr"),
    [
        ("true", "", 0, "", ""),
        ("exit 7", "", 7, "", ""),
        ("echo out; echo err >&2; exit 1", "", 1, "out\n", "err\n"),
        ("cat; exit 2", "fed in", 2, "fed in", ""),
        (None, "echo from a script\nexit 5\n", 5, "from a script\n", ""),
        ("head -c 300000 /dev/zero | tr '\\0' x", "", 0, "x" * 300_000, ""),
        ("no-such-command 2>/dev/null", "", 127, "", ""),
        ("true", "never read" * 100_000, 0, "", ""),
        ("echo $HOSTNAME", "", 0, "web-01\n", ""),
    ],
)
async def test_a_command_runs_for_real(
    tmp_path: Path, command: str | None, sent: str, status: int, stdout: str, stderr: str
) -> None:
    async with (
        asyncio.timeout(10),
        running(tmp_path) as servers,
        await connect(servers["web-01"]) as connection,
    ):
        result = await connection.run(command, input=sent)
    assert (result.exit_status, result.stdout, result.stderr) == (status, stdout, stderr)


@pytest.mark.asyncio
async def test_output_arrives_while_the_command_runs(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(10),
        running(tmp_path) as servers,
        await connect(servers["web-01"]) as connection,
    ):
        process = await connection.create_process("echo first; read line; echo $line")
        assert await process.stdout.readline() == "first\n"
        process.stdin.write("second\n")
        assert await process.stdout.readline() == "second\n"


@pytest.mark.asyncio
async def test_this_processs_environment_does_not_leak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "do not tell")
    async with running(tmp_path) as servers, await connect(servers["web-01"]) as connection:
        result = await connection.run("env")
    assert "SECRET_KEY" not in str(result.stdout)


@pytest.mark.asyncio
async def test_a_disconnect_kills_the_commands_whole_group(tmp_path: Path) -> None:
    async with running(tmp_path) as servers:
        async with await connect(servers["web-01"]) as connection:
            pids = await start_two_processes(connection)
        await wait_until_dead(pids)


@pytest.mark.asyncio
async def test_a_signal_reaches_the_whole_group(tmp_path: Path) -> None:
    async with running(tmp_path) as servers, await connect(servers["web-01"]) as connection:
        process = await connection.create_process("sleep 300", stdin=asyncssh.DEVNULL)
        process.send_signal("TERM")
        async with asyncio.timeout(5):
            await process.wait_closed()
    assert (process.exit_signal or ("none",))[0] == "TERM"


@pytest.mark.asyncio
async def test_closing_the_fleet_ends_its_commands_and_tasks(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with running(tmp_path) as servers:
        connection = await connect(servers["web-01"])
        pids = await start_two_processes(connection)
    assert not any(is_alive(pid) for pid in pids)
    await connection.wait_closed()
    assert asyncio.all_tasks() == before


@pytest.mark.asyncio
async def test_closing_the_fleet_does_not_wait_for_a_slow_login(tmp_path: Path) -> None:
    asked = asyncio.Event()

    class Client(asyncssh.SSHClient):
        def password_auth_requested(self) -> str:
            asked.set()
            return "any"

    async with asyncio.timeout(10):
        async with fleet.running(tmp_path, base_port=0, slow_seconds=60) as servers:
            backup = replace(servers[-1], password="")
            connecting = asyncio.create_task(connect(backup, Client))
            await asked.wait()
        with pytest.raises((asyncssh.Error, OSError)):
            await connecting
