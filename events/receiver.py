"""The hub's one channel: it joins the permission groups and hands on what they carry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from channels.layers import get_channel_layer

from events import layer, metrics
from events.audience import EVERYONE, group_name

logger = logging.getLogger(__name__)

RETRY_DELAY: Final = 0.5  # seconds before a layer that failed is tried again
TIMEOUT: Final = 2.0  # seconds until a layer that does not answer counts as failed
REJOIN_PAUSE: Final = 5.0  # seconds at least between two times of joining all groups


class Receiver:
    """Delivers messages to `take` on the loop it was started on, in the order of arrival.

    A project without a channel layer has none to receive from; its hub lives by the log alone.
    """

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self._take = take
        self._layer = get_channel_layer()
        self._channel = ""
        self._groups: set[str] = set()
        self._joined = False
        self._joined_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def start(self, keys: Iterable[str]) -> None:
        """Joins the groups of these audience keys and of everyone.

        A layer that is down, or does not answer, is tried again while the hub is at work.
        """
        self._groups = {group_name(key) for key in [EVERYONE, *keys]}
        if self._layer is None:
            return
        await self._attempt(self._join())
        self._task = asyncio.create_task(self._receive_forever())

    async def stop(self) -> None:
        tasks = [*filter(None, [self._task]), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._layer is not None and self._channel:
            await self._attempt(self._leave_all())

    def join(self, key: str) -> None:
        """Joins the group of one more audience key, in the background."""
        self._groups.add(group_name(key))
        if self._layer is not None and self._channel:
            self._in_background(self._layer.group_add(group_name(key), self._channel))

    def leave(self, key: str) -> None:
        self._groups.discard(group_name(key))
        if self._layer is not None and self._channel:
            self._in_background(self._layer.group_discard(group_name(key), self._channel))

    def rejoin(self) -> None:
        """Joins again what a layer may have forgotten: a flushed Redis, an expired membership.

        To be called when events were found in the log that the layer should have brought.
        """
        now = asyncio.get_running_loop().time()
        if self._layer is not None and now >= self._joined_at + REJOIN_PAUSE:
            self._joined_at = now
            self._in_background(self._join())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._attempt(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _attempt(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await work
        except Exception as error:
            self._failed(error)

    async def _join(self) -> None:
        assert self._layer is not None
        self._joined_at = asyncio.get_running_loop().time()
        if not self._channel:
            self._channel = await self._layer.new_channel()
        for group in list(self._groups):
            await self._layer.group_add(group, self._channel)
        self._joined = True

    async def _leave_all(self) -> None:
        assert self._layer is not None
        for group in self._groups:
            await self._layer.group_discard(group, self._channel)

    async def _receive_forever(self) -> None:
        while True:
            try:
                await self._receive()
            except Exception as error:
                self._failed(error)
                await asyncio.sleep(RETRY_DELAY)

    async def _receive(self) -> None:
        assert self._layer is not None
        if not self._joined:
            async with asyncio.timeout(TIMEOUT):
                await self._join()
        message = await self._layer.receive(self._channel)
        if message["type"] == layer.MESSAGE_TYPE:
            self._take(message)

    def _failed(self, error: Exception) -> None:
        metrics.layer_failures.add(of="receive")
        logger.warning("The channel layer failed, the log heals it: %r", error)
