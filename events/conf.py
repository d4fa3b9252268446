"""The app's settings, read when they are needed, with their defaults."""

from typing import Final

from django.conf import settings

DEFAULTS: Final[dict[str, float]] = {
    "EVENTS_HEARTBEAT": 30.0,  # seconds of silence before a stream says it is alive
    "EVENTS_FLUSH_WINDOW": 0.04,  # seconds in which the hub gathers events for one write
    "EVENTS_COMPRESSION": True,  # gzip, for streams whose clients accept it
    "EVENTS_RING_SIZE": 10_000,  # events kept in memory for streams that return
    "EVENTS_RING_BYTES": 32 * 1024 * 1024,  # and the bytes that they may take
    "EVENTS_RECONCILE_INTERVAL": 1.0,  # seconds between looks at the log's head
    "EVENTS_STREAM_LIFETIME": 3600.0,  # seconds, jittered by a fifth
    "EVENTS_WRITE_TIMEOUT": 60.0,  # seconds a reader may take no bytes
    "EVENTS_MAX_STREAMS": 20_000,  # open streams of one process
    "EVENTS_MAX_STREAMS_PER_USER": 100,  # open streams of one user in one process
    "EVENTS_DRAIN_SECONDS": 5.0,  # over which a stopping process ends its streams
    "EVENTS_RETENTION_DAYS": 30,  # days an event stays in the log
    "EVENTS_SUBSCRIPTION_ATTEMPTS": 8,  # at one event, before a subscription is parked
}


def get(name: str) -> float:
    return float(getattr(settings, name, DEFAULTS[name]))
