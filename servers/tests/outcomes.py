"""Tests of a server that begin, and end in an outcome, without a network."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from servers import checks, ssh
from servers.models import Server


def outcome(success: bool = True, message: str = "", host_key: str = "") -> ssh.Outcome:
    return ssh.Outcome(success, message, 12.5 if success else None, host_key)


def start_test(server: Server) -> uuid.UUID:
    """Requests a test; returns its id."""
    assert checks.request_test(server, None)
    assert server.test_id is not None
    return server.test_id


def after_test(server: Server, *, success: bool = True, **details: Any) -> Server:
    """The server after a whole test that ended so; its next check is not due yet."""
    assert checks.record_outcome(server.pk, start_test(server), outcome(success, **details))
    server.refresh_from_db()
    return server


def make_overdue() -> None:
    """As if every test under way had begun too long ago."""
    late = timezone.now() - checks.OVERDUE - timedelta(seconds=1)
    Server.objects.update(test_requested_at=late)


def make_due(*servers: Server) -> None:
    rows = Server.objects.filter(pk__in=[server.pk for server in servers])
    rows.update(next_check_at=timezone.now())


def claimed() -> list[str]:
    """Claims all that is due; returns the names in order."""
    return [server.name for server in checks.claim_due(1000)]
