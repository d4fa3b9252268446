"""Checks: when they are due, who gets them, what they show meanwhile, and what comes of them."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from celery import current_app
from django.db import connection, models, transaction
from django.utils import timezone

from events.models import Event
from events.relay import relay
from servers import checks, maintenance, services, tasks
from servers.models import Credential, Environment, Sample, Server
from servers.tests.cast import Job, Person, create_server, recorded_events
from servers.tests.keys import new_host_key
from servers.tests.outcomes import (
    after_test,
    claimed,
    make_due,
    make_overdue,
    outcome,
    start_test,
)
from servers.tests.sshd import free_port
from servers.tests.test_preconditions import waiting_for_locks

pytestmark = pytest.mark.django_db

INTERVAL = 300  # seconds
Committing = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def regular_checks(settings: Any) -> Iterator[None]:
    settings.SERVERS_CHECK_INTERVAL = INTERVAL
    yield
    relay.stop()  # its thread would keep a connection to the test's database


def statuses(events: list[Event]) -> list[tuple[str, str]]:
    """What these status events went from and to; there are no others among them."""
    assert {event.type for event in events} <= {"server.status_changed"}
    return [(event.data["old_status"], event.data["new_status"]) for event in events]


# What comes of a test.


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
    after_test(after_test(server), success=False, message="Refused.")
    assert (server.status, server.last_test_latency) == ("failed", None)


def test_a_new_test_forgets_the_message_of_the_last_one(server: Server) -> None:
    after_test(server, success=False, message="Refused.")
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
    assert not Sample.objects.exists()
    assert checks.record_outcome(server.pk, newer, outcome(False, "Refused."))


def test_a_result_counts_once(server: Server) -> None:
    test_id = start_test(server)
    assert checks.record_outcome(server.pk, test_id, outcome(False, "Refused."))
    assert not checks.record_outcome(server.pk, test_id, outcome())
    assert Server.objects.get().status == "failed"
    assert Sample.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_result_for_a_server_that_is_gone_changes_nothing(server: Server) -> None:
    test_id, key = start_test(server), server.pk
    server.delete()
    with recorded_events() as events:
        assert not checks.record_outcome(key, test_id, outcome())
        tasks.test_connection(key, str(test_id), None)
    assert events == []
    assert not Server.objects.exists()


def test_a_result_from_before_an_edit_of_the_address_changes_nothing(server: Server) -> None:
    after_test(server)
    make_due(server)
    [silent] = checks.claim_due(1)
    assert silent.test_id
    services.edit(server, {"host": "10.0.0.99"})
    assert not checks.record_outcome(server.pk, silent.test_id, outcome(False, "Refused."))
    server.refresh_from_db()
    assert (server.status, server.last_test_message) == ("unknown", "")


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


# When a server is due.


def test_the_next_check_is_an_interval_away_give_or_take_a_tenth(server: Server) -> None:
    now = timezone.now()
    waits = [(checks.next_check(server, now) - now).total_seconds() for _ in range(500)]
    assert 0.9 * INTERVAL <= min(waits) < 0.95 * INTERVAL
    assert 1.05 * INTERVAL < max(waits) <= 1.1 * INTERVAL


@pytest.mark.parametrize("begin", [lambda _: claimed(), start_test], ids=["regular", "asked for"])
def test_a_check_that_begins_puts_off_the_next_one(
    server: Server, begin: Callable[[Server], object]
) -> None:
    begin(server)
    Server.objects.update(test_id=None, status="unknown")
    assert claimed() == []
    server.refresh_from_db()
    assert server.next_check_at is not None
    wait = (server.next_check_at - timezone.now()).total_seconds()
    assert 0.85 * INTERVAL < wait <= 1.1 * INTERVAL


@pytest.mark.parametrize(
    ("setting", "own", "seconds"), [(300, None, 300), (300, 20, 20), (300, 0, 0), (0, 20, 20)]
)
def test_a_servers_own_interval_wins(
    server: Server, settings: Any, setting: int, own: int | None, seconds: int
) -> None:
    settings.SERVERS_CHECK_INTERVAL = setting
    services.edit(server, {"check_interval": own})
    assert checks.interval(server) == seconds
    make_due(server)
    assert claimed() == (["web-01"] if seconds else [])


def test_a_new_interval_counts_from_its_edit_on(server: Server) -> None:
    services.edit(server, {"check_interval": 7 * 24 * 3600})
    assert claimed() == []
    services.edit(server, {"check_interval": 10})
    assert claimed() == []
    assert server.next_check_at is not None
    assert server.next_check_at <= timezone.now() + timedelta(seconds=11)


def test_a_new_interval_postpones_no_check_that_somebody_asked_for(
    server: Server, operator: Person
) -> None:
    checks.request_checks([server], operator.user)
    services.edit(Server.objects.get(), {"check_interval": 600})
    assert claimed() == ["web-01"]


def test_without_an_interval_nothing_is_checked_that_nobody_asked_for(
    server: Server, operator: Person, settings: Any
) -> None:
    settings.SERVERS_CHECK_INTERVAL = 0
    never = create_server("web-02", check_interval=0)
    assert claimed() == []
    checks.request_checks([server, never], operator.user)
    assert claimed() == ["web-01", "web-02"]
    assert claimed() == []


def test_a_server_whose_way_in_is_edited_is_checked_soon(server: Server) -> None:
    after_test(server)
    assert claimed() == []
    services.edit(server, {"tags": ["web"]})
    assert claimed() == []
    services.edit(server, {"port": 2222})
    assert claimed() == ["web-01"]


def test_the_longest_due_are_claimed_first_and_no_more_than_there_is_room_for() -> None:
    now = timezone.now()
    for number in (2, 0, 3, 1):
        create_server(f"web-{number}", next_check_at=now - timedelta(minutes=9 - number))
    create_server("later", next_check_at=now + timedelta(hours=1))
    assert [server.name for server in checks.claim_due(3)] == ["web-0", "web-1", "web-2"]
    assert claimed() == ["web-3"]


# Two who claim, and those who are lost.


@pytest.mark.django_db(transaction=True)
def test_two_that_claim_at_once_never_get_the_same_server() -> None:
    names = {create_server(f"web-{number:02}").name for number in range(40)}
    claimers = 2
    barrier = threading.Barrier(claimers, timeout=20)

    def claim() -> list[str]:
        found: list[str] = []
        barrier.wait()
        while some := checks.claim_due(5):
            found += [server.name for server in some]
        connection.close()
        return found

    with ThreadPoolExecutor(claimers) as pool:
        hauls = [future.result() for future in [pool.submit(claim) for _ in range(claimers)]]
    found = Counter(name for haul in hauls for name in haul)
    # One of them may have passed by a row that the other had locked, and ended early.
    found.update(claimed())
    assert found == dict.fromkeys(names, 1)


def test_a_server_whose_check_is_under_way_is_left_alone(server: Server) -> None:
    start_test(server)
    make_due(server)
    assert claimed() == []


@pytest.mark.parametrize("status", ["success", "failed"])
def test_a_check_whose_worker_was_lost_is_claimed_again(server: Server, status: str) -> None:
    after_test(server, success=status == "success")
    make_due(server)
    [lost] = checks.claim_due(1)
    make_due(server)
    assert claimed() == []
    make_overdue()
    [again] = checks.claim_due(1)
    assert lost.test_id
    assert again.test_id
    assert again.test_id != lost.test_id
    assert not checks.record_outcome(server.pk, lost.test_id, outcome())
    assert checks.record_outcome(server.pk, again.test_id, outcome())


def test_a_silent_check_whose_worker_was_lost_is_due_again_and_nobody_hears_of_it(
    server: Server,
) -> None:
    after_test(server)
    make_due(server)
    [lost] = checks.claim_due(1)
    make_overdue()
    with recorded_events() as events:
        tasks.fail_overdue_tests()
        assert claimed() == ["web-01"]
    assert events == []
    server.refresh_from_db()
    assert server.status == "success"
    assert lost.test_id
    assert not checks.record_outcome(server.pk, lost.test_id, outcome(False))


# What others see of a check.


def check(server: Server, *, success: bool) -> list[tuple[str, str]]:
    """A regular check from its claim to its outcome; returns the changes of status it told of."""
    make_due(server)
    with recorded_events() as events:
        [claim] = checks.claim_due(1)
        assert claim.test_id
        checks.record_outcome(server.pk, claim.test_id, outcome(success, "As said."))
    return statuses(events)


def test_nobody_sees_the_check_of_a_healthy_server(server: Server) -> None:
    after_test(server)
    before = timezone.now()
    assert check(server, success=True) == []
    server.refresh_from_db()
    assert server.last_tested_at
    assert server.last_tested_at > before


def test_a_healthy_server_is_not_shown_as_testing_meanwhile(server: Server) -> None:
    after_test(server, message="Logged in.")
    make_due(server)
    [claim] = checks.claim_due(1)
    for row in (claim, Server.objects.get()):
        assert (row.status, row.last_test_message) == ("success", "Logged in.")


def test_a_healthy_server_that_fails_is_told_of_once(server: Server) -> None:
    after_test(server)
    assert check(server, success=False) == [("success", "failed")]


def test_each_check_of_a_failing_server_is_told_of(server: Server) -> None:
    after_test(server, success=False)
    for _ in range(2):
        assert check(server, success=False) == [("failed", "testing"), ("testing", "failed")]
    assert check(server, success=True) == [("failed", "testing"), ("testing", "success")]


def test_regular_checks_are_nobodys_doing(server: Server) -> None:
    make_due(server)
    with recorded_events() as events:
        [claim] = checks.claim_due(1)
    assert [event.actor_username for event in events] == [""]
    assert claim.check_requested_by is None


def test_a_check_that_was_asked_for_is_seen_and_is_the_askers(
    server: Server, operator: Person
) -> None:
    after_test(server)
    checks.request_checks([server], operator.user)
    with recorded_events() as events:
        [claim] = checks.claim_due(1)
    assert claim.check_requested_by == operator.user
    assert statuses(events) == [("success", "testing")]
    assert [event.actor_username for event in events] == ["operator"]
    assert Server.objects.get().check_requested_by is None


def test_a_check_asked_for_while_one_is_under_way_comes_after_it(
    server: Server, operator: Person
) -> None:
    test_id = start_test(server)
    assert checks.request_checks([server], operator.user) == ([server], [])
    assert claimed() == []
    checks.record_outcome(server.pk, test_id, outcome())
    assert claimed() == ["web-01"]


def test_what_is_asked_for_is_begun_at_once_and_not_by_beat_alone(
    server: Server, operator: Person, jobs: Callable[[], list[Job]], committing: Committing
) -> None:
    with committing():
        checks.request_checks([server], operator.user)
    assert [job.task for job in jobs()] == ["servers.tasks.run_due_checks"]


def test_a_server_in_maintenance_is_not_checked_for_the_asking(
    server: Server, operator: Person
) -> None:
    calm = create_server("web-02")
    maintenance.begin(server, "Disk", timezone.now() + timedelta(hours=1))
    asked, left = checks.request_checks([server, calm], operator.user)
    assert ([row.name for row in asked], [row.name for row in left]) == (["web-02"], ["web-01"])
    assert claimed() == ["web-02"]


# Host keys.


@pytest.mark.parametrize(
    ("accepts", "expected"), [(True, "accepted"), (None, "offered"), (False, "offered")]
)
def test_a_first_host_key_is_accepted_only_where_the_environment_says_so(
    accepts: bool | None, expected: str
) -> None:
    place = None
    if accepts is not None:
        place = Environment.objects.create(name="dmz", accept_new_host_keys=accepts)
    server, key = create_server(environment=place), new_host_key()
    assert checks.target(server).accept_new_host_key is bool(accepts)
    after_test(server, success=bool(accepts), host_key=key)
    keys = {"accepted": (key, ""), "offered": ("", key)}
    assert (server.host_key, server.offered_host_key) == keys[expected]


def test_an_environment_that_accepts_first_keys_accepts_no_other() -> None:
    place = Environment.objects.create(name="lab", accept_new_host_keys=True)
    server, first, second = create_server(environment=place), new_host_key(), new_host_key()
    after_test(server, host_key=first)
    after_test(server, success=False, host_key=second)
    assert (server.host_key, server.offered_host_key) == (first, second)


def test_an_offer_is_gone_once_the_accepted_key_is_seen_again() -> None:
    key = new_host_key()
    server = create_server(host_key=key, offered_host_key=new_host_key())
    after_test(server, host_key=key)
    assert (server.host_key, server.offered_host_key) == (key, "")


def test_a_test_that_saw_no_key_leaves_both_as_they_are() -> None:
    key, offer = new_host_key(), new_host_key()
    server = create_server(host_key=key, offered_host_key=offer)
    after_test(server, success=False)
    assert (server.host_key, server.offered_host_key) == (key, offer)


@pytest.mark.parametrize("key", ["-----BEGIN OPENSSH PRIVATE KEY-----\n", "\n -----BEGIN RSA"])
def test_a_credential_in_pem_form_is_a_key_and_any_other_a_password(key: str) -> None:
    target = checks.target(create_server(credential=key))
    assert (target.private_key, target.password) == (key, "")
    target = checks.target(create_server("web-02", credential="BEGIN"))
    assert (target.private_key, target.password) == ("", "BEGIN")


# What a check logs in with.


def test_a_password_that_became_a_key_meanwhile_is_not_sent_as_a_password() -> None:
    shared = Credential(name="ops", kind=Credential.Kind.PASSWORD, secret="old secret")
    services.save_credential(shared)
    create_server(credential="", shared_credential=shared)
    [claim] = checks.claim_due(1)
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    values = {"kind": Credential.Kind.PRIVATE_KEY, "secret": key}
    services.edit_credential(Credential.objects.get(), values)
    target = checks.target(claim)
    assert (target.password, target.private_key) == ("", key)


def test_a_new_secret_is_not_sent_to_the_old_address(server: Server) -> None:
    [claim] = checks.claim_due(1)
    services.edit(server, {"host": "10.0.0.99", "credential": "new secret"})
    with pytest.raises(Server.DoesNotExist):
        checks.target(claim)


def test_what_a_check_needs_is_read_in_one_statement(
    environment: Environment, django_assert_num_queries: Callable[..., Any]
) -> None:
    shared = Credential(name="ops", kind=Credential.Kind.PASSWORD, secret="open sesame")
    services.save_credential(shared)
    create_server(credential="", shared_credential=shared, environment=environment)
    [claim] = checks.claim_due(1)
    with django_assert_num_queries(1):
        assert checks.target(claim).password == "open sesame"


# What waits for a lock.


@pytest.mark.django_db(transaction=True)
@pytest.mark.stack("scaled")
def test_an_outcome_that_waited_for_a_lock_goes_by_the_servers_new_environment() -> None:
    """PostgreSQL shows who waited for a lock the new row, joined with what the old one was."""
    strict = Environment.objects.create(name="dmz")
    trusting = Environment.objects.create(name="lab", accept_new_host_keys=True)
    server, key = create_server(environment=strict), new_host_key()
    test_id = start_test(server)

    def record() -> bool:
        try:
            return checks.record_outcome(server.pk, test_id, outcome(host_key=key))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            models.QuerySet(Server).filter(pk=server.pk).update(environment=trusting)
            recording = pool.submit(record)
            while not waiting_for_locks():
                wait([recording], 0.01)
        assert recording.result()
    server.refresh_from_db()
    assert (server.host_key, server.offered_host_key) == (key, "")


# The queue.


@pytest.mark.django_db(transaction=True)
def test_the_task_runs_the_real_check_on_behalf_of_who_asked(operator: Person) -> None:
    port = free_port()
    server = create_server(host="127.0.0.1", port=port, test_id=uuid.uuid4(), status="testing")
    with recorded_events() as events:
        tasks.test_connection(server.pk, str(server.test_id), operator.user.pk)
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


@pytest.mark.usefixtures("broken_broker")
def test_without_a_broker_what_was_asked_for_waits_for_beat(
    server: Server, operator: Person, committing: Committing
) -> None:
    with committing():
        checks.request_checks([server], operator.user)
    assert claimed() == ["web-01"]
