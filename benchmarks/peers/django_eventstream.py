"""django-eventstream's view on uvicorn, its events over Redis, and with STORAGE=1 kept in SQLite.

Without its storage it drops what a stream that is more than 10 events behind has not been sent.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import django
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import call_command

from benchmarks.peers import work

CHANNEL = "bench"


def configure(redis_url: str) -> None:
    parts = urlsplit(redis_url)
    storage = {"EVENTSTREAM_STORAGE_CLASS": "django_eventstream.storage.DjangoModelStorage"}
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(tempfile.gettempdir()) / "events.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
        },
    }
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django_eventstream"],
        DATABASES={"default": database},
        EVENTSTREAM_REDIS={"host": parts.hostname, "port": parts.port, "db": 0},
        USE_TZ=True,
        **(storage if "STORAGE" in os.environ else {}),
    )
    django.setup()
    import django_eventstream.urls
    from django.urls import include, path

    urls = path("events", include(django_eventstream.urls), {"channels": [CHANNEL]})
    sys.modules[__name__].urlpatterns = [urls]  # type: ignore[attr-defined]


def serve(port: int, redis_url: str) -> None:
    configure(redis_url)
    call_command("migrate", verbosity=0)
    uvicorn.run(
        get_asgi_application(),
        port=port,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )


def send(port: int, redis_url: str, batches: Iterable[list[tuple[int, str]]]) -> None:
    configure(redis_url)
    from django_eventstream import send_event

    for batch in batches:
        for _, data in batch:
            send_event(CHANNEL, "server.status_changed", json.loads(data))


if __name__ == "__main__":
    work.main(serve, send)
