"""The process that checks: how many at once, under which lease, and what cannot stop it."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from events.relay import relay
from servers import checker, checks, leases, services, ssh, tasks
from servers.encryption import Sealed
from servers.models import Credential, Environment, Lease, Sample, Server
from servers.tests.cast import Person, create_server, recorded_events
from servers.tests.loops import SilentListener, in_thread
from servers.tests.outcomes import make_due, outcome
from servers.tests.sshd import free_port
from servers.tests.test_ssh import exit_zero, ssh_server

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 60  # seconds; must not be met
PASSWORD = "open sesame"


@pytest.fixture(autouse=True)
def checking(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.SERVERS_CHECK_INTERVAL = 300
    monkeypatch.setattr(checker, "PAUSE", 0.02)
    monkeypatch.setattr(checker, "ending", threading.Event())
    yield
    relay.stop()


@pytest.fixture
def trusting() -> Environment:
    return Environment.objects.create(name="lab", accept_new_host_keys=True)


def create_servers(count: int, prefix: str, **values: Any) -> None:
    for number in range(count):
        create_server(f"{prefix}-{number:03}", **{"host": "127.0.0.1"} | values)


async def nothing() -> None:
    pass


class Answers:
    """In place of the network: what happens during each check, and who was checked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[str] = []
        self.meanwhile: Callable[[], Awaitable[None]] = nothing
        monkeypatch.setattr(ssh, "check", self._check)

    async def _check(self, target: ssh.Target, **_: Any) -> ssh.Outcome:
        self.hosts.append(target.host)
        await self.meanwhile()
        return outcome(message="Logged in.")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


# How many at once.


def test_no_more_run_at_once_than_there_may(settings: Any) -> None:
    settings.SERVERS_CHECK_CONCURRENCY, settings.SERVERS_TEST_TIMEOUT = 7, 0.5
    with SilentListener() as silent:
        create_servers(25, "silent", port=silent.port)
        assert checker.run_due_checks() == 25
    assert silent.taken == 25
    assert 1 < silent.most <= 7
    assert Server.objects.filter(status="failed", test_id=None).count() == 25


def test_those_that_hang_keep_no_result_from_the_others(
    settings: Any, trusting: Environment
) -> None:
    settings.SERVERS_CHECK_CONCURRENCY, settings.SERVERS_TEST_TIMEOUT = 10, 5
    healthy = in_thread(ssh_server(process_factory=exit_zero))
    with SilentListener() as silent, healthy as port:
        values = {"environment": trusting, "credential": PASSWORD}
        create_servers(12, "a-silent", port=silent.port, **values)
        create_servers(48, "healthy", port=port, **values)
        assert checker.run_due_checks() == 60
    assert silent.most <= 10
    found = Server.objects.filter(test_id=None)
    hung = found.filter(status="failed", name__startswith="a-silent")
    assert hung.filter(last_test_message__contains="Timed out").count() == 12
    assert found.filter(status="success", name__startswith="healthy").count() == 48
    assert Sample.objects.count() == 60


def test_one_place_serves_all_one_after_another(settings: Any, answers: Answers) -> None:
    settings.SERVERS_CHECK_CONCURRENCY = 1
    create_servers(5, "web")
    assert checker.run_due_checks() == 5
    assert checker.run_due_checks() == 0


def test_what_becomes_due_meanwhile_is_checked_too(server: Server, answers: Answers) -> None:
    async def make_another_due() -> None:
        if len(answers.hosts) == 1:
            await sync_to_async(create_server)("late", host="10.0.0.6")

    answers.meanwhile = make_another_due
    assert checker.run_due_checks() == 2
    assert answers.hosts == [server.host, "10.0.0.6"]


# Under a lease.


def test_while_another_process_checks_none_begins(server: Server, answers: Answers) -> None:
    holder = leases.take(checker.LEASE)
    assert holder
    assert checker.run_due_checks() == 0
    leases.release(checker.LEASE, holder)
    assert checker.run_due_checks() == 1


def test_who_lost_the_lease_begins_no_more_checks(settings: Any, answers: Answers) -> None:
    settings.SERVERS_CHECK_CONCURRENCY = 1
    create_servers(3, "web")
    other = uuid.uuid4()

    async def lose_the_lease() -> None:
        await Lease.objects.aupdate(holder=other)

    answers.meanwhile = lose_the_lease
    assert checker.run_due_checks() == 1
    assert Server.objects.filter(status="success").count() == 1
    assert Server.objects.filter(status="unknown").count() == 2
    assert leases.renew(checker.LEASE, other)


def test_the_lease_is_renewed_though_no_place_is_free(
    settings: Any, server: Server, answers: Answers
) -> None:
    """Or another process would begin as many checks beside those under way."""
    settings.SERVERS_CHECK_CONCURRENCY = 1

    async def outlast_the_lease() -> None:
        soon = timezone.now() + leases.LENGTH / 2
        await Lease.objects.aupdate(expires_at=soon)
        async with asyncio.timeout(PATIENCE):
            while (await Lease.objects.aget()).expires_at <= soon:
                await asyncio.sleep(0.01)

    answers.meanwhile = outlast_the_lease
    assert checker.run_due_checks() == 1
    assert Server.objects.get().status == "success"


def test_a_process_that_is_about_to_end_begins_no_more_checks(
    settings: Any, answers: Answers
) -> None:
    settings.SERVERS_CHECK_CONCURRENCY = 1
    create_servers(3, "web")

    async def end() -> None:
        tasks.begin_no_more_checks()

    answers.meanwhile = end
    assert checker.run_due_checks() == 1
    assert Server.objects.filter(status="unknown", test_id=None).count() == 2


