"""A thread for reading the log from a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import Error, connection

T = TypeVar("T")


class LogThread:
    """One thread with one database connection, kept between calls and dropped after an error."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work()`, which may use the ORM. Raises what it raises."""

        def attempt() -> T:
            try:
                return work()
            except Error:
                connection.close()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._executor, attempt)

    async def stop(self) -> None:
        # The connection is this thread's own: no other may close it.
        await self.run(lambda: connection.close())
        self._executor.shutdown(wait=False)
