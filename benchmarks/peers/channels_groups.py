"""A Channels consumer that joins a group for each client, as tutorials write it, on Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

import uvicorn
from asgiref.typing import ASGI3Application
from channels.generic.http import AsyncHttpConsumer
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from django.conf import settings
from django.urls import re_path

from benchmarks.peers import work

GROUP = "events"
# As before redis-py 8, whose limit of 100 connections fails consumers that join at once, and whose
# 5 s end the core layer's blocking reads of 5 s (django/channels_redis#422).
CONNECTION = {"max_connections": 2**31, "socket_timeout": None}
HEADERS = [(b"Content-Type", b"text/event-stream"), (b"Cache-Control", b"no-cache")]


class EventsConsumer(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.send_headers(headers=HEADERS)
        await self.send_body(b"event: open\ndata: {}\n\n", more_body=True)

    async def http_request(self, message: dict[str, Any]) -> None:
        # Returning from handle() ends the consumer; this one goes on and hears its group.
        await self.handle(b"")

    async def bench_event(self, message: dict[str, Any]) -> None:
        await self.send_body(message["frame"], more_body=True)

    async def disconnect(self) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)


def configure(redis_url: str) -> None:
    backend = os.environ.get("LAYER", "channels_redis.core.RedisChannelLayer")
    layer = {"BACKEND": backend, "CONFIG": {"hosts": [{"address": redis_url, **CONNECTION}]}}
    settings.configure(CHANNEL_LAYERS={"default": layer})


def serve(port: int, redis_url: str) -> None:
    configure(redis_url)
    app: ASGI3Application = URLRouter([re_path("", EventsConsumer.as_asgi())])
    uvicorn.run(app, port=port, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)


def send(port: int, redis_url: str, batches: Iterable[list[tuple[int, str]]]) -> None:
    configure(redis_url)

    async def send_all() -> None:
        layer = get_channel_layer()
        for batch in batches:
            for number, data in batch:
                message = {"type": "bench.event", "frame": work.frame(number, data)}
                await layer.group_send(GROUP, message)

    asyncio.run(send_all())


if __name__ == "__main__":
    work.main(serve, send)
