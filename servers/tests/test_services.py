from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.db import transaction
from django.utils import timezone

from servers import checks, services, ssh, tasks
from servers.models import Environment, Server
from servers.tests.cast import Job, Person, create_server, recorded_events
from servers.tests.keys import new_host_key
from servers.tests.sshd import free_port

pytestmark = pytest.mark.django_db

Committing = Callable[[], AbstractContextManager[Any]]


def outcome(success: bool = True, message: str = "", host_key: str = "") -> ssh.Outcome:
    return ssh.Outcome(success, message, 12.5 if success else None, host_key)


def start_test(server: Server) -> uuid.UUID:
    """Requests a test; returns its id."""
    assert checks.request_test(server, None)
    assert server.test_id is not None
    return server.test_id


def make_overdue() -> None:
    late = timezone.now() - checks.OVERDUE - timedelta(seconds=1)
    Server.objects.update(test_requested_at=late)


def test_an_outcome_is_kept_and_told(server: Server) -> None:
    test_id = start_test(server)
    with recorded_events() as events:
        assert checks.record_outcome(server.pk, test_id, outcome(message="Logged in."))
    server.refresh_from_db()
    assert (server.status, server.last_test_message) == ("success", "Logged in.")
    assert (server.last_test_latency, server.test_id) == (12.5, None)
    assert server.last_tested_at is not None
    [event] = events
    assert event.type == "server.status_changed"
    assert (event.data["new_status"], event.data["message"]) == ("success", "Logged in.")


def test_a_failure_forgets_the_latency_of_the_last_success(server: Server) -> None:
    checks.record_outcome(server.pk, start_test(server), outcome())
    checks.record_outcome(server.pk, start_test(server), outcome(False, "Refused."))
    server.refresh_from_db()
    assert (server.status, server.last_test_latency) == ("failed", None)


def test_a_new_test_forgets_the_message_of_the_last_one(server: Server) -> None:
    checks.record_outcome(server.pk, start_test(server), outcome(False, "Refused."))
    start_test(server)
    assert server.last_test_message == ""


def test_the_late_result_of_an_older_test_changes_nothing(server: Server) -> None:
    older = start_test(server)
    make_overdue()
    newer = start_test(server)
    before = Server.objects.values().get()
    with recorded_events() as events:
        assert not checks.record_outcome(server.pk, older, outcome(host_key=new_host_key()))
    assert events == []
    assert Server.objects.values().get() == before
    assert checks.record_outcome(server.pk, newer, outcome(False, "Refused."))


def test_a_result_counts_once(server: Server) -> None:
    test_id = start_test(server)
    assert checks.record_outcome(server.pk, test_id, outcome(False, "Refused."))
    assert not checks.record_outcome(server.pk, test_id, outcome())
    assert Server.objects.get().status == "failed"


def test_a_result_for_a_server_that_is_gone_changes_nothing(server: Server) -> None:
    test_id, key = start_test(server), server.pk
    server.delete()
    with recorded_events() as events:
        assert not checks.record_outcome(key, test_id, outcome())
        tasks.test_connection(key, str(test_id), None)
    assert events == []
    assert not Server.objects.exists()


def test_only_one_test_runs_at_a_time(server: Server) -> None:
    test_id = start_test(server)
    assert not checks.request_test(server, None)
    assert server.test_id == test_id
    make_overdue()
    assert start_test(server) != test_id


def test_overdue_tests_fail_and_no_others(server: Server) -> None:
    lost = start_test(server)
    make_overdue()
    running, idle = create_server("web-02"), create_server("web-03")
    running_id = start_test(running)
    with recorded_events() as events:
        tasks.fail_overdue_tests()
    for row in (server, running, idle):
        row.refresh_from_db()
    assert (server.status, running.status, idle.status) == ("failed", "testing", "unknown")
    assert "worker" in server.last_test_message
    [event] = events
    assert event.subject == f"servers.server/{server.pk}"
    assert event.data["message"] == server.last_test_message
    assert not checks.record_outcome(server.pk, lost, outcome())
    assert checks.record_outcome(running.pk, running_id, outcome())


# Host keys.


@pytest.mark.parametrize(
    ("accepts", "expected"), [(True, "accepted"), (None, "accepted"), (False, "offered")]
)
def test_a_first_host_key_is_accepted_only_where_the_environment_says_so(
    accepts: bool | None, expected: str
) -> None:
    place = None
    if accepts is not None:
        place = Environment.objects.create(name="dmz", accept_new_host_keys=accepts)
    server, key = create_server(environment=place), new_host_key()
    assert checks.target(server).accept_new_host_key is (accepts is not False)
    checks.record_outcome(server.pk, start_test(server), outcome(bool(accepts), host_key=key))
    server.refresh_from_db()
    keys = {"accepted": (key, ""), "offered": ("", key)}
    assert (server.host_key, server.offered_host_key) == keys[expected]


