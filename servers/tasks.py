"""Servers' work outside of requests."""

from __future__ import annotations

import asyncio
import uuid

from celery import shared_task
from django.contrib.auth import get_user_model

from events.api import acting
from servers import services, ssh
from servers.models import Server


@shared_task
def test_connection(server_id: int, test_id: str, actor_id: int | None) -> None:
    """Tests one server on behalf of a user. No transaction waits for the network."""
    server = Server.objects.select_related("environment").filter(pk=server_id).first()
    if server is None:
        return
    actor = get_user_model().objects.filter(pk=actor_id).first() if actor_id else None
    with acting(lambda: actor):
        outcome = asyncio.run(ssh.check(services.target(server), timeout=services.test_timeout()))
        services.record_outcome(server_id, uuid.UUID(test_id), outcome)


@shared_task
def fail_overdue_tests() -> None:
    services.fail_overdue_tests()
