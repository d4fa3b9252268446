"""Subscriptions in real workers: each effect once and in order, whatever is killed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis
from celery import current_app
from django.db import transaction

from events import log
from events.api import emit, subscribe
from events.catalogue import scoped
from events.models import Subscription
from events.relay import relay
from opsportal.routine import RoutineFilter
from tests.database import query
from tests.portal import Portal
from tests.readers import bearer, make_user
from tests.services import ROOT, Process, Redis, wait_until

EVENTS = 1000
PATIENCE = 90  # seconds; must not be met
SETTINGS = "tests.subscriber.settings"

EFFECTS = "SELECT position, worker FROM subscriber_effect ORDER BY id"
WANTED = "SELECT position FROM events_event WHERE type LIKE 'server.%' ORDER BY position"


@pytest.fixture
def subscriber(portal_factory: Callable[..., Portal]) -> Portal:
    """A portal with an app that subscribes to everything about servers."""
    portal = portal_factory(DJANGO_SETTINGS_MODULE=SETTINGS)
    portal.manage("migrate", "--verbosity=0")
    return portal


def effects(portal: Portal) -> list[int]:
    return [position for position, _ in query(portal, EFFECTS)]


def wanted(portal: Portal) -> list[int]:
    return [position for (position,) in query(portal, WANTED)]


def start_writer(portal: Portal, name: str, count: int) -> Process:
    code = f"import tests.writer as w; w.write({name!r}, {count}, 1)"
    return portal.start("shell", "--verbosity=0", "-c", code)


def start_celery(portal: Portal, *arguments: str) -> Process:
    command = [sys.executable, "-m", "celery", "-A", "opsportal", *arguments, "--loglevel=INFO"]
    output = portal.directory / f"celery-{len(portal.processes) + 1}.log"
    process = Process(command, output, env=portal.environment, cwd=ROOT)
    portal.processes.append(process)
    return process


def start_worker(portal: Portal) -> Process:
    """A worker without a beat."""
    worker = start_celery(portal, "worker", "--pool=threads", "--concurrency=4")
    worker.wait_until(lambda: "ready." in worker.read_output(), PATIENCE, "ready")
    return worker


def wait_for_effects(portal: Portal, count: int) -> None:
    wait_until(lambda: len(effects(portal)) >= count, PATIENCE, f"{count} effects")


@pytest.mark.timeout(300)
def test_workers_that_are_killed_leave_each_effect_once_and_in_order(subscriber: Portal) -> None:
    assert start_writer(subscriber, "web-01", EVENTS).wait(PATIENCE) == 0
    for done in (100, 350, 600):
        worker = subscriber.worker()
        wait_for_effects(subscriber, done)
        subscriber.kill(worker)
        assert len(effects(subscriber)) < EVENTS, "killed in the middle"
    last = subscriber.worker()
    wait_for_effects(subscriber, EVENTS)
    assert effects(subscriber) == wanted(subscriber)
    assert len(wanted(subscriber)) == EVENTS
    assert "opsportal.tasks.run_subscription[" not in last.read_output()


@pytest.mark.stack("scaled")
@pytest.mark.timeout(300)
def test_two_workers_leave_each_effect_once_and_in_order(subscriber: Portal) -> None:
    """The one that is at it is killed, and the other one goes on."""
    start_celery(subscriber, "beat", "--pidfile=")
    workers = {worker.pid: worker for worker in (start_worker(subscriber) for _ in range(2))}
    writers = [start_writer(subscriber, f"web-{number}", EVENTS // 2) for number in range(2)]
    wait_for_effects(subscriber, EVENTS // 4)
    subscriber.kill(workers.pop(query(subscriber, EFFECTS)[-1][1]))
    assert [writer.wait(PATIENCE) for writer in writers] == [0, 0]
    wait_for_effects(subscriber, EVENTS)
    assert effects(subscriber) == wanted(subscriber)
    assert query(subscriber, EFFECTS)[-1][1] in workers
    assert len(wanted(subscriber)) == EVENTS


@pytest.mark.stack("scaled")
@pytest.mark.timeout(300)
def test_what_happens_while_the_broker_is_down_is_handled_when_it_is_back(
    subscriber: Portal,
) -> None:
    """By the wake that is tried again: this worker has no beat."""
    token = make_user(subscriber, "operator", "Operator")
    subscriber.serve()
    worker = start_worker(subscriber)
    new_server(subscriber, token, "web-01")
    wait_for_effects(subscriber, 1)
    url = subscriber.environment["REDIS_URL"]
    with closing(redis.Redis.from_url(url)) as client:
        # Celery's worker gives up where the broker goes while a task is not acknowledged.
        wait_until(lambda: not client.keys("*:unacked"), PATIENCE, "an idle worker")
        client.shutdown(nosave=True)
    new_server(subscriber, token, "web-02")
    wait_until(lambda: len(wanted(subscriber)) == 2, PATIENCE, "the event's position")
    successor = Redis()
    successor.port = urlsplit(url).port or 0
    with successor:
        wait_for_effects(subscriber, 2)
        assert effects(subscriber) == wanted(subscriber)
        assert query(subscriber, EFFECTS)[1][1] == worker.pid
        subscriber.stop()


def new_server(portal: Portal, token: str, name: str) -> None:
    body = {"name": name, "host": "10.0.0.1", "username": "root"}
    path = portal.url("/api/v1/servers/")
    made = httpx.post(path, json=body, headers=bearer(token), timeout=30, trust_env=False)
    assert made.status_code == 201, made.text


@pytest.mark.parametrize(
    ("logger", "level", "message", "shown"),
    [
        ("celery.beat", "INFO", "Sending due task a (servers.tasks.fail_overdue_tests)", False),
        ("celery.app.trace", "INFO", "Task opsportal.tasks.run_subscription[1] succeeded", False),
        ("celery.app.trace", "ERROR", "Task opsportal.tasks.run_subscription[1] raised", True),
        ("celery.app.trace", "INFO", "Task opsportal.tasks.run_subscription[1] retry: Retry", True),
        ("celery.app.trace", "INFO", "Task servers.tasks.test_connection[1] succeeded", True),
        ("events.upkeep", "INFO", "about opsportal.tasks.run_subscription", True),
    ],
)
def test_of_routine_tasks_only_trouble_is_logged(
    logger: str, level: str, message: str, shown: bool
) -> None:
    facts = {"name": logger, "levelno": logging.getLevelName(level), "msg": message}
    assert RoutineFilter().filter(logging.makeLogRecord(facts)) is shown


@pytest.fixture
def eager() -> Iterator[None]:
    """Tasks run where they are asked for: in the thread that wakes. Nobody else subscribes."""
    usual = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    try:
        with scoped() as catalogue:
            catalogue.subscribers = {}
            yield
            relay.stop()
    finally:
        current_app.conf.task_always_eager = usual


@pytest.mark.django_db(transaction=True)
def test_tasks_that_run_where_they_are_asked_for_wait_for_nobody(eager: None) -> None:
    """Not even where handlers emit, and fail."""
    server = {"id": 1, "name": "web-01", "host": "10.0.0.1", "status": "unknown"}
    handled: list[str] = []

    @subscribe("server.created", name="tests.delete")
    def delete(event: dict[str, Any]) -> None:
        handled.append(event["type"])
        emit("server.deleted", event["data"])

    @subscribe("server.deleted", name="tests.fail")
    def fail(event: dict[str, Any]) -> None:
        handled.append(event["type"])
        raise ValueError("on purpose")

    start = log.head().position
    with transaction.atomic():
        emit("server.created", server)
    rows = Subscription.objects.filter(name="tests.fail")
    wait_until(lambda: rows.filter(failures=1).exists(), PATIENCE, "a failure of the second")
    assert handled == ["server.created", "server.deleted"]
    assert log.head().position == start + 2
    assert Subscription.objects.get(name="tests.delete").cursor > start
