"""Runs on a real sshd: what the script gets, what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import OperationalError, connection
from django.utils import timezone

from automation import claims, execution, log, program, records, remote, runner, runs
from automation.models import Run
from automation.runner import Runner
from automation.tests.carrying import (
    PATIENCE,
    dump,
    finished,
    printed,
    remarks,
    running,
    running_worker,
    server_of,
    statuses,
    stored,
)
from automation.tests.making import create_automation, create_run
from events.api import subject_of
from events.models import Event
from servers import fleet
from servers.tests.cast import create_server
from servers.tests.loops import in_thread
from servers.tests.sshd import Sshd
from tests.services import wait_until

# What it asserts is of SSH: the database's part is in the tests of records and claims.
pytestmark = [pytest.mark.stack("embedded"), pytest.mark.django_db(transaction=True)]

Start = Callable[..., Run]


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    with Sshd() as server:
        yield server


@pytest.fixture
def worker() -> Iterator[Runner]:
    with running_worker() as runner:
        yield runner


@pytest.fixture
def start(sshd: Sshd, worker: Runner) -> Start:
    """Starts a run of a script, by default on one server; values are the automation's."""

    def begin(script: str, servers: int = 1, given: dict[str, Any] | None = None, **v: Any) -> Run:
        names = [f"web-{number:02}" for number in range(1, servers + 1)]
        automation = create_automation(
            script=script, servers=tuple(server_of(sshd, name) for name in names), **v
        )
        run = runs.start(automation, None, given)
        worker.wake()
        return run

    return begin


def lives(pid: str) -> bool:
    """A killed orphan may stay a zombie where no init collects it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


PRINT_ODDLY = """
import os
odd = bytes(range(256)) * 3 + b"\\x1b[31mred\\x1b[0m\\r\\n" + b"\\xc3\\n\\xe6\\x97" + b"x" * 70000
os.write(1, odd + b"\\n\\n" + "日本".encode())
os.write(2, odd[::-1])
"""


def test_the_log_is_letter_for_letter_what_was_printed(start: Start) -> None:
    run = finished(start(PRINT_ODDLY, interpreter="python3"))
    odd = bytes(range(256)) * 3 + b"\x1b[31mred\x1b[0m\r\n" + b"\xc3\n\xe6\x97" + b"x" * 70000
    assert printed(run) == odd + b"\n\n" + "日本".encode()
    assert printed(run, "stderr") == odd[::-1]
    assert run.status == "completed"
    assert run.log_bytes == 2 * len(odd) + 8
    lines = log.page(run, limit=100_000)
    assert [line["seq"] for line in lines] == list(range(1, run.log_lines + 1))
    told = [
        line
        for event in Event.objects.filter(type="log.added").order_by("pk")
        for line in event.data["lines"]
    ]
    assert told == lines


INJECTED = Path(f"/tmp/injected-{uuid.uuid4()}")  # the machine's, as the sshd's account writes it
ODD = [
    f"'; touch {INJECTED}; '",
    f"$(touch {INJECTED})",
    f"`touch {INJECTED}`",
    "a\nb\n\n",
    "-rf",
    "--",
    "",
    '"quoted" \\ \\n $HOME * ~ !! & | ; < > # \t\r \x01\x7f\x1b é日',
]


def test_parameters_arrive_as_they_are_and_nothing_of_them_is_run(start: Start) -> None:
    names = [f"p{number}" for number in range(len(ODD))]
    script = (
        "import os\n"
        f"for name in {names!r}: print(repr(os.environ['PARAM_' + name.upper()]))\n"
        "print(os.environ['RUN_ID'], os.environ['SERVER_NAME'])\n"
    )
    run = finished(
        start(
            script,
            interpreter="python3",
            parameters=[{"name": name, "type": "string"} for name in names],
            given=dict(zip(names, ODD, strict=True)),
        )
    )
    wanted = "".join(f"{value!r}\n" for value in ODD) + f"{run.pk} web-01\n"
    assert printed(run).decode() == wanted
    assert not INJECTED.exists()


SECRETS = """
echo "the token is $PARAM_TOKEN"
printf %s "$PARAM_TOKEN" | head -c 6; sleep 0.1; printf %s "$PARAM_TOKEN" | tail -c +7
echo; echo "$PARAM_KEY" >&2; printf %s "$PARAM_KEY" | tail -n 1
echo ready; sleep 60
"""


def test_a_secret_is_in_no_log_event_process_list_or_row(
    start: Start, worker: Runner, capfd: pytest.CaptureFixture[str]
) -> None:
    given = {"token": "blue marlin's $(id)", "key": "-----BEGIN-----\nMIIEvQIBADAN\n"}
    parameters = [{"name": name, "type": "secret"} for name in given]
    run = start(SECRETS, parameters=parameters, given=given)
    running(run, "ready")
    commands = [read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    runs.cancel(run, None)
    run = finished(run)
    assert b"the token is ********\n" in printed(run)
    texts = [*map(repr, commands), dump(), *capfd.readouterr(), repr(printed(run, "stderr"))]
    assert not any(re.search("marlin|MIIEvQ", text) for text in texts)


def read(path: Path) -> bytes:
    """Of a process that may be over."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("script", "status", "code", "killed_by"),
    [
        ("exit 0", "succeeded", 0, ""),
        ("exit 7", "failed", 7, ""),
        ("kill -KILL $$", "failed", 137, "KILL"),
        ("exec nonsense-that-is-no-command", "failed", 127, ""),
    ],
)
def test_how_a_script_ended_comes_through(
    start: Start, script: str, status: str, code: int, killed_by: str
) -> None:
    run = finished(start(f"echo $0\n{script}"))
    [target] = run.targets.all()
    assert (target.status, target.exit_code, target.exit_signal) == (status, code, killed_by)
    assert 0 <= (target.duration or 0) < PATIENCE
    assert run.status == ("completed" if code == 0 else "failed")
    assert run.error == ("" if code == 0 else "Failed on web-01 of 1.")
    assert run.duration is not None
    written = Path(printed(run).decode().strip())
    assert written.name == "script"
    assert not written.parent.exists()


