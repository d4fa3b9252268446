"""The demo's automations are sound, and made once."""

from __future__ import annotations

import subprocess

import pytest

from automation import services
from automation.models import Automation, Run
from opsportal import demo_automations
from servers.models import Environment
from servers.tests.cast import create_server

pytestmark = pytest.mark.django_db


def test_they_are_made_where_there_never_was_one(environment: Environment) -> None:
    demo_automations.create()
    made = {automation.name: automation for automation in Automation.objects.all()}
    assert len(made) == len(demo_automations.AUTOMATIONS)
    assert list(made["Disk usage"].environments.all()) == [environment]
    services.delete(made["Disk usage"])
    demo_automations.create()
    assert not Automation.objects.filter(name="Disk usage").exists()


@pytest.mark.parametrize("values", demo_automations.AUTOMATIONS, ids=lambda each: each["name"])
def test_each_script_is_one(values: dict[str, str]) -> None:
    checked = subprocess.run(["sh", "-n"], input=values["script"], text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_routine_runs_one_at_a_time_and_nothing_without_targets(
    environment: Environment,
) -> None:
    demo_automations.create()
    demo_automations.run_one(None)
    assert not Run.objects.exists()
    create_server(tags=["web"], environment=environment)
    for automation in Automation.objects.all():
        services.edit(automation, {"tags": ["web"]})
    for _ in range(3):
        demo_automations.run_one(None)
    assert Run.objects.count() == 1
