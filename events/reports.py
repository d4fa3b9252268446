"""What each process tells of itself: a row in the database, so that any other can show it.

A thread of its own writes it, as a database that fails or is slow must not hold up the hub.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from events import metrics, wire
from events.models import ProcessReport

if TYPE_CHECKING:
    from events.hub import Hub
    from events.ring import Ring

logger = logging.getLogger(__name__)

INTERVAL: Final = 5.0  # seconds between two reports of a process
LIFETIME: Final = timedelta(seconds=60)  # after which a process that reports no more is forgotten
EXIT_TIMEOUT: Final = 2.0  # seconds a process that ends waits for its row's deletion
USERS: Final = 50  # the most that are named in a report


class Reporter:
    """Call `start()` in a process that others shall see, and `stop()` at its orderly end.

    A process that forks has no thread in the child, so the child begins anew.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self.started_at = timezone.now()
        start = int(self.started_at.timestamp())
        self.process = f"{socket.gethostname()[:64]}:{os.getpid()}:{start}"
        self._kind = "other"
        self._hub: Hub | None = None
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, kind: str, hub: Hub | None = None) -> None:
        """Reports at once, and every INTERVAL. Where it does so already, as this from now on."""
        self._kind, self._hub = kind, hub
        if self._thread is None:
            self._orders = SimpleQueue()
            arguments = (self._orders,)
            self._thread = threading.Thread(
                target=self._run, args=arguments, name="reports", daemon=True
            )
            self._thread.start()

    def ring(self) -> None:
        """Asks for a report now: something changed that cannot wait. Returns at once."""
        self._orders.put(True)

    def stop(self) -> None:
        """Takes the process's row away, for EXIT_TIMEOUT at most."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._orders.put(False)
            thread.join(EXIT_TIMEOUT)
        self._kind, self._hub = "other", None

    def current(self) -> ProcessReport:
        """What this process would report now, not saved. From any thread, without the database."""
        hub = describe(self._hub) if self._hub is not None else None
        return ProcessReport(  # type: ignore[misc]
            process=self.process,
            started_at=self.started_at,
            reported_at=timezone.now(),
            report={"kind": self._kind, "hub": hub, "metrics": metrics.snapshot()},
        )

    def _run(self, orders: SimpleQueue[bool]) -> None:
        going_on = True
        while going_on:
            attempt(self._write)
            try:
                going_on = orders.get(timeout=INTERVAL)
            except Empty:
                continue
        attempt(ProcessReport.objects.filter(process=self.process).delete)

    def _write(self) -> None:
        """By the database's time: a host whose clock is ahead would delete the others' reports."""
        row = self.current()
        row.reported_at = Now()
        if self._hub is not None:
            row.report["hub"]["by_user"] = streams_by_user(self._hub)
        ProcessReport.objects.bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["process"],
            update_fields=["started_at", "reported_at", "report"],
        )
        ProcessReport.objects.filter(reported_at__lt=Now() - LIFETIME).delete()


def attempt(work: Callable[[], object]) -> None:
    """Whatever fails is tried again with the next report."""
    try:
        work()
    except Exception as error:
        logger.warning("This process could not report itself: %r", error)
    finally:
        connection.close()


def describe(hub: Hub) -> dict[str, Any]:
    """The state of a hub, for JSON; times as RFC 3339, `lag` in events, `ring` as `span` says.

    The loop goes on meanwhile, so that what must agree is copied in one step.
    """
    streams = list(hub.streams)
    return {
        "streams": len(streams),
        "users": len({stream.reader.key for stream in streams}),
        "head": max(hub.head, hub.ring.end),
        "lag": max(hub.head - hub.ring.end, 0),
        "ring": span(hub.ring),
        "repaired_at": hub.repaired_at and wire.format_timestamp(hub.repaired_at),
        "draining": hub.draining,
    }


def span(ring: Ring) -> dict[str, Any]:
    """`{"start", "end", "events", "bytes", "oldest"}`: positions, sizes, the first event's time."""
    entries = ring.copy()
    end = entries[-1].position if entries else ring.end
    return {
        "start": end - len(entries),
        "end": end,
        "events": len(entries),
        "bytes": sum(len(entry.frame) for entry in entries),
        "oldest": wire.parse_event(entries[0].frame)["timestamp"] if entries else None,
    }


def streams_by_user(hub: Hub) -> list[dict[str, Any]]:
    """`[{"username", "streams"}, …]` of the USERS users who have most, the most first."""
    counts = Counter(stream.reader.pk for stream in list(hub.streams)).most_common(USERS)
    model = get_user_model()
    users = model._default_manager.filter(pk__in=[pk for pk, _ in counts])
    names = dict(users.values_list("pk", model.USERNAME_FIELD))
    return [{"username": names[pk], "streams": count} for pk, count in counts if pk in names]


def recent() -> QuerySet[ProcessReport]:
    """The reports of the processes that are alive, or were so a LIFETIME ago."""
    alive = ProcessReport.objects.filter(reported_at__gte=Now() - LIFETIME)
    return alive.order_by("process")


reporter = Reporter()
