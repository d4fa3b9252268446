"""The event stream over HTTP: a Channels consumer, outside Django's handler.

A Django view would hold a thread, and a channel layer member a channel, for each open stream;
this one has neither. The hub is the only receiver.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from channels.generic.http import AsyncHttpConsumer
from django.conf import settings

from events import compression, conf, metrics, stream_log, wire
from events.access import Arrival, Identity, Refused, aidentify, screen
from events.batches import Batches, BatchFailed
from events.catalogue import catalogue
from events.context import acting, current, nobody
from events.hub import Draining, Hub, TooManyStreams, get_hub
from events.middleware import request_id
from events.parameters import StreamParameters
from events.streams import Stream

logger = logging.getLogger(__name__)

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
VARY = (b"vary", b"accept-encoding")
GZIP = (b"content-encoding", b"gzip")
CONNECTION = "events.connection"  # key in the scope of a Connection
RETRY_AFTER = 5  # seconds, jittered, after which a refused client is asked to return


class Connection(Protocol):
    """What ASGI has no word for, and `manage.py serve` offers in the scope."""

    async def write(self, chunk: bytes) -> None:
        """Writes bytes that are in the chunked coding already, as they are.

        Many connections can then hold the same bytes for clients that are slow to take them. Like
        ASGI's `send()` it first waits until what was written before has been taken.
        """

    def drop(self) -> None:
        """Resets the connection at once, whatever the client has not taken."""


class EventStreamConsumer(AsyncHttpConsumer):
    """`GET /api/v1/events/stream`, as docs/protocol.md says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pump: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._begun = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Streams in a task of its own, while this one waits for the client to go.

        Without Channels' dispatch, which would hold a third task and its waiting for each stream,
        and without a channel: only the hub receives.
        A body has no meaning here, and none is waited for.
        """
        self.scope, self.base_send = scope, send
        self._connection = scope.pop(CONNECTION, None)  # what is made of the scope may live on
        self._pump = self._start()
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None  # it keeps why it ended, and the frames of that keep this object

    def _start(self) -> asyncio.Task[None]:
        offered = dict(self.scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        with acting(nobody, request_id(offered)):  # which the task takes with it
            return asyncio.create_task(self.handle(b""))

    async def handle(self, body: bytes) -> None:
        try:
            stream, gzip = await self._open()
            try:
                await self._stream(stream, gzip)
            finally:
                stream.hub.leave(stream)
        except Refused as refused:
            await self._refuse(refused)
        except Exception:
            logger.exception("A stream failed")
            if not self._begun:
                await self._refuse(unavailable("The stream cannot be opened now."))
            else:
                await self.send_body(b"")

    async def _open(self) -> tuple[Stream, bool]:
        """The stream, which the hub must be told to leave, and whether it is to be compressed."""
        parameters = StreamParameters.of(self.scope)
        hub = await get_hub()
        try:
            identity, cursor = await self._admit(hub, parameters)
            ends = ends_of(identity, hub.time())
            stream = hub.open(cursor, identity.pk, parameters.filter)
        except Draining:
            raise unavailable("This process is about to stop.") from None
        except BatchFailed:
            raise unavailable("The stream cannot be opened now.") from None
        except TooManyStreams as error:
            raise too_many(error) from error
        for moment, reason in ends:
            stream.end_at(moment, reason)
        return stream, parameters.accepts_gzip and hub.compress

    async def _admit(self, hub: Hub, parameters: StreamParameters) -> tuple[Identity, int]:
        """Who it is, and where the stream starts. Credentials that end meanwhile are asked again.

        The cursor is fixed before the rights are read: a change after it finds them read after it.
        """
        arrival = Arrival(self.scope, parameters.ticket)
        screen(arrival)
        with hub.reserve():
            while True:
                endings = hub.endings
                identity = await identities().result(arrival)
                if isinstance(identity, Refused):  # raised here it would keep itself, by its frames
                    raise Refused(identity.status, identity.detail, identity.headers)
                cursor = await hub.position(parameters.last_event_id)
                if not hub.has_ended(identity.pk, since=endings):
                    return identity, cursor

    async def _stream(self, stream: Stream, gzip: bool) -> None:
        """What is held here and above is held once for each open stream."""
        if not await stream.admitted():
            raise not_begun(stream)
        with stream_log.logged(stream):
            await self._begin(stream, gzip)
            while chunk := await stream.next_chunk():
                await self._write(stream, stream.hub.chunks.deflated(chunk) if gzip else chunk)
            await self.send_body(b"")

    async def _begin(self, stream: Stream, gzip: bool) -> None:
        hub, stream.abort, self._begun = stream.hub, self._abort, True
        headers = [*STREAM_HEADERS, request_id_header(), *cors_headers(self.scope)]
        if hub.compress:
            headers.append(VARY)
        if gzip:
            headers.append(GZIP)
        await self.send_headers(status=200, headers=headers)
        if self._connection is not None:  # to ours these are of no more use, and it holds them on
            self.scope["headers"].clear()
        types = [name for name in catalogue.types if readable(name, stream)]
        frame = wire.open_frame(stream.cursor, hub.heartbeat, types)
        await self._write(
            stream, compression.HEADER + hub.chunks.deflated(frame) if gzip else frame
        )

    async def _write(self, stream: Stream, body: bytes) -> None:
        stream.sending()
        if self._connection is None:
            await self.send_body(body, more_body=True)
        else:
            await self._connection.write(stream.hub.chunks.http_chunk(body))
        stream.sent(len(body))

    def _abort(self) -> None:
        """A reader that takes no bytes cannot be told anything either."""
        if self._pump is not None:
            self._pump.cancel()
        if self._connection is not None:
            self._connection.drop()

    async def _refuse(self, refused: Refused) -> None:
        metrics.refused.add(of=str(refused.status))
        stream_log.refused(refused.status, refused.detail)
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        encoded = [(k.encode(), v.encode()) for k, v in (headers | refused.headers).items()]
        body = wire.encode_json({"detail": refused.detail})
        length = (b"Content-Length", b"%d" % len(body))
        encoded += [length, request_id_header(), *cors_headers(self.scope)]
        await self.send_headers(status=refused.status, headers=encoded)
        await self.send_body(body)


_identities: WeakKeyDictionary[asyncio.AbstractEventLoop, Batches[Arrival, Identity | Refused]] = (
    WeakKeyDictionary()
)


def identities() -> Batches[Arrival, Identity | Refused]:
    """The running loop's: of a storm of arrivals, all are identified together."""
    loop = asyncio.get_running_loop()
    if loop not in _identities:
        _identities[loop] = Batches(aidentify)
    return _identities[loop]


