"""The ASGI application: the event stream as a Channels consumer, everything else Django's."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsportal.settings")
django_application = get_asgi_application()

from django.urls import re_path  # noqa: E402  (after the applications are loaded)

from events.consumers import EventStreamConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [
                re_path(r"^api/v1/events/stream/?$", EventStreamConsumer.as_asgi()),
                re_path(r"", django_application),  # type: ignore[arg-type]
            ]
        ),
    }
)
