"""Servers' work outside of requests."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.contrib.auth import get_user_model

from events.api import acting
from servers import checker, checks, history, maintenance, ssh
from servers.models import Server


@shared_task
def test_connection(server_id: int, test_id: str, actor_id: int | None) -> None:
    """Tests one server on behalf of a user. No transaction waits for the network."""
    server = Server.objects.without_secrets().filter(pk=server_id, test_id=test_id).first()
    if server is None:
        return
    actor = get_user_model().objects.filter(pk=actor_id).first() if actor_id else None
    with acting(lambda: actor):
        outcome = asyncio.run(checker.check(server, ssh.Keys()))
        if outcome is not None:
            checks.record_outcome(server_id, uuid.UUID(test_id), outcome)


@shared_task
def run_due_checks() -> None:
    checker.run_due_checks()


@worker_shutting_down.connect
def begin_no_more_checks(**_: Any) -> None:
    """A worker waits for its tasks before it ends: for the checks under way, not for all due."""
    checker.ending.set()


@shared_task
def end_maintenance() -> None:
    maintenance.end_those_over()


@shared_task
def fail_overdue_tests() -> None:
    checks.fail_overdue_tests()


@shared_task
def prune_samples() -> None:
    history.prune_samples()
