"""Work that many ask for at once, done for all of them together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final, Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSE: Final = 0.005  # seconds of gathering for each item of the batch before
LONGEST_PAUSE: Final = 1.0
LARGEST: Final = 2000  # items


class BatchFailed(Exception):
    """The work for a whole batch failed. The log has told why, once."""


class Batches(Generic[Item, Result]):
    """Gives each item to `work`, alone where it is quiet, in few large batches in a storm.

    One batch is at work at a time. After it the next gathers for a while in proportion to its
    size, so that the rate of batches stays bounded whatever the rate of items. `work` returns a
    result for each item, in order; where it raises, each of its items gets BatchFailed.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._work = work
        self._queue: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def result(self, item: Item) -> Result:
        """The result of the work for this item. A caller that is cancelled disturbs no other."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        if self._task is None or self._task.done():
            # A context of its own: the first caller's request is not the others'.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        try:
            return await future
        finally:
            del future  # it keeps its error, which keeps this frame

    async def _run(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[:LARGEST], self._queue[LARGEST:]
            # Who has left meanwhile needs no answer.
            batch = [(item, future) for item, future in batch if not future.done()]
            if batch:
                await self._complete(batch)
                await asyncio.sleep(min(len(batch) * PAUSE, LONGEST_PAUSE))

    async def _complete(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._work([item for item, _future in batch])
            pairs = list(zip(batch, results, strict=True))
        except Exception as error:
            logger.error("A batch of %d failed: %r", len(batch), error)
            for _item, future in batch:
                if not future.done():
                    future.set_exception(BatchFailed())
        else:
            for (_item, future), result in pairs:
                if not future.done():
                    future.set_result(result)
