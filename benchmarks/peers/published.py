"""The writer of those peers that take events from a Redis channel: `NUMBER EVENT`."""

from __future__ import annotations

from collections.abc import Iterable

import redis

CHANNEL = "bench"


def send(port: int, redis_url: str, batches: Iterable[list[tuple[int, str]]]) -> None:
    client = redis.Redis.from_url(redis_url)
    for batch in batches:
        with client.pipeline(transaction=False) as pipeline:
            for number, data in batch:
                pipeline.publish(CHANNEL, f"{number + 1} {data}")
            pipeline.execute()
