"""Runs in real workers, on a real sshd: followed, cancelled, given up, and what kills leave."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from automation import claims, reaper
from servers.tests.sshd import Sshd
from tests.portal import Portal
from tests.readers import bearer, make_user
from tests.services import Process

PATIENCE = 90  # seconds; must not be met

SET_UP = """
import json
from automation import services
from automation.models import Automation
from servers.models import Server
given = json.loads({given!r})
servers = [Server.objects.create(name=name, **given["login"]) for name in given["servers"]]
for name, values in given["automations"].items():
    on = values.pop("on", 1)
    services.create(Automation(name=name, **values), servers[:on])
"""

# As if the dead worker's last sign of life were an hour ago.
FORGET = """
from datetime import timedelta
from django.utils import timezone
from automation.models import Run
Run.objects.filter(status="running").update(heartbeat_at=timezone.now() - timedelta(hours=1))
"""

RUNS = """
import json
from automation import log
from automation.models import Run
def told(run):
    targets = dict(run.targets.values_list("name", "status"))
    lines = [(line["server"], line["stream"], line["text"]) for line in log.page(run, 0, 10**6)]
    return {"status": run.status, "error": run.error, "targets": targets, "lines": lines}
print("RUNS", json.dumps([told(run) for run in Run.objects.order_by("pk")]))
"""

TICKING = "echo pid $$; n=0; while :; do n=$((n + 1)); echo tick $n; sleep 0.1; done"


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


@pytest.fixture
def set_up(sshd: Sshd) -> Callable[..., None]:
    def create(portal: Portal, servers: int = 1, **automations: dict[str, Any]) -> None:
        login = {"host": "127.0.0.1", "port": sshd.port, "username": sshd.username}
        login |= {"credential": sshd.password, "host_key": sshd.host_key("ed25519")}
        names = [f"web-{number:02}" for number in range(1, servers + 1)]
        given = {"login": login, "servers": names, "automations": automations}
        shell(portal, SET_UP.format(given=json.dumps(given)))

    return create


def shell(portal: Portal, code: str) -> str:
    return portal.shell(code)


def runs_of(portal: Portal) -> list[dict[str, Any]]:
    return list(json.loads(shell(portal, RUNS).split("RUNS ")[1]))


def follow(portal: Portal, name: str, *options: str) -> Process:
    """The command, with both of its streams in one file."""
    return portal.start("run_automation", name, "--wait", *options)


def until(process: Process, text: str, times: int = 1) -> str:
    def found() -> str:
        said = process.read_output()
        return said if said.count(text) >= times else ""

    return process.wait_until(found, PATIENCE, text)


def until_printed(process: Process, size: int) -> None:
    """So many bytes, which are not read each time."""
    process.wait_until(lambda: process.output.stat().st_size > size, PATIENCE, f"{size} bytes")


def pids(said: str) -> list[str]:
    return re.findall(r"pid (\d+)", said)


def lives(pid: str) -> bool:
    """A killed orphan may stay a zombie where no init collects it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ticks(run: dict[str, Any], server: str) -> list[str]:
    return [text for name, stream, text in run["lines"] if name == server and stream == "stdout"]


def are_gapless(said: list[str]) -> bool:
    return said[1:] == [f"tick {n}" for n in range(1, len(said))]


@pytest.mark.stack("embedded")
def test_a_command_follows_a_run_to_its_end_and_a_cancel_or_a_timeout_ends_it(
    portal_factory: Callable[..., Portal], set_up: Callable[..., None]
) -> None:
    portal = portal_factory(AUTOMATION_DRAIN_SECONDS=0.5)
    set_up(
        portal,
        servers=3,
        good={"script": "echo out; echo err >&2; exit 0"},
        bad={"script": "exit 5"},
        ticking={"script": TICKING, "on": 3},
        slow={"script": "echo pid $$; sleep 300", "timeout": 1},
        secret={
            "script": 'echo "$PARAM_TOKEN" >&2; nonsense "$PARAM_TOKEN"',
            "parameters": [{"name": "token", "type": "secret"}],
        },
    )
    portal.environment["TOKEN"] = "blue marlin"
    waiting = follow(portal, "good")  # for a worker
    until(waiting, "It waits for a worker")
    worker = portal.worker()
    assert waiting.wait(PATIENCE) == 0
    assert "\nout\nerr\n" in waiting.read_output()
    assert waiting.read_output().endswith("# good #1: completed.\n")

    commands = [follow(portal, name) for name in ("bad", "ticking", "slow")]
    bad, ticking, slow = commands
    assert bad.wait(PATIENCE) == 1
    assert "# Exit code 5.\n" in bad.read_output()
    began = pids(until(ticking, "tick 2\n", times=3))
    assert len(began) == 3
    assert all(map(lives, began))
    [run] = re.findall(r"ticking #(\d+)", ticking.read_output())
    portal.manage("cancel_run", run)
    assert ticking.wait(PATIENCE) == 3
    assert not any(map(lives, began))
    for pid, name in zip(began, ("web-01", "web-02", "web-03"), strict=True):
        assert re.search(rf"# {name}: Process group \d+ on {name} was ended", ticking.read_output())
        assert f"Process group {pid} on" in ticking.read_output()
    assert slow.wait(PATIENCE) == 1
    assert "Timed out after 1 s. Process group" in slow.read_output()
    assert not any(map(lives, pids(slow.read_output())))

    left, late = follow(portal, "ticking"), follow(portal, "ticking", "--timeout", "0.5")
    [run] = re.findall(r"ticking #(\d+)", until(left, "tick 1\n"))
    left.send_signal(signal.SIGINT)
    assert left.wait(PATIENCE) == 130
    assert f"Run {run} goes on; `manage.py cancel_run {run}` cancels it." in left.read_output()
    assert late.wait(PATIENCE) == 4
    assert [run["status"] for run in runs_of(portal)][-2:] == ["running", "running"]

    secret = follow(portal, "secret", "--secret-from-env", "token=TOKEN")
    assert secret.wait(PATIENCE) == 1
    assert "\n********\n" in secret.read_output()
    assert not any("marlin" in said.read_output() for said in (secret, worker))


