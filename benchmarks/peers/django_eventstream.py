"""django-eventstream's view on uvicorn, its events over Redis."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from urllib.parse import urlsplit

import django
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application

from benchmarks.peers import work

CHANNEL = "bench"


def configure(redis_url: str) -> None:
    parts = urlsplit(redis_url)
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django_eventstream"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        EVENTSTREAM_REDIS={"host": parts.hostname, "port": parts.port, "db": 0},
        USE_TZ=True,
    )
    sys.modules[__name__] = sys.modules["__main__"]
    django.setup()
    import django_eventstream.urls
    from django.urls import include, path

    urls = path("events", include(django_eventstream.urls), {"channels": [CHANNEL]})
    sys.modules[__name__].urlpatterns = [urls]  # type: ignore[attr-defined]


def serve(port: int, redis_url: str) -> None:
    configure(redis_url)
    uvicorn.run(
        get_asgi_application(),
        port=port,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )


def send(redis_url: str, batches: Iterable[list[tuple[int, str]]]) -> None:
    configure(redis_url)
    from django_eventstream import send_event

    for batch in batches:
        for _, data in batch:
            send_event(CHANNEL, "server.status_changed", json.loads(data))


if __name__ == "__main__":
    work.main(serve, send)
