"""The event stream over HTTP: a Channels consumer, outside Django's handler.

A Django view would hold a thread, and a channel layer member a channel, for each open stream;
this one has neither. The hub is the only receiver.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any

from channels.exceptions import StopConsumer
from channels.generic.http import AsyncHttpConsumer
from django.conf import settings

from events import access, conf, wire
from events.access import Refused
from events.catalogue import catalogue
from events.hub import Draining, Hub, TooManyStreams, get_hub
from events.parameters import StreamParameters
from events.streams import Stream

logger = logging.getLogger(__name__)

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
ABORT = "events.abort"  # key in the scope: a callable that drops the connection at once
RETRY_AFTER = 5  # seconds, jittered, after which a refused client is asked to return


class EventStreamConsumer(AsyncHttpConsumer):
    """`GET /api/v1/events/stream`, as docs/protocol.md says."""

    channel_layer_alias = ""  # resolves to no layer: no channel and no receive loop a stream

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pump: asyncio.Task[None] | None = None
        self._started = False

    async def http_request(self, message: dict[str, Any]) -> None:
        """Starts the stream as a task and returns, or no disconnect would ever be dispatched.

        A body has no meaning here, and none is waited for.
        """
        if self._pump is None:
            self._pump = asyncio.create_task(self.handle(b""))

    async def http_disconnect(self, message: dict[str, Any]) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        raise StopConsumer

    async def handle(self, body: bytes) -> None:
        try:
            await self._answer()
        except Refused as refused:
            await self._refuse(refused)
        except Exception:
            logger.exception("A stream failed")
            if not self._started:
                await self._refuse(unavailable("The stream cannot be opened now."))
            else:
                await self.send_body(b"")

    async def _answer(self) -> None:
        parameters = StreamParameters.of(self.scope)
        hub = await get_hub()
        identity = await access.aauthenticate(self.scope)
        # The cursor first: a change of rights after this position finds them read after it.
        cursor = await hub.position(parameters.last_event_id)
        try:
            stream = hub.open(cursor, identity.pk, parameters.filter)
        except Draining:
            raise unavailable("This process is about to stop.") from None
        except TooManyStreams as error:
            raise too_many(error) from error
        try:
            if not await stream.admitted():
                raise Refused(403, "This user is inactive.")
            set_ends(stream, identity)
            await self._stream(hub, stream)
        finally:
            hub.leave(stream)

    async def _stream(self, hub: Hub, stream: Stream) -> None:
        stream.abort = self._abort
        self._started = True
        await self.send_headers(status=200, headers=STREAM_HEADERS + cors_headers(self.scope))
        types = [name for name in catalogue.types if readable(name, stream)]
        chunk = wire.open_frame(stream.cursor, hub.heartbeat, types)
        while chunk:
            stream.sending()
            await self.send_body(chunk, more_body=True)
            stream.sent()
            chunk = await stream.next_chunk()
        await self.send_body(b"")

    def _abort(self) -> None:
        """A reader that takes no bytes cannot be told anything either.

        ASGI has no word for dropping a connection; `manage.py serve` offers one in the scope.
        """
        if self._pump is not None:
            self._pump.cancel()
        if ABORT in self.scope:
            self.scope[ABORT]()

    async def _refuse(self, refused: Refused) -> None:
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        encoded = [(k.encode(), v.encode()) for k, v in (headers | refused.headers).items()]
        body = wire.encode_json({"detail": refused.detail})
        length = (b"Content-Length", b"%d" % len(body))
        encoded += [length, *cors_headers(self.scope)]
        await self.send_headers(status=refused.status, headers=encoded)
        await self.send_body(body)


def readable(event_type: str, stream: Stream) -> bool:
    """Whether a stream may carry events of this type by their declared audience."""
    cohort = stream.cohort
    audience = catalogue.types[event_type].audience
    return cohort.filter.names(event_type) and not cohort.rights.isdisjoint(audience)


def set_ends(stream: Stream, identity: access.Identity) -> None:
    """Each stream ends with its token, and rotates after a jittered lifetime."""
    lifetime = conf.get("EVENTS_STREAM_LIFETIME") * random.uniform(0.8, 1.2)
    now = stream.hub.time()
    stream.end_at(now + lifetime, "lifetime")
    if identity.expires_at is not None:
        stream.end_at(now + identity.expires_at - time.time(), "token_expired")


def unavailable(detail: str) -> Refused:
    return Refused(503, detail, {"Retry-After": str(random.randint(1, RETRY_AFTER))})


def too_many(error: TooManyStreams) -> Refused:
    retry = {"Retry-After": str(random.randint(1, RETRY_AFTER))}
    if error.of_user:
        return Refused(429, "This user has too many open streams.", retry)
    return Refused(503, "This process has too many open streams.", retry)


def cors_headers(scope: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """What lets a page of an allowed other origin read the stream; its users bring a ticket."""
    origin = dict(scope["headers"]).get(b"origin", b"")
    if origin.decode("latin-1") in getattr(settings, "CORS_ALLOWED_ORIGINS", []):
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
    return []
