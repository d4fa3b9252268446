"""One run under way: its targets, so many at a time, each logged in to and told what to do."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import secrets
import signal
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar

import asyncssh
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from automation import claims, masking, records, remote
from automation.claims import ClaimLost
from automation.models import Run, Target
from automation.models.run import FAILURES
from automation.program import Program
from automation.recorder import Batch, Recorder
from automation.remote import Conversation, Group, RemoteError
from servers import checks, maintenance, ssh
from servers.encryption import DecryptionError
from servers.models import Server

logger = logging.getLogger(__name__)

T = TypeVar("T")
Status = Target.Status
InThread = Callable[..., Awaitable[Any]]

RETRY: Final = 1.0  # seconds until a database that failed is tried again
OURS: Final = "The portal failed, see the worker's log."
PATIENCE: Final = 3.0  # seconds in which a channel closes whose script was ended


class Cause(Enum):
    """Why a run is stopped, and what that makes of its targets."""

    CANCELLED = "cancelled"
    DRAINED = "the worker was stopped"
    BROKEN = "the portal failed"
    LOST = "the worker lost the run"


class Stopped(Exception):
    """The run is to end, before this target's script has begun."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a target ended."""

    status: str
    exit_code: int | None = None
    exit_signal: str = ""
    error: str = ""