def test_a_script_gets_no_input_and_its_signals_are_its_own(start: Start) -> None:
    script = "import signal, sys\nprint(sys.stdin.read(), signal.getsignal(signal.SIGINT))\n"
    run = finished(start(script, interpreter="python3"))
    assert printed(run) == b" <built-in function default_int_handler>\n"


def test_a_question_without_an_end_of_line_is_shown_while_it_waits(start: Start) -> None:
    run = start("printf 'Continue? '; sleep 60")
    running(run, "Continue? ")
    runs.cancel(run, None)
    assert printed(finished(run)) == b"Continue? "


TREE = """
setsid sleep 301 & echo "stray $!"
sleep 302 & echo "child $!"
echo "self $$"
trap 'echo bye; exit 1' TERM
sleep 303 & echo "waits $!"
wait
"""


def test_a_cancel_ends_the_group_and_says_what_it_could_not_end(start: Start) -> None:
    run = start(TREE)
    running(run, "waits")
    pids = dict(re.findall(r"(\w+) (\d+)", printed(run).decode()))
    runs.cancel(run, None)
    run = finished(run)
    try:
        assert (run.status, statuses(run)) == ("cancelled", {"web-01": "cancelled"})
        assert b"bye\n" in printed(run)
        assert not any(lives(pids[name]) for name in ("child", "self", "waits"))
        assert lives(pids["stray"])
        said = f"Process group {pids['self']} on web-01 was ended."
        strays = f"Began groups of their own, and still run: {pids['stray']}."
        assert remarks(run).count(f"{said} {strays}") == 1
        assert run.targets.get().error == f"{said} {strays}"
    finally:
        wait_until(lambda: not lives(pids["stray"]) or kill(pids["stray"]), PATIENCE, "its end")


def kill(pid: str) -> bool:
    os.kill(int(pid), signal.SIGKILL)
    return True


def test_what_ignores_sigterm_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "GRACE", 1)
    run = start("trap '' TERM; sleep 304 & echo ready; wait; sleep 305", timeout=1)
    run = finished(run)
    assert statuses(run) == {"web-01": "timed_out"}
    [target] = run.targets.all()
    assert target.error.startswith("Timed out after 1 s. Process group ")
    assert target.error.endswith(" on web-01 was ended by SIGKILL.")
    assert run.status == "failed"
    assert printed(run) == b"ready\n"


def test_a_stop_that_cannot_be_made_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> Any:
        raise remote.RemoteError("administratively prohibited")

    monkeypatch.setattr(remote, "end", refuse)
    run = start("echo $$; sleep 2")
    running(run, "begins")
    runs.cancel(run, None)
    [target] = finished(run).targets.all()
    assert target.status == "cancelled"
    assert re.fullmatch(
        r"Process group \d+ on web-01 may still run: administratively prohibited\.", target.error
    )