def test_a_killed_worker_leaves_no_run_running_and_no_line_is_lost(
    portal: Portal, stack: str, set_up: Callable[..., None]
) -> None:
    """On the embedded stack no worker comes back; on the other no web process is there."""
    set_up(portal, servers=2, ticking={"script": TICKING, "on": 2})
    worker = portal.worker()
    ticking = follow(portal, "ticking")
    began = pids(until(ticking, "tick 3\n", times=2))
    cancelled = follow(portal, "ticking", "--server", "web-01")
    began += pids(until(cancelled, "tick 1\n"))
    portal.kill(worker)
    portal.manage("cancel_run", "2")  # by which nobody can stop it
    shell(portal, FORGET)
    if stack == "embedded":
        portal.serve()
    else:
        portal.worker()
    assert (ticking.wait(PATIENCE), cancelled.wait(PATIENCE)) == (1, 1)
    for pid in began:
        with suppress(ProcessLookupError):  # it has printed to nobody
            os.kill(int(pid), signal.SIGKILL)
    run, _ = runs_of(portal)
    assert run["status"] == "failed"
    assert re.fullmatch(r"The worker \S+:\d+ was lost\.", run["error"])
    assert run["targets"] == {"web-01": "failed", "web-02": "failed"}
    assert run["lines"][-1][2].endswith("What it had begun may still run on web-01, web-02.")
    for name in run["targets"]:
        assert are_gapless(ticks(run, name))
        assert "tick 3" in ticks(run, name)
        assert ticking.read_output().count(f"{name}: tick") == len(ticks(run, name)) - 1


def test_a_lost_worker_is_missed_within_a_minute() -> None:
    """The tests above make it older than it is."""
    longest = reaper.INTERVAL * 1.2
    assert claims.LOST.total_seconds() + 2 * longest < 60


@pytest.mark.stack("embedded")
def test_a_restart_loses_no_line_and_a_run_may_end_before_its_worker_does(
    portal: Portal, set_up: Callable[..., None]
) -> None:
    script = TICKING.replace("while :", 'while [ "$n" -lt "$PARAM_TIMES" ]')
    parameters = [{"name": "times", "type": "integer", "default": 100_000}]
    set_up(portal, ticking={"script": script, "parameters": parameters})
    portal.environment["AUTOMATION_DRAIN_SECONDS"] = "0.5"
    web, worker = portal.serve(), portal.worker()
    ticking = follow(portal, "ticking")
    began = pids(until(ticking, "tick 3\n"))
    web.stop()
    worker.stop(timeout=PATIENCE)
    assert ticking.wait(PATIENCE) == 1
    assert not any(map(lives, began))

    portal.environment["AUTOMATION_DRAIN_SECONDS"] = "60"
    ticking = follow(portal, "ticking", "--param", "times=20")  # while no worker is there
    worker = portal.worker()
    until(ticking, "tick 3\n")
    worker.stop(timeout=PATIENCE)
    assert ticking.wait(PATIENCE) == 0
    stopped, whole = runs_of(portal)
    assert (stopped["status"], stopped["error"]) == ("failed", "The worker was stopped.")
    assert are_gapless(ticks(stopped, "web-01"))
    assert "tick 3" in ticks(stopped, "web-01")
    assert (whole["status"], ticks(whole, "web-01")[-1]) == ("completed", "tick 20")


@pytest.mark.stack("embedded")
def test_a_flood_of_output_is_whole_and_leaves_the_portal_answering(
    portal: Portal, set_up: Callable[..., None]
) -> None:
    flood = "seq -f '%.0f: what a program says all day' 1 200000"
    set_up(portal, flood={"script": flood})
    token = make_user(portal, "viewer", "Viewer")
    portal.worker()
    web = portal.serve()
    command = follow(portal, "flood")
    until(command, "100: what")
    with httpx.Client(headers=bearer(token), trust_env=False, timeout=PATIENCE) as client:
        for size in range(1_000_000, 8_000_000, 1_000_000):
            until_printed(command, size)
            assert client.get(web.url("/api/v1/servers/")).status_code == 200
    assert command.wait(PATIENCE) == 0
    said = [line for line in command.read_output().splitlines() if not line.startswith("# ")]
    assert said == [f"{n}: what a program says all day" for n in range(1, 200_001)]