# On whose behalf, and against what odds.


def test_a_result_is_the_doing_of_who_asked_for_it(
    operator: Person, server: Server, answers: Answers
) -> None:
    create_server("web-02", host="10.0.0.6")
    Server.objects.filter(pk=server.pk).update(check_requested_by=operator.user)
    with recorded_events() as events:
        checker.run_due_checks()
    told = {(e.data["name"], e.data["new_status"], e.actor_username) for e in events}
    assert told == {
        (name, status, actor)
        for name, actor in (("web-01", "operator"), ("web-02", ""))
        for status in ("testing", "success")
    }


def test_a_server_that_is_deleted_during_its_check_is_no_trouble(
    server: Server, answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    async def delete() -> None:
        await Server.objects.all().adelete()

    answers.meanwhile = delete
    assert checker.run_due_checks() == 1
    assert not Server.objects.exists()
    assert not caplog.records


def test_a_server_that_is_deleted_before_its_credential_is_read_is_no_trouble(
    server: Server,
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim_due = checks.claim_due

    def claim_and_delete(limit: int) -> list[Server]:
        claimed = claim_due(limit)
        Server.objects.all().delete()
        return claimed

    monkeypatch.setattr(checks, "claim_due", claim_and_delete)
    assert checker.run_due_checks() == 1
    assert answers.hosts == []
    assert not caplog.records


def test_a_result_that_cannot_be_written_stops_no_other(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create_servers(3, "web")
    record = checks.record_outcome

    def record_but_one(server_id: int, *rest: Any) -> bool:
        if Server.objects.get(pk=server_id).name == "web-001":
            raise OSError("disk full")
        return record(server_id, *rest)

    monkeypatch.setattr(checks, "record_outcome", record_but_one)
    assert checker.run_due_checks() == 3
    assert Server.objects.filter(status="success").count() == 2
    [logged] = [entry for entry in caplog.records if entry.name == checker.__name__]
    assert "web-001" in logged.getMessage()


def test_a_database_that_is_away_for_a_while_takes_no_result_from_those_under_way(
    settings: Any, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SERVERS_CHECK_CONCURRENCY = 2
    create_servers(3, "web")
    monkeypatch.setattr(checker, "RESTART", 0.01)
    renew, record = leases.renew, checks.record_outcome
    failed: set[int] = set()
    away = threading.Event()

    def renew_or_fail(*args: Any) -> bool:
        if answers.hosts:
            away.set()
            raise OperationalError("the database system is shutting down")
        return renew(*args)

    def record_the_second_time(server_id: int, *rest: Any) -> bool:
        if server_id not in failed:
            failed.add(server_id)
            raise InterfaceError("the connection is closed")
        return record(server_id, *rest)

    async def until_it_is_away() -> None:
        async with asyncio.timeout(PATIENCE):
            while not away.is_set():
                await asyncio.sleep(0.01)

    answers.meanwhile = until_it_is_away
    monkeypatch.setattr(leases, "renew", renew_or_fail)
    monkeypatch.setattr(checks, "record_outcome", record_the_second_time)
    assert checker.run_due_checks() == 2
    assert Server.objects.filter(status="success", test_id=None).count() == 2
    assert Server.objects.filter(status="unknown", test_id=None).count() == 1


def test_a_credential_that_no_key_opens_fails_the_check_by_its_name(
    answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    shared = Credential(name="deploy key", kind=Credential.Kind.PASSWORD, secret="swordfish")
    services.save_credential(shared)
    create_server("shared", credential="", shared_credential=shared)
    create_server("own", host="10.0.0.6")
    create_server("readable", host="10.0.0.7")
    lost = Sealed("gAAAAAB-of-another-key")
    for model, name in ((Credential, "secret"), (Server, "credential")):
        rows = model._base_manager.exclude(name="readable").exclude(name="shared")
        rows.update(**{name: lost})
    assert checker.run_due_checks() == 3
    assert answers.hosts == ["10.0.0.7"]
    messages = dict(Server.objects.defer("credential").values_list("name", "last_test_message"))
    assert messages == {
        "shared": "The stored credential “deploy key” cannot be read:"
        " no key in FIELD_ENCRYPTION_KEYS decrypts servers.Credential.secret.",
        "own": "The stored credential cannot be read:"
        " no key in FIELD_ENCRYPTION_KEYS decrypts servers.Server.credential.",
        "readable": "Logged in.",
    }
    assert "Traceback" not in caplog.text


def test_nobody_logs_in_for_a_test_that_is_over(server: Server, answers: Answers) -> None:
    Server.objects.update(test_id=uuid.uuid4())
    tasks.test_connection(server.pk, str(uuid.uuid4()), None)
    assert answers.hosts == []


def test_a_test_that_was_asked_for_names_a_credential_that_no_key_opens(
    server: Server, operator: Person
) -> None:
    Server._base_manager.update(credential=Sealed("gAAAAAB-of-another-key"))
    assert operator.call("post", f"/api/v1/servers/{server.pk}/test-connection/").status_code == 202
    test_id = Server.objects.values_list("test_id", flat=True).get()
    tasks.test_connection(server.pk, str(test_id), operator.user.pk)
    row = Server.objects.defer("credential").get()
    assert row.status == "failed"
    assert "decrypts servers.Server.credential" in row.last_test_message


def test_a_refused_connection_is_an_outcome_of_each_run(server: Server) -> None:
    Server.objects.update(host="127.0.0.1", port=free_port())
    for _ in range(2):
        make_due(server)
        assert checker.run_due_checks() == 1
    assert [period.state for period in server.periods.all()] == ["failed"]
    assert Sample.objects.filter(latency=None).count() == 2
