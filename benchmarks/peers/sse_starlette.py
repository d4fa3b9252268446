"""sse-starlette with a queue for each client, as its example of broadcasting, fed from Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from benchmarks.peers import work
from benchmarks.peers.published import CHANNEL, send

queues: set[asyncio.Queue[ServerSentEvent]] = set()


async def events(request: Request) -> EventSourceResponse:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue()

    async def stream() -> AsyncIterator[ServerSentEvent]:
        queues.add(queue)
        try:
            yield ServerSentEvent("{}", event="open", sep="\n")
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    return EventSourceResponse(stream(), sep="\n")


async def feed(redis_url: str) -> None:
    subscription = redis.asyncio.Redis.from_url(redis_url).pubsub(ignore_subscribe_messages=True)
    await subscription.subscribe(CHANNEL)
    async for message in subscription.listen():
        number, _, data = message["data"].decode().partition(" ")
        event = ServerSentEvent(data, event="server.status_changed", id=number, sep="\n")
        for queue in queues:
            queue.put_nowait(event)


def serve(port: int, redis_url: str) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        feeding = asyncio.create_task(feed(redis_url))
        yield
        feeding.cancel()

    app = Starlette(routes=[Route("/events", events)], lifespan=lifespan)
    uvicorn.run(app, port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    work.main(serve, send)