class Execution:
    """`in_thread(function, *arguments)` is for what asks the database."""

    def __init__(self, run: Run, in_thread: InThread) -> None:
        assert run.claim is not None
        self.run = run
        self._claim = run.claim
        self.cause: Cause | None = None
        self._in_thread = in_thread
        self._stopping = asyncio.Event()
        self._failures = 0
        self._keys = ssh.Keys()

    def stop(self, cause: Cause) -> None:
        """Ends what runs, and begins no more. Being lost takes the place of all other causes."""
        if self.cause is None or cause is Cause.LOST:
            self.cause = cause
        self._stopping.set()

    def heed(self, held: Mapping[uuid.UUID, datetime | None]) -> None:
        """Stops where somebody cancelled it, or it is not ours any more: `claims.pulse` tells."""
        if self._claim not in held:
            self.stop(Cause.LOST)
        elif held[self._claim] is not None:
            self.stop(Cause.CANCELLED)

    async def is_over(self) -> bool:
        """To be asked before anything begins: a cancel may be younger than the runner's look."""
        look = functools.partial(claims.pulse, [self._claim], beat=False)
        with suppress(ClaimLost):
            self.heed(await self.ask(look))
        return self._stopping.is_set()

    async def execute(self) -> None:
        """All of the run. Whatever fails is written down, as long as the run is ours."""
        try:
            await self._execute()
        except ClaimLost:
            logger.warning("Run %s is not ours any more", self.run.pk)
        except Exception:
            logger.exception("Run %s failed for a reason of ours", self.run.pk)
            await self._finish(OURS)

    async def _execute(self) -> None:
        hidden = await self._read_secrets()
        if hidden is None:
            return
        self._recorder = Recorder(self._write, settings.AUTOMATION_LOG_LIMIT, hidden)
        recording = asyncio.create_task(self._recorder.run())
        attending = asyncio.create_task(self._attend_all())
        # Where nothing can be written any more, nothing is to run any more.
        await asyncio.wait({recording, attending}, return_when=asyncio.FIRST_COMPLETED)
        if not attending.done():
            lost = isinstance(recording.exception(), ClaimLost)
            self.stop(Cause.LOST if lost else Cause.BROKEN)
        await asyncio.wait({attending})
        self._recorder.end()
        await recording
        attending.result()
        drained = self.cause is Cause.DRAINED
        await self._finish("The worker was stopped." if drained else "")

    async def _read_secrets(self) -> list[bytes] | None:
        """What is to be masked; None where the run ends here, as they cannot be read."""
        try:
            self._secrets: dict[str, str] = json.loads(self.run.secrets or "{}")
        except DecryptionError as error:
            await self._finish(f"The secrets cannot be read: {error}.")
            return None
        return masking.patterns(self._secrets.values())

    async def _finish(self, error: str) -> None:
        left = Status.CANCELLED if self.cause is Cause.CANCELLED else Status.SKIPPED
        try:
            await self._persist(records.finish, left, error)
        except ClaimLost:
            logger.warning("Run %s was over before it was finished", self.run.pk)

    async def _write(self, batch: Batch) -> None:
        await self._persist(records.write, batch)

    async def _persist(self, function: Callable[..., None], *arguments: Any) -> None:
        """Under our claim. Raises ClaimLost."""
        await self.ask(function, self.run.pk, self.run.claim, *arguments)

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """The database, as often as it takes. Raises ClaimLost where the run is known as lost."""
        while self.cause is not Cause.LOST:
            try:
                answer: T = await self._in_thread(function, *arguments)
                return answer
            except (InterfaceError, OperationalError) as error:
                logger.warning("Run %s waits for the database: %s", self.run.pk, error)
                await asyncio.sleep(RETRY)
        raise ClaimLost

    async def _attend_all(self) -> None:
        targets = iter(await self.ask(_targets_of, self.run))
        async with asyncio.TaskGroup() as group:
            for _ in range(self.run.concurrency):
                group.create_task(self._attend_some(targets))

    async def _attend_some(self, targets: Iterator[Target]) -> None:
        """One after the other; others take from the same ones."""
        for target in targets:
            if self._has_failed_enough() or await self.is_over():
                return
            await self._attend(target)

    def _has_failed_enough(self) -> bool:
        most = self.run.max_failures
        return most is not None and self._failures >= most

    async def _attend(self, target: Target) -> None:
        position, record = target.position, self._recorder
        record.change(position, status=Status.RUNNING, started_at=timezone.now())
        try:
            ending = await self._log_in_and_run(target)
        except (Stopped, ClaimLost):
            ending = self._stopped("Stopped before the script began.")
        except Exception:
            logger.exception("Run %s failed on %s", self.run.pk, target.name)
            ending = Ending(Status.FAILED, error=OURS)
        if ending.status in FAILURES:
            self._failures += 1
        record.close(position)
        record.remark(_describe(ending), position)
        record.change(
            position,
            status=ending.status,
            exit_code=ending.exit_code,
            exit_signal=ending.exit_signal,
            error=ending.error,
            finished_at=timezone.now(),
        )

    async def _log_in_and_run(self, target: Target) -> Ending:
        async with AsyncExitStack() as stack:
            try:
                key = target.server_id or 0  # which no server has
                login = functools.partial(checks.login, key, force=self.run.forced)
                way_in = await self.ask(login)
                connecting = stack.enter_async_context(self._login(way_in))
                connection = await self._unless_stopped(connecting)
            except Server.DoesNotExist:
                return Ending(Status.UNREACHABLE, error="The server is gone from the inventory.")
            except maintenance.InMaintenance as error:
                return Ending(Status.SKIPPED, error=f"{error}.")
            except ssh.CheckError as error:
                return Ending(Status.UNREACHABLE, error=str(error))
            return await _Script(self, target, way_in, connection).run()

    def _login(self, way_in: ssh.Target) -> Any:
        return ssh.login(way_in, timeout=settings.SERVERS_TEST_TIMEOUT, keys=self._keys)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """What it returns. Raises Stopped, once it is cancelled, where the run ends first."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            stopping.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _stopped(self, error: str) -> Ending:
        if self.cause is Cause.CANCELLED:
            return Ending(Status.CANCELLED, error=error)
        said = "The worker was stopped." if self.cause is Cause.DRAINED else OURS
        return Ending(Status.FAILED, error=f"{said} {error}")


def _targets_of(run: Run) -> list[Target]:
    return list(run.targets.all())


class _Script:
    """A target's script, on a connection that is logged in."""

    def __init__(
        self,
        execution: Execution,
        target: Target,
        way_in: ssh.Target,
        connection: asyncssh.SSHClientConnection,
    ) -> None:
        self._execution = execution
        self._target = target
        self._way_in = way_in
        self._connection = connection
        self._mark = secrets.token_hex(16)

    async def run(self) -> Ending:
        token = secrets.token_hex(16)
        record, position = self._execution._recorder, self._target.position
        receive = functools.partial(record.output, position)
        try:
            greeting = remote.greet(self._connection, token, receive, self._begun)
            conversation = await self._execution._unless_stopped(greeting)
            if await self._execution.is_over():
                raise Stopped
            try:
                group = await remote.begin(conversation, token, self._program())
                record.listen_to(conversation)  # not before: paused, it would not hear the answer
                return await self._attend(conversation, group)
            finally:
                record.leave(conversation)
        except RemoteError as error:
            return Ending(Status.FAILED, error=str(error))

    def _begun(self, group: Group) -> None:
        self._remark(f"{self._execution.run.interpreter} begins as {group}.")

    def _program(self) -> Program:
        run = self._execution.run
        given = dict(run.values) | self._execution._secrets
        variables = {
            f"PARAM_{one['name'].upper()}": str(given.get(one["name"], ""))
            for one in run.parameters
        }
        variables |= {"RUN_ID": str(run.pk), "SERVER_NAME": self._target.name}
        return Program(run.interpreter, run.script, variables, self._mark)

    def _remark(self, text: str) -> None:
        self._execution._recorder.remark(text, self._target.position)

    async def _attend(self, conversation: Conversation, group: Group) -> Ending:
        timeout = self._execution.run.timeout
        try:
            async with asyncio.timeout(timeout):
                await self._execution._unless_stopped(conversation.closed.wait())
        except TimeoutError:
            if not conversation.has_ended:
                said = await self._end(conversation, group)
                return Ending(Status.TIMED_OUT, error=f"Timed out after {timeout} s. {said}")
        except Stopped:
            if not conversation.has_ended:
                return self._execution._stopped(await self._end(conversation, group))
        await self._hear_out(conversation)
        return self._ending(conversation, group)

    async def _hear_out(self, conversation: Conversation) -> None:
        """What the script printed before its end may still be on its way."""
        self._execution._recorder.leave(conversation)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await conversation.closed.wait()

    def _ending(self, conversation: Conversation, group: Group) -> Ending:
        code, killed_by = conversation.exit_status, conversation.exit_signal
        if conversation.lingered:
            self._remark(
                "The script has ended, but something that it began still holds its output open."
                " What that prints is not logged."
            )
        if code is None and not killed_by:
            left = f"{_capital(group)} on {self._target.name} may still run."
            return Ending(Status.FAILED, error=f"The connection was lost. {left}")
        killed_by = killed_by or _signal_of(code)
        status = Status.SUCCEEDED if code == 0 and not killed_by else Status.FAILED
        return Ending(status, code, killed_by)

    async def _end(self, conversation: Conversation, group: Group) -> str:
        """Ends the script and what it began; returns what came of it, also of what could not be."""
        try:
            ended = await self._end_somehow(group)
        except (RemoteError, ssh.CheckError) as error:
            said = f"{_capital(group)} on {self._target.name} may still run: {error}"
            said = said.rstrip(".") + "."
        else:
            said = self._said(ended, group)
        self._execution._recorder.leave(conversation)  # or it could not close
        try:
            async with asyncio.timeout(PATIENCE):
                await conversation.closed.wait()
        except TimeoutError:
            conversation.channel.close()
        return said

    async def _end_somehow(self, group: Group) -> remote.Ended:
        """Over the same connection, or, where that is gone or takes no more, over another one."""
        try:
            return await remote.end(self._connection, group, self._mark)
        except RemoteError:
            async with self._execution._login(self._way_in) as connection:
                return await remote.end(connection, group, self._mark)

    def _said(self, ended: remote.Ended, group: Group) -> str:
        where = self._target.name
        if ended.alive:
            said = f"{_capital(group)} on {where} may still run: it did not end at SIGKILL."
        else:
            said = f"{_capital(group)} on {where} was ended{' by SIGKILL' * ended.killed}."
        if ended.strays:
            said += f" Began groups of their own, and still run: {', '.join(ended.strays)}."
        return said


def _capital(group: Group) -> str:
    return str(group).capitalize()


def _signal_of(code: int | None) -> str:
    """A shell says so how its command was killed."""
    try:
        return signal.Signals((code or 0) - 128).name.removeprefix("SIG")
    except ValueError:
        return ""


def _describe(ending: Ending) -> str:
    """For the log; what was said at the end is there already."""
    if ending.exit_signal:
        return f"Ended by SIG{ending.exit_signal}."
    if ending.exit_code is not None:
        return f"Exit code {ending.exit_code}."
    return ending.error