def readable(event_type: str, stream: Stream) -> bool:
    """Whether a stream may carry events of this type by their declared audience."""
    cohort = stream.cohort
    audience = catalogue.types[event_type].audience
    return cohort.filter.names(event_type) and not cohort.rights.isdisjoint(audience)


def ends_of(identity: Identity, now: float) -> list[tuple[float, str]]:
    """When and why a stream ends: it rotates after a jittered lifetime, and ends with its token.

    `now` and the moments are of the loop's clock.
    """
    lifetime = conf.get("EVENTS_STREAM_LIFETIME") * random.uniform(0.8, 1.2)
    ends = [(now + lifetime, "lifetime")]
    if identity.expires_at is not None:
        ends.append((now + identity.expires_at - time.time(), "token_expired"))
    return ends


def not_begun(stream: Stream) -> Refused:
    """Why a stream that is closing before it has begun is refused."""
    if stream.reader.is_current and stream.reader.rights is None:
        return Refused(403, "This user is inactive.")
    if stream.closing in ("access_revoked", "token_expired"):
        detail = "These credentials are good no more."
        return Refused(401, detail, {"WWW-Authenticate": "Bearer"})
    return unavailable("The stream cannot be opened now.")


def unavailable(detail: str) -> Refused:
    return Refused(503, detail, {"Retry-After": str(random.randint(1, RETRY_AFTER))})


def too_many(error: TooManyStreams) -> Refused:
    retry = {"Retry-After": str(random.randint(1, RETRY_AFTER))}
    if error.of_user:
        return Refused(429, "This user has too many open streams.", retry)
    return Refused(503, "This process has too many open streams.", retry)


def request_id_header() -> tuple[bytes, bytes]:
    """The id under which the log lines of this request are found."""
    return b"x-request-id", current().request_id.encode()


def cors_headers(scope: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """What lets a page of an allowed other origin read the stream; its users bring a ticket."""
    origin = dict(scope["headers"]).get(b"origin", b"")
    if origin.decode("latin-1") in getattr(settings, "CORS_ALLOWED_ORIGINS", []):
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
    return []
