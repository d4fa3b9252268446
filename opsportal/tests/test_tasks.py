"""Tasks: what they leave alone, what they ask to be done, and for how long that is worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from celery.beat import Scheduler
from django.utils import timezone

from events import log
from events.api import subscribe
from events.bus import Draft, prepare
from events.catalogue import scoped
from events.models import Subscription
from events.relay import relay
from opsportal import tasks
from servers.tests.cast import Job
from tests.services import wait_until

NAME = "tests.servers"
SERVER = {"id": 1, "name": "web-01", "host": "10.0.0.1", "status": "unknown"}


@pytest.fixture(autouse=True)
def subscribed(transactional_db: None) -> Iterator[None]:
    with scoped():
        subscribe("server.created", name=NAME)(print)
        yield
        relay.stop()
        relay._reset()


@pytest.fixture
def unplaced(jobs: Callable[[], list[Job]]) -> int:
    """A committed event whose process was killed before it was placed; the head's position."""
    Subscription.objects.create(name=NAME, cursor=log.head().position)
    prepare(Draft("server.created", SERVER)).save()
    return log.head().position


def expiries() -> dict[str, datetime | None]:
    """Takes all messages off the queue: until when each task is to be begun, by its name."""
    found = {}
    with current_app.connection_for_read() as connection:
        queue = current_app.amqp.queues[current_app.conf.task_default_queue]
        bound = queue(connection.default_channel)
        bound.declare()
        while message := bound.get(no_ack=True):
            text = message.headers["expires"]
            found[message.headers["task"]] = datetime.fromisoformat(text) if text else None
    return found


def test_a_look_places_what_no_process_has(unplaced: int, jobs: Callable[[], list[Job]]) -> None:
    tasks.run_due_subscriptions()
    wait_until(lambda: log.head().position == unplaced + 1, 20, "the event's position")
    relay.stop()
    assert Job("opsportal.tasks.run_subscription", [NAME, unplaced + 1]) in jobs()


def test_a_subscription_that_is_not_known_here_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A worker of an older release, beside one that has it."""
    caplog.set_level("INFO", "opsportal")
    tasks.run_subscription("tests.newer", 1)
    (record,) = [record for record in caplog.records if "tests.newer" in record.getMessage()]
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert not Subscription.objects.filter(name="tests.newer").exists()


def test_looks_wait_some_minutes_for_a_worker_and_not_for_ever(unplaced: int) -> None:
    """A queue may be busy, and clocks differ; but a worker that comes back needs only one."""
    scheduler: Any = Scheduler(app=current_app, lazy=True)
    scheduler.merge_inplace(current_app.conf.beat_schedule)
    scheduler.apply_async(scheduler.schedule["run-due-subscriptions"], advance=False)
    log.sequence()
    tasks.run_due_subscriptions()
    found = expiries()
    for name in ("run_due_subscriptions", "run_subscription"):
        expiry = found[f"opsportal.tasks.{name}"]
        assert expiry is not None
        assert timedelta(minutes=3) < expiry - timezone.now() < timedelta(hours=1)


def test_what_a_subscription_is_woken_for_waits_as_long_as_it_takes(unplaced: int) -> None:
    tasks.queue_subscription(NAME, 1)
    assert expiries() == {"opsportal.tasks.run_subscription": None}
