"""Automations and runs for the tests."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from automation import log, runs, services
from automation.models import Automation, LogBatch, Run, Target
from events.models import Event
from servers.models import Server

PARAMETERS: list[Any] = [
    {"name": "greeting", "type": "string", "default": "hello"},
    {"name": "times", "type": "integer", "minimum": 1, "maximum": 5},
    {"name": "mode", "type": "choice", "choices": ["slow", "fast"], "default": "slow"},
    {"name": "token", "type": "secret"},
]


def create_automation(
    name: str = "Say hello",
    script: str = "echo hello\n",
    servers: tuple[Server, ...] = (),
    **v: Any,
) -> Automation:
    automation = Automation(name=name, script=script, **v)
    services.create(automation, servers)
    return automation


def create_run(*servers: Server, user: Any = None, reason: str = "", **values: Any) -> Run:
    """A queued run of a new automation on these servers, with the fields that `values` say."""
    automation = create_automation(f"Run {Automation.objects.count()}", servers=servers, **values)
    return runs.start(automation, user, reason=reason)


def numbered_run(number: int, server: Server, **values: Any) -> Run:
    """A queued run of this key, with one line in its log, and its automation of the same key."""
    with transaction.atomic():
        run = runs.start(create_automation(pk=number, servers=(server,), **values), None)
        log.append(run, [log.remark("Hello.", 1)], {1: server.name})
        run.save()
        Run.objects.filter(pk=run.pk).update(id=number)
        for model in (Target, LogBatch):
            model._base_manager.filter(run=run.pk).update(run=number)
    return Run.objects.get(pk=number)


def end(run: Run, status: str, *targets: str) -> Run:
    """As if it had ended so; `targets` are their statuses by position."""
    for target, state in zip(run.targets.all(), targets, strict=True):
        target.status = state
        target.save()
    Run.objects.filter(pk=run.pk).update(status=status)
    run.refresh_from_db()
    return run


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]