def test_a_changed_host_key_waits_for_a_person() -> None:
    old, new = new_host_key(), new_host_key()
    server = create_server(host_key=old)
    checks.record_outcome(server.pk, start_test(server), outcome(False, host_key=new))
    server.refresh_from_db()
    assert (server.host_key, server.offered_host_key) == (old, new)
    assert checks.target(server).host_key == old
    with pytest.raises(services.HostKeyMismatch):
        services.accept_host_key(server, ssh.fingerprint(old), None)
    services.accept_host_key(server, ssh.fingerprint(new), None)
    assert (server.host_key, server.offered_host_key) == (new, "")


def test_a_key_that_was_replaced_meanwhile_is_not_accepted() -> None:
    looked_at, now = new_host_key(), new_host_key()
    server = create_server(host_key=new_host_key(), offered_host_key=looked_at)
    Server.objects.update(offered_host_key=now)
    with pytest.raises(services.HostKeyMismatch):
        services.accept_host_key(server, ssh.fingerprint(looked_at), None)
    assert Server.objects.get().offered_host_key == now


def test_an_offer_is_gone_once_the_accepted_key_is_seen_again() -> None:
    key = new_host_key()
    server = create_server(host_key=key, offered_host_key=new_host_key())
    checks.record_outcome(server.pk, start_test(server), outcome(host_key=key))
    server.refresh_from_db()
    assert (server.host_key, server.offered_host_key) == (key, "")


def test_a_test_that_saw_no_key_keeps_the_accepted_one() -> None:
    key = new_host_key()
    server = create_server(host_key=key)
    checks.record_outcome(server.pk, start_test(server), outcome(False))
    server.refresh_from_db()
    assert server.host_key == key


@pytest.mark.parametrize("key", ["-----BEGIN OPENSSH PRIVATE KEY-----\n", "\n -----BEGIN RSA"])
def test_a_credential_in_pem_form_is_a_key_and_any_other_a_password(key: str) -> None:
    target = checks.target(create_server(credential=key))
    assert (target.private_key, target.password) == (key, "")
    target = checks.target(create_server("web-02", credential="BEGIN"))
    assert (target.private_key, target.password) == ("", "BEGIN")


# The queue.


def test_the_task_runs_the_real_check_on_behalf_of_who_asked(operator: Person) -> None:
    port = free_port()
    server = create_server(host="127.0.0.1", port=port)
    test_id = start_test(server)
    with recorded_events() as events:
        tasks.test_connection(server.pk, str(test_id), operator.user.pk)
    server.refresh_from_db()
    assert server.status == "failed"
    assert server.last_test_message.startswith(f"Connection refused by 127.0.0.1 port {port}")
    assert [event.actor_username for event in events] == ["operator"]


def test_a_test_whose_request_is_rolled_back_is_not_queued(
    server: Server, jobs: Callable[[], list[Job]], committing: Committing
) -> None:
    with committing(), transaction.atomic():
        checks.request_test(server, None)
        transaction.set_rollback(True)
    assert jobs() == []
    assert Server.objects.get().status == "unknown"


@pytest.fixture(params=["a server that is down", "a folder that is none"])
def broken_broker(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Jobs go where nobody takes them."""
    if request.param == "a server that is down":
        url, options = f"redis://127.0.0.1:{free_port()}/0", {}
    else:
        file = tmp_path / "file"
        file.touch()
        url, options = (
            "filesystem://",
            dict.fromkeys(("data_folder_in", "data_folder_out"), str(file)),
        )
    monkeypatch.setitem(current_app.conf, "broker_write_url", url)
    monkeypatch.setitem(current_app.conf, "broker_transport_options", options)
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)


@pytest.mark.usefixtures("broken_broker")
def test_without_a_broker_the_test_fails_and_says_so(
    server: Server, operator: Person, committing: Committing
) -> None:
    with recorded_events() as events, committing():
        response = operator.call("post", f"/api/v1/servers/{server.pk}/test-connection/")
    assert response.status_code == 202
    server.refresh_from_db()
    assert (server.status, server.test_id) == ("failed", None)
    assert server.last_test_message == "The job queue cannot be reached."
    assert [event.data["new_status"] for event in events] == ["testing", "failed"]
