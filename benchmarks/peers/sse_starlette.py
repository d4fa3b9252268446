"""sse-starlette with a queue for each client, on uvicorn, fed from Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import redis
import redis.asyncio
import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from benchmarks.peers import work

CHANNEL = "bench"
queues: set[asyncio.Queue[tuple[str, str]]] = set()


async def events(request: Request) -> EventSourceResponse:
    queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def stream() -> AsyncIterator[ServerSentEvent]:
        queues.add(queue)
        try:
            yield ServerSentEvent("{}", event="open")
            while True:
                number, data = await queue.get()
                yield ServerSentEvent(data, event="server.status_changed", id=number, sep="\n")
        finally:
            queues.discard(queue)

    return EventSourceResponse(stream(), sep="\n")


async def feed(redis_url: str) -> None:
    subscription = redis.asyncio.Redis.from_url(redis_url).pubsub(ignore_subscribe_messages=True)
    await subscription.subscribe(CHANNEL)
    async for message in subscription.listen():
        number, _, data = message["data"].decode().partition(" ")
        for queue in queues:
            queue.put_nowait((number, data))


def serve(port: int, redis_url: str) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        feeding = asyncio.create_task(feed(redis_url))
        yield
        feeding.cancel()

    app = Starlette(routes=[Route("/events", events)], lifespan=lifespan)
    uvicorn.run(app, port=port, log_level="warning", timeout_graceful_shutdown=1)


def send(redis_url: str, batches: Iterable[list[tuple[int, str]]]) -> None:
    client = redis.Redis.from_url(redis_url)
    for batch in batches:
        with client.pipeline(transaction=False) as pipeline:
            for number, data in batch:
                pipeline.publish(CHANNEL, f"{number + 1} {data}")
            pipeline.execute()


if __name__ == "__main__":
    work.main(serve, send)
