"""How servers have been: their states since the first, and what the checks measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from servers.models import Sample, Server, StatusPeriod

State = StatusPeriod.State

SAMPLES_KEPT: Final = timedelta(days=7)
WINDOWS: Final = {"last_24_hours": timedelta(hours=24), "last_30_days": timedelta(days=30)}
BUCKETS: Final = 96  # of a latency series: a quarter of an hour each, over a day


def note(server: Server, message: str = "") -> None:
    """Begins a period where the server's state is another than that of its last one.

    Call it in the transaction that changes the server, with its row locked.
    """
    note_many([server], message)


def note_many(servers: Iterable[Server], message: str = "") -> None:
    """The same for many, in as many queries."""
    now = timezone.now()
    noted = {server.pk: server for server in servers}
    current = StatusPeriod.objects.filter(server__in=list(noted), ended_at=None)
    last = {period.server_id: period for period in current}
    found = {key: _state_after(last.get(key), server) for key, server in noted.items()}
    states = {key: state for key, state in found.items() if state}
    begun = [key for key, state in states.items() if key not in last or last[key].state != state]
    if not begun:
        return
    # A machine whose clock is ahead may have noted the last one.
    starts = {key: max(now, last[key].started_at) if key in last else now for key in begun}
    current.filter(server__in=begun).update(ended_at=Greatest("started_at", Value(now)))
    StatusPeriod.objects.bulk_create(
        StatusPeriod(server_id=key, state=states[key], message=message, started_at=start)
        for key, start in starts.items()
    )


def _state_after(last: StatusPeriod | None, server: Server) -> str | None:
    """Of a server whose maintenance ends during a test, nobody knows how it is."""
    was_maintained = last is not None and last.state == State.MAINTENANCE
    return state_of(server) or (State.UNKNOWN if was_maintained else None)


def state_of(server: Server) -> str | None:
    """None while the state is just being found out."""
    if server.maintenance_until is not None:
        return State.MAINTENANCE
    return None if server.status == Server.Status.TESTING else State(server.status)


def duration(period: StatusPeriod) -> float:
    """In seconds, so far."""
    return ((period.ended_at or timezone.now()) - period.started_at).total_seconds()


def add_sample(server: Server, latency: float | None) -> None:
    Sample.objects.create(server=server, at=timezone.now(), latency=latency)


def prune_samples() -> int:
    """Deletes what is older than SAMPLES_KEPT; returns how many."""
    deleted, _ = Sample.objects.filter(at__lt=timezone.now() - SAMPLES_KEPT).delete()
    return deleted


@dataclass(frozen=True, slots=True)
class Uptime:
    """`ratio` is of 1, of the time in which the server was known to be up or down; None without.

    Maintenance, and what was before the first check, count as neither. Times are in seconds.
    """

    up: float
    down: float

    @property
    def ratio(self) -> float | None:
        known = self.up + self.down
        return self.up / known if known else None


def uptimes(servers: Collection[int], window: timedelta) -> dict[int, Uptime]:
    """The uptime of each of these servers, by key, over the last `window`: one query for all."""
    now = timezone.now()
    since = now - window
    states = (State.SUCCESS, State.FAILED)
    late = Q(ended_at=None) | Q(ended_at__gt=since)
    rows = StatusPeriod.objects.filter(late, server__in=servers, state__in=states)
    seconds: dict[tuple[int, str], float] = defaultdict(float)
    for key, state, start, end in rows.order_by().values_list(
        "server_id", "state", "started_at", "ended_at"
    ):
        span = min(end or now, now) - max(start, since)
        seconds[key, state] += max(span.total_seconds(), 0)  # or it began while this was read
    return {key: Uptime(*(seconds[key, state] for state in states)) for key in servers}


def fleet_uptimes(start: datetime, length: timedelta, count: int) -> list[Uptime]:
    """Of all servers together, in each of `count` spans of this length from `start` on, up to now.

    One query, whose rows are the periods since `start`.
    """
    now = timezone.now()
    late = Q(ended_at=None) | Q(ended_at__gt=start)
    rows = StatusPeriod.objects.filter(late, state__in=(State.SUCCESS, State.FAILED))
    seconds: dict[str, list[float]]
    seconds = {State.SUCCESS: [0.0] * count, State.FAILED: [0.0] * count}
    for state, begun, ended in rows.order_by().values_list("state", "started_at", "ended_at"):
        first, last = max(begun, start), min(ended or now, now, start + length * count)
        while first < last:
            number = (first - start) // length
            end = min(start + length * (number + 1), last)
            seconds[state][number] += (end - first).total_seconds()
            first = end
    return [Uptime(*spans) for spans in zip(*seconds.values(), strict=True)]


@dataclass(slots=True)
class Bucket:
    """The checks from `start` on, for the length of a bucket; latencies are in milliseconds."""

    start: datetime
    checks: int = 0
    failed: int = 0
    lowest: float | None = None
    average: float | None = None
    highest: float | None = None


def latency_series(server: Server, window: timedelta) -> list[Bucket]:
    """BUCKETS buckets of equal length, the oldest first, up to now; also those without a check."""
    now = timezone.now()
    length = window / BUCKETS
    buckets = [Bucket(now - window + length * number) for number in range(BUCKETS)]
    latencies: list[list[float]] = [[] for _ in buckets]
    rows = Sample.objects.filter(server=server, at__gt=now - window, at__lte=now)
    for at, latency in rows.values_list("at", "latency"):
        number = min(int((at - buckets[0].start) / length), BUCKETS - 1)
        buckets[number].checks += 1
        if latency is None:
            buckets[number].failed += 1
        else:
            latencies[number].append(latency)
    for bucket, measured in zip(buckets, latencies, strict=True):
        if measured:
            bucket.lowest, bucket.highest = min(measured), max(measured)
            bucket.average = sum(measured) / len(measured)
    return buckets
