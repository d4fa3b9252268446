"""Automations as they are written: what is refused, and what is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from automation import services
from automation.models import Automation, Run
from automation.tests.making import PARAMETERS, create_automation, create_run
from servers.models import Environment, Server
from servers.preconditions import etag
from servers.tests.cast import recorded_events

pytestmark = pytest.mark.django_db


def test_a_new_automation_is_told_and_has_its_targets(
    server: Server, environment: Environment
) -> None:
    automation = Automation(name="Report", script="df", parameters=PARAMETERS, tags=["web"])  # type: ignore[misc]
    with recorded_events() as events:
        services.create(automation, [server], [environment])
    assert list(automation.servers.all()) == [server]
    assert list(automation.environments.all()) == [environment]
    [event] = events
    assert event.type == "automation.definition_changed"
    assert event.audience == ["automation.view_automation"]
    assert event.subject == f"automation.automation/{automation.pk}"
    assert event.data == {"id": automation.pk, "name": "Report", "change": "created"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "two\nlines"),
        ("interpreter", "sh; reboot"),
        ("interpreter", "sh -c $(reboot)"),
        ("interpreter", "python3\n"),
        ("interpreter", " sh"),
        ("interpreter", "-c sh"),
        ("interpreter", "sh 'a b'"),
        ("interpreter", ""),
        ("script", " \n"),
        ("script", "a\0b"),
        ("script", "\ud800"),
        ("script", "x" * 262_145),
        ("parameters", [{"name": "a"}]),
        ("tags", ["UPPER"]),
        ("timeout", 0),
        ("timeout", 86_401),
        ("concurrency", 0),
        ("concurrency", 101),
        ("max_failures", 0),
    ],
)
def test_what_is_not_valid_is_refused_by_field(field: str, value: Any) -> None:
    automation = Automation(**({"name": "Report", "script": "df"} | {field: value}))
    with recorded_events() as events, pytest.raises(ValidationError) as caught:
        services.create(automation)
    assert list(caught.value.message_dict) == [field]
    assert not Automation.objects.exists()
    assert events == []


def test_a_name_is_given_once() -> None:
    create_automation("Report")
    with pytest.raises(ValidationError, match="already exists"):
        create_automation("Report")


def test_a_script_has_the_line_ends_that_a_shell_wants() -> None:
    assert create_automation(script="echo a\r\necho b").script == "echo a\necho b\n"
    assert create_automation("Other", "printf 'a\rb'\n").script == "printf 'a\rb'\n"


def test_an_edit_tells_what_changed_and_of_the_script_no_more_than_that(server: Server) -> None:
    automation = create_automation(script="echo password\n")
    with recorded_events() as events:
        values = {"script": "echo 2", "timeout": 60, "concurrency": 10, "servers": [server]}
        services.edit(automation, values)
    [event] = events
    assert event.data["change"] == "updated"
    changes = event.data["changes"]
    assert changes["timeout"] == {"old": 300, "new": 60}
    assert changes["servers"] == {"old": [], "new": ["web-01"]}
    assert changes["script"]["old"] != changes["script"]["new"]
    assert changes.keys() == {"timeout", "script", "servers"}
    assert "echo" not in str(event.data)
    automation.refresh_from_db()
    assert (automation.script, automation.timeout) == ("echo 2\n", 60)


def test_an_edit_that_changes_nothing_tells_nothing() -> None:
    automation = create_automation()
    with recorded_events() as events:
        services.edit(automation, {"name": automation.name, "script": "echo hello", "servers": []})
    assert events == []


def test_a_refused_edit_changes_nothing(server: Server) -> None:
    automation = create_automation()
    with recorded_events() as events, pytest.raises(ValidationError):
        services.edit(automation, {"timeout": 0, "servers": [server]})
    automation.refresh_from_db()
    assert automation.timeout == 300
    assert not automation.servers.exists()
    assert events == []


def test_the_tag_of_an_automation_stands_for_its_targets_too(server: Server) -> None:
    automation = create_automation()
    before = etag(Automation, automation.pk)
    services.edit(automation, {"servers": [server]})
    assert etag(Automation, automation.pk) != before


def test_runs_outlive_their_automation_and_their_servers(server: Server) -> None:
    run = create_run(server)
    automation = run.automation
    assert automation
    with recorded_events() as events:
        services.delete(automation)
    assert events[0].data == {"id": events[0].data["id"], "name": run.name, "change": "deleted"}
    server.delete()
    run = Run.objects.get(pk=run.pk)
    assert (run.automation, run.name) == (None, automation.name)
    [target] = run.targets.all()
    assert (target.server, target.name) == (None, "web-01")