def test_a_second_login_stops_what_the_first_connection_cannot(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a server takes one session a connection."""
    end, asked = remote.end, []

    async def refuse_once(*arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise remote.RemoteError("administratively prohibited")
        return await end(*arguments)

    monkeypatch.setattr(remote, "end", refuse_once)
    run = start("echo pid $$; exec sleep 306")
    running(run, "pid")
    pid = printed(run).decode().split()[1]
    runs.cancel(run, None)
    assert finished(run).targets.get().error.endswith("was ended.")
    assert not lives(pid)


def test_what_a_script_leaves_behind_holds_nothing_up(start: Start) -> None:
    run = finished(start("sleep 309 & echo $!"))
    kill(printed(run).decode().strip())
    assert run.status == "completed"
    assert any("still holds its output open" in said for said in remarks(run))


def test_a_lost_connection_fails_the_target_and_says_what_may_run(start: Start) -> None:
    run = start("echo pid $$; ps -o ppid= -p $PPID; exec sleep 307")
    running(run, "pid")
    wait_until(lambda: printed(run).count(b"\n") == 2, PATIENCE, "two lines")
    pid, session = printed(run).decode().split()[1:]
    kill(session)  # sshd's process for this connection
    [target] = finished(run).targets.all()
    kill(pid)
    assert target.status == "failed"
    assert target.error == (
        f"The connection was lost. Process group {pid} on web-01 may still run."
    )


def test_what_cannot_be_reached_is_unreachable_and_the_others_are_not_held_up(
    start: Start, sshd: Sshd, worker: Runner
) -> None:
    port = sshd.port
    servers = (
        server_of(sshd, "good"),
        server_of(sshd, "password", credential="wrong"),
        server_of(sshd, "unknown", host_key=""),
        create_server("closed", host="127.0.0.1", port=1),
    )
    run = create_run(*servers)
    worker.wake()
    run = finished(run)
    assert statuses(run) == {
        "good": "succeeded",
        "password": "unreachable",
        "unknown": "unreachable",
        "closed": "unreachable",
    }
    errors = dict(run.targets.values_list("name", "error"))
    assert errors["password"].startswith(f"127.0.0.1 port {port} refused the login of")
    assert "No host key of" in errors["unknown"]
    assert errors["closed"] == "Connection refused by 127.0.0.1 port 1: nothing listens there."
    assert run.error == "Failed on closed, password, unknown of 4."
    assert run.counts["unreachable"] == 3
    assert errors["closed"] in remarks(run)
    told = {event.data["position"]: event.data for event in changes_of(run)}
    for target in run.targets.all():
        data = told[target.position]
        assert (data["status"], data["error"]) == (target.status, target.error)
    assert changes_of(run)[-1].data["counts"] == run.counts


def changes_of(run: Run) -> list[Event]:
    about = Event.objects.filter(type="automation.target_changed", subject=subject_of(run))
    return list(about.order_by("pk"))


def test_an_account_with_a_command_of_its_own_gets_no_secret(sshd: Sshd, worker: Runner) -> None:
    """`cat` repeats whatever it is told."""
    key = sshd.client_key(command="cat")
    server = server_of(sshd, credential=key)
    secret = [{"name": "token", "type": "secret"}]
    run = runs.start(
        create_automation(servers=(server,), parameters=secret), None, {"token": "swordfish"}
    )
    wait = remote.START
    try:
        remote.START = 1.0  # type: ignore[misc]
        worker.wake()
        run = finished(run)
    finally:
        remote.START = wait  # type: ignore[misc]
    assert run.targets.get().error == (
        "No answer within 1 s: is the account limited to a command of its own?"
    )
    assert printed(run, None) == b""


def test_what_a_login_shell_says_is_not_the_scripts(sshd: Sshd, worker: Runner) -> None:
    noisy = sshd.directory / "noisy"
    noisy.write_text(
        "echo 'Welcome!'; echo oh >&2; printf 'no end'; eval \"$SSH_ORIGINAL_COMMAND\""
    )
    key = sshd.client_key(command=f"sh {noisy}")
    run = create_run(server_of(sshd, credential=key), script="echo it; echo err >&2")
    worker.wake()
    assert printed(finished(run)) == b"it\n"
    assert printed(run, "stderr") == b"err\n"


def test_of_20_targets_at_once_one_that_hangs_and_one_that_fails_hold_up_no_other(
    sshd: Sshd, worker: Runner, tmp_path: Path
) -> None:
    """Ten on the demo fleet, ten on a real sshd."""
    with in_thread(fleet.running(tmp_path, base_port=0)) as hosts:
        demo = hosts[0]
        login = {"port": demo.port, "username": demo.username, "host_key": demo.host_key}
        login |= {"host": demo.host, "credential": demo.password}
        servers = [create_server(f"demo-{n:02}", **login) for n in range(1, 11)]
        servers += [server_of(sshd, f"web-{n:02}") for n in range(1, 11)]
        run = create_run(*servers, script=TWENTY, concurrency=20, timeout=4)
        worker.wake()
        run = finished(run)
    assert run.counts["succeeded"] == 18, remarks(run)
    found = statuses(run)
    assert (found["demo-03"], found["web-07"]) == ("timed_out", "failed")
    assert run.error == "Failed on demo-03, web-07 of 20."
    for target in run.targets.all():
        assert printed(run, target=target.position).decode() == f"{target.name}\n"
    last = run.targets.order_by("finished_at").last()
    assert last
    assert last.name == "demo-03"


TWENTY = """
echo "$SERVER_NAME"
case $SERVER_NAME in demo-03) sleep 300 ;; web-07) exit 9 ;; esac
"""


COUNT = "mkdir {0}/$SERVER_NAME; ls {0} | wc -l; sleep 0.3; rmdir {0}/$SERVER_NAME"


def test_no_more_targets_run_at_once_than_were_asked_for(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o711)
    run = finished(start(COUNT.format(tmp_path), servers=7, concurrency=3))
    assert run.status == "completed", remarks(run)
    counts = list(map(int, printed(run).split()))
    assert len(counts) == 7
    assert max(counts) in (2, 3)


def test_after_so_many_failures_no_more_targets_are_begun(start: Start) -> None:
    run = finished(start("echo x; exit 1", servers=6, concurrency=1, max_failures=2))
    assert run.counts["failed"] == 2
    assert run.counts["skipped"] == 4
    assert printed(run) == b"x\n" * 2
    assert run.status == "failed"


def test_a_cancel_leaves_what_was_not_begun_cancelled(start: Start) -> None:
    run = start("echo ready; sleep 60", servers=3, concurrency=1)
    running(run, "ready")
    runs.cancel(run, None)
    run = finished(run)
    assert set(statuses(run).values()) == {"cancelled"}
    assert printed(run) == b"ready\n"


def test_a_worker_that_lost_its_run_stops_it_and_writes_nothing_more(start: Start) -> None:
    run = start("echo pid $$; while :; do echo more; sleep 0.2; done")
    running(run, "more")
    pid = printed(run).decode().split()[1]
    with claims.held(run.pk, stored(run).claim) as row:
        records.conclude(row, "skipped", "Somebody else ended it.")
    before = stored(run)
    wait_until(lambda: not lives(pid), PATIENCE, "the end of the script")
    after = stored(run)
    assert (after.status, after.error) == ("failed", "Somebody else ended it.")
    assert after.log_lines == before.log_lines


def test_a_database_that_fails_is_waited_for_and_no_line_is_lost_or_twice(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once before a commit, and once after it, when nobody can tell whether it was made."""
    monkeypatch.setattr(execution, "RETRY", 0.05)
    write, writes = records.write, []

    def fail_at_times(*arguments: Any) -> None:
        writes.append(1)
        if len(writes) % 3 == 1:
            raise OperationalError("the server closed the connection")
        write(*arguments)
        if len(writes) % 3 == 2:
            raise OperationalError("the server closed the connection")

    monkeypatch.setattr(records, "write", fail_at_times)
    run = finished(start(SEQUENCE.format(20_000)))
    assert printed(run) == b"".join(sequence(20_000))
    assert len(writes) > 9
    assert (run.status, statuses(run)) == ("completed", {"web-01": "succeeded"})


