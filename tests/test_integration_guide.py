"""docs/integration.md, followed to the letter: in a working copy, on a running portal."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from playwright.sync_api import Page, Request, expect

from tests.guide import blocks, working_copy
from tests.guide.blocks import Block
from tests.guide.terminal import Command, Terminal
from tests.plugin import Services
from tests.portal import Portal
from tests.readers import STREAM, bearer
from tests.services import ROOT, Redis

pytestmark = pytest.mark.stack("scaled")  # one stack is enough for a guide

GUIDE = (ROOT / "docs/integration.md").read_text()
BACK = 20_000  # ms in which a page finds its server
ADDRESS = "http://127.0.0.1:8000"  # in the guide

# What of the guide's code no block calls: after which frame of a stream it is called here.
CALLS = {
    "stream.open": """
from django.contrib.auth.models import User
from notes import models, services
services.remind(models.Note.objects.get(pk=1), User.objects.get(username="operator"))
""",
    "note.reminder": "from notes.access import suspend; suspend('Operator')",
}

# The logins that `make run` makes. Every module is imported, so that none is only looked at.
PREPARE = """
import json
from django.contrib.auth.models import User
from django.test import Client
from opsportal.demo import create_users
from rest_framework_simplejwt.tokens import AccessToken
import {modules}
create_users()
cast = {{}}
for user in User.objects.filter(username__in=["admin", "operator", "viewer"]):
    client = Client()
    client.force_login(user)
    cast[user.username] = str(AccessToken.for_user(user)), client.cookies["sessionid"].value
print("CAST", json.dumps(cast))
"""


class CopiedPortal(Portal):
    """A portal whose processes run from a working copy of the project."""

    @property
    def project(self) -> Path:
        return self.directory / "project"

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, str(self.project / "manage.py"), *arguments]


@dataclass
class Followed:
    """The portal with the guide's app in it, its users, and the commands that were typed."""

    portal: Portal
    cast: dict[str, tuple[str, str]]
    commands: list[Command]

    def call(self, name: str, method: str, path: str, **body: Any) -> httpx.Response:
        headers = bearer(self.cast[name][0])
        url = self.portal.url(path)
        return httpx.request(method, url, headers=headers, json=body or None, trust_env=False)

    def cookie(self, name: str) -> dict[str, str]:
        return {"sessionid": self.cast[name][1]}


@pytest.fixture(scope="session")  # as browser tests come last, after those of other modules
def followed(
    stack: str,
    services: Services,
    migrated_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Followed]:
    """The guide, followed from its first block to its last."""
    directory = tmp_path_factory.mktemp("integration_guide", numbered=False)
    urls = []
    with ExitStack() as running:
        if stack == "scaled":
            name = directory.name
            urls = [services.postgres.create_database(name, template=migrated_database.name)]
            running.callback(services.postgres.drop_database, name)
            urls.append(running.enter_context(Redis()).url)
        else:
            shutil.copy(migrated_database / "db.sqlite3", directory)
        portal = running.enter_context(CopiedPortal(directory, *urls, EVENTS_DRAIN_SECONDS=0))
        guide = blocks.parse(GUIDE)
        working_copy.copy_project(portal.project)
        working_copy.apply(guide, portal.project)
        tried = next(n for n, b in enumerate(guide) if b.language == "sh" and ADDRESS in b.text)
        type_in(portal, guide[:tried], running)
        cast = start(portal, guide)
        yield Followed(portal, cast, type_in(portal, guide[tried:], running))


def start(portal: Portal, guide: list[Block]) -> dict[str, tuple[str, str]]:
    """Starts web and worker; returns tokens and sessions of users, by their names."""
    names = [block.path.removesuffix(".py") for block in guide if block.language == "python"]
    modules = ", ".join(name.replace("/", ".") for name in names)
    printed = portal.shell(PREPARE.format(modules=modules))
    portal.serve()
    portal.worker()
    cast: dict[str, tuple[str, str]] = json.loads(printed.split("CAST ")[1])
    return cast


def type_in(portal: CopiedPortal, guide: list[Block], running: ExitStack) -> list[Command]:
    """The guide's commands, at the address of this portal, once it has one."""
    address = portal.url("") if portal.processes else ADDRESS
    part = [replace(block, text=block.text.replace(ADDRESS, address)) for block in guide]
    terminal = Terminal(portal.directory / f"terminal-{len(portal.processes)}")
    terminal.directory.mkdir()
    terminal.type(part)
    running.callback(terminal.run(portal.project, portal.environment).kill)
    return terminal.commands


