"""Commands of the demo fleet's clients, run for real on this machine."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import asyncssh

CHUNK = 65536  # bytes


class Command(asyncssh.SSHServerProcess[bytes]):
    """One command of a client, run by /bin/sh in `directory`, in a process group of its own.

    Its task is in `running` from its start to its end.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        running: set[asyncio.Task[None]],
    ) -> None:
        super().__init__(self._run, None, 3, False)
        self._directory = directory
        self._environment = environment
        self._running = running
        self._child: asyncio.subprocess.Process | None = None
        self._early_signal = ""

    def subsystem_requested(self, subsystem: str) -> bool:
        return False

    def signal_received(self, signal: str) -> None:
        self._kill(f"SIG{signal}")

    def break_received(self, msec: int) -> bool:
        self._kill("SIGINT")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._kill("SIGKILL")

    def _kill(self, name: str) -> None:
        if self._child is None:
            self._early_signal = name
        elif number := getattr(signal, name, None):
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    async def _run(self, _: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.current_task()
        assert task
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        child = self._child = await self._start()
        if self._early_signal:
            self._kill(self._early_signal)
        feeding = asyncio.create_task(self._feed(child.stdin))
        try:
            await asyncio.gather(
                _copy(child.stdout, self.stdout), _copy(child.stderr, self.stderr), child.wait()
            )
        finally:
            feeding.cancel()
            # What the command left running in its group goes with it.
            self._kill("SIGKILL")
        self._report(await child.wait())

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "/bin/sh",
            *(["-c", self.command] if self.command else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._directory,
            env=self._environment,
            start_new_session=True,
        )

    async def _feed(self, stdin: asyncio.StreamWriter | None) -> None:
        assert stdin
        try:
            # A command may end without reading its input, a client leave without ending it.
            with suppress(OSError, asyncssh.Error):
                while data := await self.stdin.read(CHUNK):
                    stdin.write(data)
                    await stdin.drain()
        finally:
            stdin.close()

    def _report(self, status: int) -> None:
        # The client may have gone, and its channel with it.
        with suppress(OSError):
            if status < 0:
                self.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
            else:
                self.exit(status)


async def _copy(source: asyncio.StreamReader | None, sink: asyncssh.SSHWriter[bytes]) -> None:
    assert source
    with suppress(OSError, asyncssh.Error):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
