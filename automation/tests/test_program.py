"""What a shell is told works on each kind of shell, letter for letter."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from automation import program
from automation.program import Program

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]
CHARACTERS = "".join(map(chr, range(1, 128))).replace("\r", "") + "é日🙂"


def run(
    shell: str, script: str, interpreter: str = "sh", path: str = "/usr/bin:/bin", **variables: str
) -> tuple[list[str], bytes, bytes, int]:
    """The shell's answers, what came after them on each stream, and its exit code."""
    token = secrets.token_hex(16)
    told = program.greeting(token) + program.text(
        Program(interpreter, script, variables, "mark"), token
    )
    command = [str(shutil.which(shell)), *(["sh"] if shell == "busybox" else []), "-s"]
    done = subprocess.run(
        command, input=told, capture_output=True, env={"PATH": path}, timeout=60, check=False
    )
    head, _, out = done.stdout.partition(b"begun:")
    kind, _, out = out.partition(b"\n")
    answers = [line.split(":")[1] for line in head.decode().splitlines() if ":" in line]
    return [*answers, kind.decode().partition(":")[2]], out, done.stderr, done.returncode


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_and_its_values_come_through_letter_for_letter(shell: str) -> None:
    script = "import os, sys\nout = sys.stdout.buffer\n"
    script += "out.write(open(__file__, 'rb').read() + b'|' + os.environb[b'PARAM_A'])\n#"
    script += CHARACTERS.replace("\n", "") + "\n"
    _, out, err, code = run(shell, script, "python3", PARAM_A=CHARACTERS)
    assert out.decode() == f"{script}|{CHARACTERS}"
    assert (err.count(b"\n"), code) == (1, 0)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_shell_ends_as_the_script_does_and_adds_nothing(
    shell: str, script: str, code: int
) -> None:
    answers, out, err, returned = run(shell, f"echo out; echo err >&2; {script}")
    assert (answers, out, returned) == (["shell", "", "group"], b"out\n", code)
    assert err.partition(b"begun\n")[2] == b"err\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_machine_without_setsid_runs_it_too(shell: str, tmp_path: Path) -> None:
    for name in ("sh", "mktemp", "rm", "cat"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    answers, out, _, code = run(shell, "echo out; exit 3", path=str(tmp_path))
    assert answers[-1] in ("group", "process")
    assert (out, code) == (b"out\n", 3)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_that_cannot_be_written_down_is_not_run(shell: str, tmp_path: Path) -> None:
    (tmp_path / "mktemp").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "mktemp").chmod(0o755)
    answers, out, _, code = run(shell, "echo out", path=f"{tmp_path}:/usr/bin:/bin")
    assert answers[:2] == ["shell", "unwritable"]
    assert (out, code) == (b"", 1)


@pytest.mark.parametrize("shell", SHELLS)
def test_what_left_its_group_is_found_without_ps(shell: str, tmp_path: Path) -> None:
    for name in ("grep", "tr", "cat", "sleep"):
        whose = shell if shell == "busybox" else name
        (tmp_path / name).symlink_to(str(shutil.which(whose)))
    (tmp_path / "a) b").symlink_to(str(shutil.which("sleep")))
    mark, over = secrets.token_hex(16), subprocess.Popen(["true"])
    over.wait()
    told = program.stopping(over.pid, "group", mark, "token")
    command = [str(shutil.which(shell)), *(["sh"] if shell == "busybox" else []), "-s"]
    stray = subprocess.Popen(
        [tmp_path / "a) b", "300"], env={"A": "", program.MARK: mark}, start_new_session=True
    )
    try:
        done = subprocess.run(
            command, input=told, capture_output=True, env={"PATH": str(tmp_path)}, timeout=60
        )
        assert done.stdout.decode() == f"token:left:term:gone:{stray.pid}\n"
    finally:
        stray.kill()
        stray.wait()


def test_what_repeats_its_input_gives_no_answer() -> None:
    told = program.greeting("token") + program.text(Program("sh", "echo", {}, "mark"), "token")
    assert b"token:" not in told
