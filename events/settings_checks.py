"""Settings under which events are lost, late or nobody's, as numbered system checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks

MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
CORE_LAYER = "channels_redis.core.RedisChannelLayer"
GZIP = "django.middleware.gzip.GZipMiddleware"
CONTEXT = "events.middleware.RequestContextMiddleware"


def check_atomic_requests(**_: Any) -> list[checks.CheckMessage]:
    """events.W001: in autocommit a request that fails half-way leaves half of its events."""
    if settings.DATABASES["default"].get("ATOMIC_REQUESTS"):
        return []
    text = "DATABASES['default']['ATOMIC_REQUESTS'] is off."
    hint = "A request that fails half-way would leave half of its changes and events."
    return [checks.Warning(text, hint=hint, id="events.W001")]


def check_channel_layer(**_: Any) -> list[checks.CheckMessage]:
    """events.W003, W004: what the layer does not carry is read from the log, a second late."""
    backend = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND")
    if backend in (None, MEMORY_LAYER) and not _is_sqlite():
        text = "No channel layer joins the processes on this database."
        hint = (
            "With more than one process, the others' events come up to a second late."
            " Use channels_redis.pubsub.RedisPubSubChannelLayer, in OpsPortal by REDIS_URL."
        )
        return [checks.Warning(text, hint=hint, id="events.W003")]
    if backend == CORE_LAYER:
        text = "The channel layer drops messages over its capacity, and members over their expiry."
        hint = "Use channels_redis.pubsub.RedisPubSubChannelLayer."
        return [checks.Warning(text, hint=hint, id="events.W004")]
    return []


def check_middleware(**_: Any) -> list[checks.CheckMessage]:
    """events.W005, W006."""
    found: list[checks.CheckMessage] = []
    if GZIP in settings.MIDDLEWARE:
        text = "GZipMiddleware buffers streamed answers, and lets secrets be guessed (BREACH)."
        hint = "Leave compression to the proxy, without text/event-stream."
        found.append(checks.Warning(text, hint=hint, id="events.W005"))
    if CONTEXT not in settings.MIDDLEWARE:
        text = f"{CONTEXT} is not in MIDDLEWARE."
        hint = "Without it, events have neither actor nor request id."
        found.append(checks.Warning(text, hint=hint, id="events.W006"))
    return found


def check_sqlite(**_: Any) -> list[checks.CheckMessage]:
    """events.W007, W008: with two writers, "database is locked"."""
    if not _is_sqlite():
        return []
    found: list[checks.CheckMessage] = []
    database = settings.DATABASES["default"]
    options = database.get("OPTIONS", {})
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        text = "SQLite's transactions take their lock at the first write, where waiting is no use."
        hint = "Set OPTIONS['transaction_mode'] to 'IMMEDIATE'."
        found.append(checks.Warning(text, hint=hint, id="events.W007"))
    sets_wal = re.search(r"journal_mode\s*=\s*['\"]?wal", options.get("init_command", ""), re.I)
    if not sets_wal and not _has_wal(Path(database["NAME"])):
        text = "SQLite's journal is not in WAL mode: writers and readers block each other."
        hint = "Set OPTIONS['init_command'] to 'PRAGMA journal_mode=WAL;'."
        found.append(checks.Warning(text, hint=hint, id="events.W008"))
    return found


def check_eager_tasks(**_: Any) -> list[checks.CheckMessage]:
    """events.W009."""
    if not getattr(settings, "CELERY_TASK_ALWAYS_EAGER", False):
        return []
    text = "CELERY_TASK_ALWAYS_EAGER is on."
    hint = "Tasks would run in the request that asks for them, and fail or wait with it."
    return [checks.Warning(text, hint=hint, id="events.W009")]


def check_time_zones(**_: Any) -> list[checks.CheckMessage]:
    """events.E005."""
    if settings.USE_TZ:
        return []
    text = "USE_TZ is off."
    hint = "An event's timestamp must be a moment, not an hour of some clock."
    return [checks.Error(text, hint=hint, id="events.E005")]


def _is_sqlite() -> bool:
    return "sqlite" in str(settings.DATABASES["default"]["ENGINE"])


def _has_wal(path: Path) -> bool:
    """By the file's header, without a connection.

    https://www.sqlite.org/fileformat.html, section 1.3.3
    """
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == b"\2\2"
    except OSError:
        return False


CHECKS = (
    check_atomic_requests,
    check_channel_layer,
    check_middleware,
    check_sqlite,
    check_eager_tasks,
    check_time_zones,
)
