"""What the commands refuse, and how they say so."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from automation.models import Run
from automation.terminal import _CONTROL, _shown
from automation.tests.making import PARAMETERS, create_automation, create_run
from servers.models import Environment, Server

pytestmark = pytest.mark.django_db


def start(*arguments: str) -> Run:
    out = StringIO()
    call_command("run_automation", *arguments, stdout=out, stderr=StringIO())
    return Run.objects.get(pk=int(out.getvalue()))


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        start(*arguments)
    assert caught.value.returncode == 2
    assert not Run.objects.exists()
    return str(caught.value)


def test_a_run_is_started_as_it_is_told(
    server: Server, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "swordfish")
    create_automation(parameters=PARAMETERS)
    options = ("--server", "web-01", "--param", "greeting=a=b", "--param", "times=3")
    run = start("Say hello", *options, "--secret-from-env", "token=TOKEN", "--reason", "why")
    assert run.values == {"greeting": "a=b", "times": 3, "mode": "slow"}
    assert (run.secrets, run.reason) == ('{"token": "swordfish"}', "why")
    assert [target.name for target in run.targets.all()] == ["web-01"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Say hullo"], "There is no automation “Say hullo”. Is it Say hello?"),
        (["Say hello"], "There is no server to run on."),
        (["Say hello", "--server", "web01"], "There is no server “web01”. Is it web-01?"),
        (["Say hello", "--environment", "x"], "There is no environment “x”."),
        (["Say hello", "--tag", "NO"], "A tag is lower-case letters"),
        (["Say hello", "--server", "web-01", "--param", "times"], "wants NAME=…, not 'times'"),
        (["Say hello", "--server", "web-01", "--param", "times=9"], "times: This must be 5 or"),
        (["Say hello", "--server", "web-01", "--param", "tims=1"], "times (integer)"),
        (
            ["Say hello", "--param", "token=swordfish"],
            "give it by --secret-from-env token=VARIABLE",
        ),
        (["Say hello", "--secret-from-env", "token=NOT_THERE"], "environment variable NOT_THERE"),
    ],
)
def test_a_wrong_call_is_told_what_is_right(
    server: Server, arguments: list[str], said: str
) -> None:
    create_automation(parameters=PARAMETERS)
    assert said in refused(*arguments)


def test_a_run_is_cancelled_once(server: Server) -> None:
    run = create_run(server)
    out = StringIO()
    with pytest.raises(CommandError, match=f"not as 'Say hello'. Under way: {run}.") as caught:
        call_command("cancel_run", "Say hello")
    assert caught.value.returncode == 2
    call_command("cancel_run", f"#{run.pk}", stdout=out)
    assert out.getvalue() == f"{run} is cancelled.\n"
    with pytest.raises(CommandError, match="is over: it is cancelled"):
        call_command("cancel_run", str(run.pk))
    with pytest.raises(CommandError, match=r"There is no run 77\. None is under way\."):
        call_command("cancel_run", "77")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m\r\n", b"\x1b[1;31mred\x1b[0m\r\n"),
        (b"a\tb\n", b"a\tb\n"),
        (b"\x1b]0;title\x07", b"?]0;title?"),
        (b"\x1b[2J", b"?[2J"),
        ("é\x9b2J".encode(), "é?2J".encode()),
        ("日本".encode(), "日本".encode()),
    ],
)
def test_a_terminal_gets_colours_and_nothing_that_acts_on_it(raw: Any, shown: bytes) -> None:
    assert _CONTROL.sub(_shown, raw) == shown
