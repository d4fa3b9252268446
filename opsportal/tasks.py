"""What the portal does by itself, and the queue in which server-side subscriptions run."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final

from celery import shared_task
from celery.signals import worker_ready
from django.db import InterfaceError, OperationalError

from events import conf, delivery, retention, upkeep
from events.catalogue import UnknownSubscription
from events.relay import relay

logger = logging.getLogger(__name__)

# Seconds after which a look is not worth its while, or they would pile up while no worker runs.
# Long enough for a queue that is busy, and for machines whose clocks differ.
LOOK_LIFETIME: Final = 600


@shared_task(autoretry_for=(InterfaceError, OperationalError), retry_backoff=1, retry_backoff_max=8)
def run_subscription(name: str, position: int | None = None) -> None:
    try:
        delay = delivery.run(name, position)
    except UnknownSubscription as error:  # of a newer release, whose own workers find it
        logger.info("Left to another worker: %s", error)
        return
    if delay is not None:
        run_subscription.apply_async((name,), countdown=delay, retry=False)


@shared_task(expires=LOOK_LIFETIME)
def run_due_subscriptions() -> None:
    """Heals what a killed process or a broker that was down has left."""
    relay.ring()  # for what was committed and never placed, where no web process looks
    for name in upkeep.due():
        run_subscription.apply_async((name,), expires=LOOK_LIFETIME, retry=False)


@shared_task
def prune_events() -> None:
    retention.prune(timedelta(days=conf.get("EVENTS_RETENTION_DAYS")))


def queue_subscription(name: str, position: int, **_: Any) -> None:
    """Raises whatever the broker's client does where the queue cannot be reached."""
    run_subscription.apply_async((name, position), retry=False)


@worker_ready.connect
def look_for_work(**_: Any) -> None:
    run_due_subscriptions.apply_async(retry=False)
