"""When servers are tested, and what comes of it."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from events.api import acting
from servers import credentials, history, maintenance, ssh
from servers.encryption import DecryptionError
from servers.models import Server

logger = logging.getLogger(__name__)

OVERDUE: Final = timedelta(seconds=60)  # after which a test without result is given up
JITTER: Final = 0.1  # of an interval, to both sides: checks that began together drift apart


def interval(server: Server) -> int:
    """Seconds between two checks of a server; 0 is never."""
    own = server.check_interval
    return int(settings.SERVERS_CHECK_INTERVAL if own is None else own)


def next_check(server: Server, now: datetime) -> datetime:
    """When it is due after a check that begins now."""
    seconds = interval(server) * random.uniform(1 - JITTER, 1 + JITTER)
    return now + timedelta(seconds=seconds)


def request_test(server: Server, actor: Any, *, force: bool = False) -> bool:
    """Marks the server as testing and queues the test; False where one is under way already.

    Raises InMaintenance, unless it is forced.
    """
    now = timezone.now()
    test_id = uuid.uuid4()
    idle = ~Q(status=Server.Status.TESTING) | Q(test_requested_at__lt=now - OVERDUE)
    allowed = Q() if force else maintenance.calm(now)
    claimed = Server.objects.filter(idle, allowed, pk=server.pk).update(
        status=Server.Status.TESTING,
        test_id=test_id,
        test_requested_at=now,
        next_check_at=next_check(server, now),
        check_requested_by=None,
        last_test_message="",
        updated_at=now,
    )
    if claimed:
        transaction.on_commit(lambda: _queue_test(server.pk, test_id, actor), robust=True)
    server.refresh_from_db()
    if not claimed and not force and server.in_maintenance:
        raise maintenance.InMaintenance(server)
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


def request_checks(servers: Iterable[Server], actor: Any) -> tuple[list[Server], list[Server]]:
    """Has many servers tested as soon as there is room, on behalf of a user.

    Returns those that will be, and those in maintenance, which will not.
    """
    asked: list[Server] = []
    left: list[Server] = []
    for server in servers:
        (left if server.in_maintenance else asked).append(server)
    rows = Server.objects.filter(pk__in=[server.pk for server in asked])
    rows.update(next_check_at=timezone.now(), check_requested_by=actor)
    transaction.on_commit(_queue_checks, robust=True)  # where that fails, beat comes soon
    return asked, left


def _queue_checks() -> None:
    from servers.tasks import run_due_checks

    run_due_checks.delay()


def claim_due(limit: int) -> list[Server]:
    """The servers whose checks are to begin now, the longest due first, at most `limit`.

    A healthy server's regular check is silent: nobody sees a test, only what it finds if that is
    bad. A server that fails, that is not known yet, or for which somebody asked is shown as
    testing. Nobody else gets the same servers for as long as a check may take.
    """
    now = timezone.now()
    with transaction.atomic():
        found = Server.objects.filter(_due(now)).order_by("next_check_at", "pk")
        locked = found.select_for_update(skip_locked=True).values_list("pk", flat=True)
        # By themselves: PostgreSQL joins a row that changed just now with what the old one was.
        keys = list(locked[:limit])
        rows = Server.objects.without_secrets().select_related("check_requested_by")
        due = list(rows.filter(pk__in=keys).order_by("next_check_at", "pk"))
        for server in due:
            _claim(server, now)
    return due


def _due(now: datetime) -> Q:
    regular = Q(check_interval__gt=0)
    if settings.SERVERS_CHECK_INTERVAL:
        regular |= Q(check_interval=None)
    asked = Q(check_requested_by__isnull=False)
    idle = Q(test_id=None) | Q(test_requested_at__lt=now - OVERDUE)
    return Q(next_check_at__lte=now) & (regular | asked) & idle & maintenance.calm(now)


def _claim(server: Server, now: datetime) -> None:
    """Its requester stays known to the instance, for the outcome; in the row it is done with."""
    requester = server.check_requested_by
    server.test_id, server.test_requested_at = uuid.uuid4(), now
    server.next_check_at, server.check_requested_by = next_check(server, now), None
    fields = ["test_id", "test_requested_at", "next_check_at", "check_requested_by"]
    if requester is not None or server.status != Server.Status.SUCCESS:
        server.status, server.last_test_message = Server.Status.TESTING, ""
        fields += ["status", "last_test_message"]
    with acting(lambda: requester):
        server.save(update_fields=fields)
    server.check_requested_by = requester


def target(server: Server) -> ssh.Target:
    """How to reach a server now, for the test that it has.

    Raises Server.DoesNotExist where another or none is under way, and CheckError where what it
    logs in with cannot be read.
    """
    # In one statement: no secret goes to an address, or as a kind, that it was not given for.
    rows = Server.objects.select_related("environment", "shared_credential")
    row = rows.get(pk=server.pk, test_id=server.test_id)
    return _way_in(row, accepts_new_host_key(row))


def login(server_id: int, *, force: bool) -> ssh.Target:
    """How to log in to a server now, for whoever has something to run on it.

    Only a test accepts a host key. Raises Server.DoesNotExist, InMaintenance unless it is forced,
    and CheckError where what to log in with cannot be read.
    """
    row = Server.objects.select_related("shared_credential").get(pk=server_id)
    if row.in_maintenance and not force:
        raise maintenance.InMaintenance(row)
    return _way_in(row, accept_new_host_key=False)


def _way_in(row: Server, accept_new_host_key: bool) -> ssh.Target:
    return ssh.Target(
        host=row.host,
        port=row.port,
        username=row.username,
        host_key=row.host_key,
        accept_new_host_key=accept_new_host_key,
        **_secrets_of(row)._asdict(),
    )


def _secrets_of(server: Server) -> credentials.Secrets:
    try:
        return credentials.secrets_of(server)
    except DecryptionError as error:
        shared = server.shared_credential
        named = f"credential “{shared}”" if shared else "credential"
        raise ssh.CheckError(f"The stored {named} cannot be read: {error}.") from error


def accepts_new_host_key(server: Server) -> bool:
    return server.environment is not None and server.environment.accept_new_host_keys


def record_outcome(server_id: int, test_id: uuid.UUID, outcome: ssh.Outcome) -> bool:
    """Writes a test's result; False where the server is gone or another test has begun since."""
    with transaction.atomic():
        rows = Server.objects.without_secrets().select_for_update()
        server = rows.filter(pk=server_id, test_id=test_id).first()
        if server is None:
            return False
        server.status = Server.Status.SUCCESS if outcome.success else Server.Status.FAILED
        server.last_tested_at = timezone.now()
        server.last_test_message = outcome.message
        server.last_test_latency = outcome.latency
        server.test_id = None
        _note_host_key(server, outcome)
        server.save()
        history.note(server, outcome.message)
        history.add_sample(server, outcome.latency)
    return True


def _note_host_key(server: Server, outcome: ssh.Outcome) -> None:
    """The first key is accepted where the environment says so; any other waits for a person."""
    if not outcome.host_key:
        return  # none was seen; what was offered before can still be accepted
    if outcome.host_key == server.host_key:
        server.offered_host_key = ""
    elif not server.host_key and accepts_new_host_key(server):
        server.host_key, server.offered_host_key = outcome.host_key, ""
    else:
        server.offered_host_key = outcome.host_key


def fail_overdue_tests() -> int:
    """Fails the tests whose worker was lost; returns how many.

    A check that nobody saw is due again instead: nobody waits for it, and it found nothing bad.
    """
    now = timezone.now()
    overdue = Server.objects.filter(test_id__isnull=False, test_requested_at__lt=now - OVERDUE)
    seen = Q(status=Server.Status.TESTING)
    overdue.exclude(seen).update(test_id=None, next_check_at=now)
    lost = ssh.Outcome(False, "No worker reported a result. Is a worker running?", None)
    rows = list(overdue.filter(seen).values_list("pk", "test_id"))
    return sum(record_outcome(key, test_id, lost) for key, test_id in rows if test_id)
