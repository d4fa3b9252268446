"""Who acts when a command is typed, and who does not when a command serves others."""

from __future__ import annotations

import json
import os
import pwd
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

import manage
from events import context
from events.context import CommandLine, acting
from events.middleware import RequestContextMiddleware
from tests.portal import Portal
from tests.readers import bearer, make_user
from tests.services import free_port, wait_until

pytestmark = pytest.mark.stack("embedded")  # what it asserts comes from no database

ME = pwd.getpwuid(os.getuid()).pw_name
DATA = {"id": 1, "name": "web-01", "host": "h", "status": "unknown"}
ACTORS = """
import json
from events.models import Event
rows = Event.objects.order_by("pk").values_list("type", "actor_username")
print("ACTORS", json.dumps(list(rows)))
"""


def actors(portal: Portal) -> list[tuple[str, str]]:
    """Type and actor of every event, in order."""
    printed = portal.manage("shell", "--verbosity=0", "-c", ACTORS)
    return [(kind, actor) for kind, actor in json.loads(printed.split("ACTORS ")[1])]


def test_a_commands_events_name_the_systems_user_and_the_command(portal: Portal) -> None:
    """Whatever the environment says of the user."""
    portal.environment |= {"LOGNAME": "mallory", "USER": "mallory"}
    portal.manage("emit", input=json.dumps({"type": "server.created", "data": DATA}) + "\n")
    code = (
        "from servers.models import Server;"
        "Server.objects.create(name='shell', host='h', username='u')"
    )
    portal.manage("shell", "-c", code)
    created = [actor for kind, actor in actors(portal) if kind == "server.created"]
    assert created == [f"{ME} (manage.py emit)", f"{ME} (manage.py shell)"]


def test_readers_see_a_commands_actor_without_id(portal: Portal) -> None:
    token = make_user(portal, "viewer", "Viewer")
    portal.manage("emit", input=json.dumps({"type": "server.created", "data": DATA}) + "\n")
    web = portal.serve()
    with (
        httpx.Client(trust_env=False, timeout=30) as client,
        client.stream(
            "GET",
            web.url("/api/v1/events/stream"),
            headers=bearer(token) | {"Last-Event-ID": "0"},
        ) as response,
    ):
        lines = (line for line in response.iter_lines() if line.startswith('data: {"id"'))
        event = json.loads(next(lines).removeprefix("data: "))
    assert event["actor"] == {"id": None, "username": f"{ME} (manage.py emit)"}


def test_what_a_server_and_a_worker_do_is_not_the_doing_of_who_started_them(
    portal: Portal,
) -> None:
    token = make_user(portal, "admin", superuser=True)
    portal.worker()
    web = portal.serve()
    runserver = f"http://127.0.0.1:{free_port()}"
    daphne = portal.start("runserver", "--noreload", runserver.removeprefix("http://"))
    daphne.wait_until(lambda: "Listening on" in daphne.read_output(), 30, "daphne listens")
    for name, origin in (("first", web.url("")), ("second", runserver)):
        with httpx.Client(base_url=origin, headers=bearer(token), trust_env=False) as client:
            body = {"name": name, "host": "127.0.0.1", "port": 1, "username": "root"}
            server = client.post("/api/v1/servers/", json=body).json()["id"]
            assert client.post(f"/api/v1/servers/{server}/test-connection/").status_code == 202

    def statuses() -> list[Any]:
        return [actor for kind, actor in actors(portal) if kind == "server.status_changed"]

    wait_until(lambda: len(statuses()) == 4, 60, "both tests have begun and failed")
    doings = [actor for kind, actor in actors(portal) if kind.startswith("server.")]
    assert [actor for actor in doings if "manage.py" in actor] == []
    assert doings.count("admin") >= 4


@pytest.mark.parametrize("command", ["emit", "migrate", "shell", "createsuperuser"])
def test_a_command_acts(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert run(monkeypatch, command, context.actor).get_username() == f"{ME} (manage.py {command})"
    assert context.actor() is None


@pytest.mark.parametrize("command", sorted(manage.SERVERS))
def test_a_command_that_serves_others_does_not_act(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert run(monkeypatch, command, context.actor) is None


def test_every_command_that_serves_exists_and_no_server_is_forgotten() -> None:
    from django.core.management import get_commands

    assert set(get_commands()) >= manage.SERVERS
    own = {name for name, app in get_commands().items() if app == "opsportal"}
    assert own - manage.SERVERS == {"tail"}


def test_a_thread_of_a_command_does_not_act(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def start_thread() -> None:
        thread = threading.Thread(target=lambda: seen.append(context.actor()))
        thread.start()
        thread.join()

    run(monkeypatch, "shell", start_thread)
    assert seen == [None]


def test_a_request_within_a_command_is_its_users() -> None:
    """A command that drives the test client, or a server that nobody listed."""

    def answer(request: HttpRequest) -> HttpResponse:
        assert context.actor() is None
        return HttpResponse()

    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    with acting(lambda: CommandLine("shell")):
        assert RequestContextMiddleware(answer)(request).status_code == 200
        assert context.actor() is not None


def test_a_long_name_fits_the_log() -> None:
    assert len(CommandLine("x" * 500).get_username()) == 150


def test_a_user_without_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 9)
    assert CommandLine("shell").get_username() == "uid 2147483639 (manage.py shell)"


def run(monkeypatch: pytest.MonkeyPatch, command: str, action: Callable[[], Any]) -> Any:
    """What the action returns where manage.py would run the command."""
    results: list[Any] = []
    monkeypatch.setattr("sys.argv", ["manage.py", command])
    monkeypatch.setattr(manage, "execute_from_command_line", lambda _: results.append(action()))
    manage.main()
    return results[0]
