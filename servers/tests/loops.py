"""What runs in an event loop of its own thread, beside the test: servers for checks to reach."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

START_TIMEOUT = 20.0


@contextmanager
def in_thread(manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enters and leaves an asynchronous context in a loop that runs meanwhile."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="servers", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(_enter(manager), loop).result(START_TIMEOUT)
    finally:
        leaving = asyncio.run_coroutine_threadsafe(_leave(manager), loop)
        leaving.result(START_TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_TIMEOUT)
        loop.close()


async def _enter(manager: AbstractAsyncContextManager[T]) -> T:
    return await manager.__aenter__()


async def _leave(manager: AbstractAsyncContextManager[T]) -> None:
    await manager.__aexit__(None, None, None)


class SilentListener:
    """A port that takes connections and says nothing; `most` is how many there were at once."""

    def __enter__(self) -> Self:
        self.most = self.taken = 0
        self._stack = ExitStack()
        self._listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.listen(1000)
        self.port: int = self._listener.getsockname()[1]
        self._stopped, self._stop = socket.socketpair()
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, name="silent", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.close()
        self._thread.join(START_TIMEOUT)
        self._stopped.close()
        for connection in self._connections:
            connection.close()
        self._stack.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for file in (self._listener, self._stopped):
                selector.register(file, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._stopped in ready:
                    return
                # Whoever left had done so before the first of those who wait came: so first these.
                for connection in self._connections & ready:
                    self._read(selector, connection)
                if self._listener in ready:
                    self._accept(selector)

    def _read(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        try:
            is_over = not connection.recv(1000)
        except OSError:
            is_over = True
        if is_over:
            selector.unregister(connection)
            self._connections.discard(connection)
            connection.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        connection, _ = self._listener.accept()
        selector.register(connection, selectors.EVENT_READ)
        self._connections.add(connection)
        self.taken += 1
        self.most = max(self.most, len(self._connections))