def test_a_fault_of_ours_ends_what_runs_and_fails_the_run(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("echo pid $$; sleep 1; echo more; sleep 308")
    running(run, "pid")
    pid = printed(run).decode().split()[1]
    monkeypatch.setattr(records, "write", lambda *_: [][0])
    run = finished(run)
    assert (run.status, run.error) == ("failed", execution.OURS)
    assert run.targets.get().error == execution.OURS
    assert not lives(pid)


def test_secrets_that_no_key_opens_fail_the_run_with_the_reason(
    sshd: Sshd, worker: Runner, settings: Any
) -> None:
    secret = [{"name": "token", "type": "secret"}]
    automation = create_automation(servers=(server_of(sshd),), parameters=secret)
    run = runs.start(automation, None, {"token": "blue marlin"})
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    worker.wake()
    assert "no key in FIELD_ENCRYPTION_KEYS decrypts automation.Run.secrets" in finished(run).error


def test_the_log_is_kept_up_to_its_limit_and_says_so(start: Start, settings: Any) -> None:
    settings.AUTOMATION_LOG_LIMIT = 65_536
    run = finished(start(SEQUENCE.format(9000) + "; echo done >&2"))
    whole = b"".join(sequence(9000))
    assert printed(run, None) == whole[:65_536]
    assert run.log_bytes == 65_536
    assert run.log_dropped == len(whole) + len(b"done\n") - 65_536
    [said] = [said for said in remarks(run) if "truncated" in said]
    assert "it has 64 KiB" in said
    assert remarks(run)[-1] == "Exit code 0."
    assert run.status == "completed"


def test_a_log_of_many_lines_is_whole_in_rows_and_events(start: Start) -> None:
    run = finished(start(SEQUENCE.format(30_000)))
    assert printed(run) == b"".join(sequence(30_000))
    events = Event.objects.filter(type="log.added").order_by("pk")
    told = [line["seq"] for event in events.iterator(10) for line in event.data["lines"]]
    assert told == list(range(1, run.log_lines + 1))


SEQUENCE = "seq -f '%.0f: what a program says all day' 1 {}"


def sequence(count: int) -> Iterator[bytes]:
    return (f"{n}: what a program says all day\n".encode() for n in range(1, count + 1))


def test_a_server_in_maintenance_is_skipped_unless_it_is_forced(sshd: Sshd, worker: Runner) -> None:
    until = timezone.now() + timedelta(hours=1)
    calm = server_of(sshd, "web-01", maintenance_until=until, maintenance_reason="New disks")
    automation = create_automation(script="echo hello", servers=(calm, server_of(sshd, "web-02")))
    held = runs.start(automation, None)
    worker.wake()
    over = finished(held)
    assert (over.status, over.error) == ("failed", "Skipped on web-01 of 2.")
    assert statuses(held) == {"web-01": "skipped", "web-02": "succeeded"}
    assert any("in maintenance until" in said and "New disks" in said for said in remarks(held))
    assert printed(held, target=1) == b""
    again = runs.start(automation, None, force=True)
    worker.wake()
    assert finished(again).status == "completed"


def test_a_script_has_the_umask_of_its_account(start: Start) -> None:
    assert printed(finished(start("umask"))) != b"0077\n"


def test_a_target_begins_though_nothing_can_be_written_down(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where much waits to be written, the sources are paused: not before they have begun."""
    monkeypatch.setattr(remote, "START", 3.0)
    held, write = threading.Event(), records.write

    def wait_and_write(*arguments: Any) -> None:
        if not held.is_set():
            held.wait(6)  # longer than a shell may take to answer
            held.set()
        write(*arguments)

    monkeypatch.setattr(records, "write", wait_and_write)
    first = "head -c 3000000 /dev/zero | tr '\\0' 'x'"
    script = f"case $SERVER_NAME in web-01) {first};; *) sleep 1; echo done;; esac"
    run = finished(start(script, servers=2, concurrency=1))
    assert statuses(run) == {"web-01": "succeeded", "web-02": "succeeded"}
    assert printed(run, target=2) == b"done\n"


@pytest.fixture
def no_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner does not find out by itself that a run is cancelled."""
    monkeypatch.setattr(runner, "LOOK", 3600.0)


def test_after_a_cancel_no_target_begins(no_looks: None, start: Start) -> None:
    gate = Path(f"/tmp/gate-{uuid.uuid4()}")
    run = start(f"echo ready; until [ -e {gate} ]; do sleep 0.1; done", servers=2, concurrency=1)
    running(run, "ready")
    runs.cancel(run, None)
    try:
        gate.touch()
        run = finished(run)
    finally:
        gate.unlink()
    assert statuses(run) == {"web-01": "succeeded", "web-02": "cancelled"}
    assert printed(run, target=2) == b""
    assert run.status == "cancelled"


def test_a_cancel_while_the_login_lasts_lets_no_script_begin(
    no_looks: None, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    greet = remote.greet

    async def greet_and_cancel(*arguments: Any) -> remote.Conversation:
        conversation = await greet(*arguments)
        await asyncio.to_thread(cancel_all)
        return conversation

    def cancel_all() -> None:
        runs.cancel(Run.objects.get(), None)
        connection.close()

    monkeypatch.setattr(remote, "greet", greet_and_cancel)
    run = finished(start("echo begun"))
    assert statuses(run) == {"web-01": "cancelled"}
    assert printed(run) == b""