def test_every_block_of_the_guide_is_run() -> None:
    assert list(blocks.unruled(GUIDE)) == []


@pytest.mark.parametrize(
    "addition",
    [
        "```python\nprint()\n```\n",  # of no file
        "```yaml\n# notes/notes.yml\n```\n",
        "```\nls\n```\n",
        "```text\nout of nothing\n```\n",
        "    print()\n",
        "~~~sh\nls\n~~~\n",
    ],
)
def test_a_block_that_nothing_runs_is_found(addition: str) -> None:
    assert list(blocks.unruled(f"{GUIDE}\nSee:\n\n{addition}"))


def test_commands_print_what_the_guide_shows(followed: Followed) -> None:
    shown = [command for command in followed.commands if command.expected is not None]
    assert len(shown) == sum(block.language == "text" for block in blocks.parse(GUIDE))
    for command in shown:
        assert command.printed() == command.expected, command.block.text


def test_the_page_shows_what_happens(followed: Followed, page: Page) -> None:
    url = followed.portal.url()
    cookies = followed.cookie("admin").items()
    page.context.add_cookies([{"name": k, "value": v, "url": url} for k, v in cookies])
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))
    page.goto(f"{url}notes/")
    expect(page.locator("#status")).to_have_text("live", timeout=BACK)
    expect(page.locator("#note-1")).to_have_class("published")
    scripts = [block.path for block in blocks.parse(GUIDE) if block.language == "js"]
    assert all(any(request.url.endswith(f"/{path}") for request in sent) for path in scripts)
    sent.clear()
    made = followed.call("admin", "POST", "/api/v1/notes/", text="<b>Bold</b>").json()
    note = page.locator(f"#note-{made['id']}")
    expect(note).to_have_text("<b>Bold</b>")
    expect(note).not_to_have_class("published")
    reminder = {"id": made["id"], "text": "no text of the note"}
    followed.call("admin", "POST", "/api/v1/events/", type="note.reminder", data=reminder)
    followed.call("admin", "POST", f"/api/v1/notes/{made['id']}/publish/", reason="")
    expect(note).to_have_class("published")
    expect(note).to_have_text("<b>Bold</b>")
    assert sent == []


def test_the_admin_tells_what_became_of_a_note(followed: Followed) -> None:
    url = followed.portal.url("/admin/notes/note/1/history/")
    answer = httpx.get(url, cookies=followed.cookie("admin"), trust_env=False)
    assert answer.status_code == 200
    for told in ("Note created", "Note state changed", "draft", "published", "operator"):
        assert told in answer.text
    assert "k7" not in answer.text


def test_who_may_not_view_notes_gets_only_what_is_for_everyone(followed: Followed) -> None:
    assert followed.call("viewer", "GET", "/api/v1/notes/").status_code == 403
    answer = followed.call("viewer", "GET", "/api/v1/events/?types=note.*").json()
    assert [event["type"] for event in answer["events"]] == ["note.reminder"]


def test_a_user_is_reminded_and_after_a_suspension_gets_nothing(followed: Followed) -> None:
    headers = bearer(followed.cast["operator"][0])
    url = followed.portal.url(f"{STREAM}?types=note.*")
    heard: list[tuple[str, Any]] = []
    with (
        httpx.Client(headers=headers, timeout=30, trust_env=False) as client,
        connect_sse(client, "GET", url) as source,
    ):
        for event in source.iter_sse():
            if event.event in CALLS:
                followed.portal.shell(CALLS[event.event])
            if event.event != "heartbeat":
                heard.append((event.event, event.json()))
    assert [name for name, _ in heard] == ["stream.open", "note.reminder", "stream.closing"]
    assert heard[1][1]["subject"] == "notes.note/1"
    assert heard[2][1] == {"reason": "access_revoked"}
    assert followed.call("operator", "GET", STREAM).status_code == 403
    told = followed.call("viewer", "GET", "/api/v1/events/?subject=notes.note/1").json()
    assert told["events"] == []


def test_the_figures_are_those_of_the_committed_result() -> None:
    measured = json.loads((ROOT / "benchmarks/results/latency.json").read_text())
    assert measured["results"]
    for result in measured["results"]:
        figures = (result[f"{name} ms"] for name in ("median", "p95", "max"))
        assert f" | {' | '.join(f'{figure} ms' for figure in figures)} |" in GUIDE


def test_what_is_shown_of_servers_is_there() -> None:
    section = GUIDE.split("## A whole integration")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) > 5
    for path, told in rows:
        text = (ROOT / path).read_text()
        for code in re.findall(r"`([^`]+)`", told):
            assert code in text, (path, code)
