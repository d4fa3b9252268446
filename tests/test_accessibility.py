"""What axe-core finds wrong with the pages for those who see, hear or move otherwise: nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.portal import Portal
from tests.services import ROOT
from tests.test_servers_page import PREPARE, Site

pytestmark = pytest.mark.stack("embedded")  # what a browser shows comes from no database

AXE = ROOT / ".venv/clients/node_modules/axe-core/axe.min.js"

# A row of each kind, and one in each state that has a look of its own.
FILL = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from automation import log, runs, services
from automation.models import Automation, Run
from django.db import transaction
from incidents.models import Incident
from servers.models import Environment, Server
User.objects.filter(username="alice").update(is_staff=True, is_superuser=True)
alice = User.objects.get(username="alice")
environment = Environment.objects.create(name="production-x")
servers = [
    Server.objects.create(
        name=f"web-0{number}", host="192.0.2.7", username="ops", status=status, tags=["web"],
        environment=environment, last_test_message="No answer." if status == "failed" else "",
    )
    for number, status in enumerate(("success", "failed", "unknown"), 1)
]
for severity in ("low", "medium", "high", "critical"):
    Incident.objects.create(title=f"Disk {severity}", severity=severity, reporter=alice)
definition = [
    {"name": "mode", "type": "choice", "choices": ["slow", "fast"], "default": "slow"},
    {"name": "times", "type": "integer", "minimum": 1, "default": 2},
    {"name": "token", "type": "secret"},
]
automation = Automation(
    name="Report", description="What is full.", script="df", parameters=definition
)
services.create(automation, servers)
now = timezone.now()
for status in ("queued", "running", "failed", "cancelled", "completed"):
    run = runs.start(automation, alice, reason="Because.")
    with transaction.atomic():
        said = [log.remark(f"\\x1b[3{number}mcolour {number}\\x1b[0m", 1) for number in range(8)]
        log.append(run, said, log.names_of(run))
        run.status, run.started_at, run.heartbeat_at = status, now, now
        run.finished_at = None if status in ("queued", "running") else now + timedelta(seconds=3)
        run.save()
"""

PAGES = [
    "/",
    "/servers/",
    "/servers/1/",
    "/servers/import/",
    "/incidents/",
    "/incidents/board/",
    "/incidents/new/",
    "/incidents/1/",
    "/automations/",
    "/automations/new/",
    "/automations/1/",
    "/automations/1/edit/",
    "/automations/runs/",
    "/automations/runs/2/",
    "/automations/runs/3/",
    "/events/",
    "/notifications/",
    "/streams/",
    "/login/",
    "/admin/",
    "/admin/servers/server/",
]
LOOKS: list[tuple[str, int]] = [("light", 1280), ("dark", 1280), ("light", 380)]


@pytest.fixture(scope="module")
def site(module_portals: Callable[..., Portal]) -> Site:
    portal = module_portals()
    printed = portal.shell(PREPARE + FILL)
    return Site(portal, portal.serve(), json.loads(printed.split("CAST ")[1]))


def violations(page: Page) -> list[str]:
    """Rule and element of each."""
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate(
        "axe.run({ resultTypes: ['violations'] }).then(({ violations }) => ({ violations }))"
    )
    return [
        f"{rule['id']}: {node['html'][:150]} ({node['failureSummary']})"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_no_page_breaks_a_rule_of_accessibility(
    site: Site, browser: Browser, scheme: Any, width: int
) -> None:
    with browser.new_context(
        color_scheme=scheme, reduced_motion="reduce", viewport={"width": width, "height": 900}
    ) as context:
        page = context.new_page()
        wrong: list[str] = []
        for path in PAGES:
            context.clear_cookies()
            if path != "/login/":
                session = site.cast["alice"][1]
                context.add_cookies(
                    [{"name": "sessionid", "value": session, "url": site.web.url()}]
                )
            response = page.goto(site.web.url(path))
            assert response
            assert (response.status, page.url) == (200, site.web.url(path))
            page.locator("h1").first.wait_for()
            if page.locator("#log-lines").count():
                page.locator("#log-lines").get_by_text("colour 7").wait_for()
            wrong += [f"{path} {each}" for each in violations(page)]
        assert not wrong, "\n".join(wrong)
