"""Every rule about servers: admin, API, pages and tasks all come through here."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from servers import ssh
from servers.models import Server

logger = logging.getLogger(__name__)

TEST_TIMEOUT = 10.0  # seconds for one connection test, over all of its steps
OVERDUE = timedelta(seconds=60)  # after which a test without result is given up


class HostKeyMismatch(Exception):
    """The key to be accepted is not the one that the server offered last."""


def test_timeout() -> float:
    return float(getattr(settings, "SERVERS_TEST_TIMEOUT", TEST_TIMEOUT))


def request_test(server: Server, actor: Any) -> bool:
    """Marks the server as testing and queues the test; False where one is under way already."""
    now = timezone.now()
    test_id = uuid.uuid4()
    idle = ~Q(status=Server.Status.TESTING) | Q(test_requested_at__lt=now - OVERDUE)
    claimed = Server.objects.filter(idle, pk=server.pk).update(
        status=Server.Status.TESTING,
        test_id=test_id,
        test_requested_at=now,
        last_test_message="",
        updated_at=now,
    )
    if claimed:
        transaction.on_commit(lambda: _queue_test(server.pk, test_id, actor))
    server.refresh_from_db()
    return bool(claimed)


def _queue_test(server_id: int, test_id: uuid.UUID, actor: Any) -> None:
    from servers.tasks import test_connection

    try:
        test_connection.delay(server_id, str(test_id), actor.pk if actor else None)
    # Transports raise whatever their clients do: OSError where the folder of the queue is gone.
    except Exception:
        logger.exception("The job queue cannot be reached")
        lost = ssh.Outcome(False, "The job queue cannot be reached.", None)
        record_outcome(server_id, test_id, lost)


def target(server: Server) -> ssh.Target:
    """How to reach a server. A credential that is a private key is told by its PEM header."""
    is_key = server.credential.lstrip().startswith("-----BEGIN")
    return ssh.Target(
        host=server.host,
        port=server.port,
        username=server.username,
        password="" if is_key else server.credential,
        private_key=server.credential if is_key else "",
        host_key=server.host_key,
        accept_new_host_key=accepts_new_host_key(server),
    )


def accepts_new_host_key(server: Server) -> bool:
    return server.environment is None or server.environment.accept_new_host_keys


def record_outcome(server_id: int, test_id: uuid.UUID, outcome: ssh.Outcome) -> bool:
    """Writes a test's result; False where the server is gone or another test has begun since."""
    with transaction.atomic():
        rows = Server.objects.select_for_update().defer("credential")
        server = rows.filter(pk=server_id, test_id=test_id, status=Server.Status.TESTING).first()
        if server is None:
            return False
        server.status = Server.Status.SUCCESS if outcome.success else Server.Status.FAILED
        server.last_tested_at = timezone.now()
        server.last_test_message = outcome.message
        server.last_test_latency = outcome.latency
        server.test_id = None
        _note_host_key(server, outcome)
        server.save()
    return True


def _note_host_key(server: Server, outcome: ssh.Outcome) -> None:
    """The first key is accepted where the environment says so; any other waits for a person."""
    if not outcome.host_key or outcome.host_key == server.host_key:
        server.offered_host_key = ""
    elif not server.host_key and accepts_new_host_key(server):
        server.host_key, server.offered_host_key = outcome.host_key, ""
    else:
        server.offered_host_key = outcome.host_key


def accept_host_key(server: Server, fingerprint: str) -> None:
    """Accepts the key that the server offered last, if this is its fingerprint.

    Raises HostKeyMismatch, so that nobody accepts another key than the one they looked at.
    """
    with transaction.atomic():
        row = Server.objects.select_for_update().defer("credential").get(pk=server.pk)
        offered = row.offered_host_key
        if not offered or ssh.fingerprint(offered) != fingerprint:
            raise HostKeyMismatch
        row.host_key, row.offered_host_key = offered, ""
        row.save(update_fields=["host_key", "offered_host_key", "updated_at"])
    server.refresh_from_db()


def fail_overdue_tests() -> int:
    """Fails the tests whose worker was lost; returns how many."""
    overdue = Q(status=Server.Status.TESTING, test_requested_at__lt=timezone.now() - OVERDUE)
    return Server.objects.filter(overdue).update(
        status=Server.Status.FAILED,
        test_id=None,
        last_tested_at=timezone.now(),
        last_test_message="No worker reported a result. Is a worker running?",
        last_test_latency=None,
    )
