"""Servers' work outside of requests."""

from __future__ import annotations

import asyncio
import uuid

from celery import shared_task
from django.contrib.auth import get_user_model

from events.api import acting
from servers import services, ssh
from servers.encryption import DecryptionError
from servers.models import Server


@shared_task
def test_connection(server_id: int, test_id: str, actor_id: int | None) -> None:
    """Tests one server on behalf of a user. No transaction waits for the network."""
    rows = Server.objects.select_related("environment").defer("credential")
    server = rows.filter(pk=server_id).first()
    if server is None:
        return
    actor = get_user_model().objects.filter(pk=actor_id).first() if actor_id else None
    with acting(lambda: actor):
        services.record_outcome(server_id, uuid.UUID(test_id), _outcome(server))


def _outcome(server: Server) -> ssh.Outcome:
    try:
        target = services.target(server)
    except DecryptionError as error:
        return ssh.Outcome(False, f"The stored credential cannot be read: {error}.", None)
    return asyncio.run(ssh.check(target, timeout=services.test_timeout()))


@shared_task
def fail_overdue_tests() -> None:
    services.fail_overdue_tests()
