"""A script on a server: begun, listened to and ended over one SSH connection. No Django."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncssh

from automation import program
from automation.lines import STDERR, STDOUT
from automation.program import Program

START: Final = 20.0  # seconds in which the server's shell must answer
STOP: Final = program.GRACE + 10.0  # seconds in which it must have ended what is to end
WINDOW: Final = 262_144  # bytes that the server may send ahead of what is read here
PREAMBLE: Final = 65_536  # bytes before the shell's answer that are looked at together
QUIET: Final = (
    2.0  # seconds without output, after the script's end, until it is listened to no more
)
LINGER: Final = 10.0  # seconds after the script's end, however much is said
REASON: Final = 200  # characters of what a server says


class RemoteError(Exception):
    """The script could not be begun, or what it began not be ended; the text says why."""


@dataclass(frozen=True, slots=True)
class Group:
    """A script's processes: `kind` is `group`, or `process` where it has no group of its own."""

    pid: int
    kind: str

    def __str__(self) -> str:
        return f"process group {self.pid}" if self.kind == "group" else f"process {self.pid}"


@dataclass(frozen=True, slots=True)
class Ended:
    """What an attempt to end a script came to, as `program.stopping` describes it."""

    killed: bool
    alive: bool
    strays: list[str]


class Conversation(asyncssh.SSHClientSession[bytes]):
    """One script's channel. `receive` gets what it prints to which stream, in the order of arrival,
    once `begun` was told as what the script runs.

    What comes before the script begins is a login shell's, and dropped: it may hold anything, also
    our own words.
    """

    def __init__(
        self,
        token: str,
        receive: Callable[[str, bytes], None],
        begun: Callable[[Group], None],
    ) -> None:
        self.receive = receive
        self.begun = begun
        self.exit_status: int | None = None
        self.exit_signal = ""
        self.lost: Exception | None = None
        self.lingered = False
        self.closed = asyncio.Event()
        self._token = token.encode()
        self._answers: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self._preamble = {STDOUT: b"", STDERR: b""}
        self._begun: set[str] = set()
        self._heard_at = 0.0
        self._paused = False

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        stream = STDOUT if datatype is None else STDERR
        self._heard_at = asyncio.get_running_loop().time()
        if stream not in self._begun:
            data = self._skip_preamble(stream, data)
        if data:
            self.receive(stream, data)

    def _skip_preamble(self, stream: str, data: bytes) -> bytes:
        """What is the script's of it. The token may come in any pieces."""
        text = self._preamble[stream] + data
        while stream not in self._begun and (at := text.find(self._token + b":")) >= 0:
            line, end, rest = text[at:].partition(b"\n")
            if not end:
                break
            answer = line.split(b":")[1:]
            if stream == STDOUT:
                self._answers.put_nowait(answer)
            if answer[0] == program.BEGUN:
                self._begun.add(stream)
                if stream == STDOUT:
                    self.begun(group_of(answer))
            text = rest
        self._preamble[stream] = text[-PREAMBLE:]
        return text if stream in self._begun else b""

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status
        self._listen_a_little()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.exit_signal = signal
        self._listen_a_little()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc
        self._answers.put_nowait([])
        self.closed.set()

    def pause(self) -> None:
        """Takes no more output; the server waits, and so does the script."""
        if not self._paused and not self.closed.is_set():
            self._paused = True
            self.channel.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self.channel.resume_reading()

    @property
    def has_ended(self) -> bool:
        """Whether the script is over, though perhaps not all that it began."""
        return self.exit_status is not None or bool(self.exit_signal)

    def _listen_a_little(self) -> None:
        """Something that the script left behind may hold its output open for ever."""
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        loop.call_later(QUIET, self._stop_listening, loop.time() + LINGER)

    def _stop_listening(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        if self.closed.is_set():
            return
        if self._paused:  # it has not been heard
            until = loop.time() + LINGER
        elif loop.time() - self._heard_at >= QUIET or loop.time() > until:
            self.lingered = True
            self.channel.close()
            return
        loop.call_later(QUIET / 4, self._stop_listening, until)

    async def answer(self, hint: str) -> list[bytes]:
        """The shell's next answer. Raises RemoteError, with the hint, where none comes."""
        try:
            async with asyncio.timeout(START):
                found = await self._answers.get()
        except TimeoutError:
            raise RemoteError(f"No answer within {START:g} s: {hint}") from None
        if not found:
            raise RemoteError(f"The server ended the session: {hint}")
        return found


NO_SHELL: Final = "is the account limited to a command of its own?"
NOT_SURE: Final = "the script may have begun, or do so yet."


async def greet(
    connection: asyncssh.SSHClientConnection,
    token: str,
    receive: Callable[[str, bytes], None],
    begun: Callable[[Group], None],
) -> Conversation:
    """A shell that has answered. Nothing secret was said to it. Raises RemoteError."""
    conversation = Conversation(token, receive, begun)
    try:
        await connection.create_session(
            lambda: conversation, program.COMMAND, encoding=None, window=WINDOW
        )
    except (asyncssh.Error, OSError) as error:
        raise RemoteError(f"The server opened no session: {reason(error)}.") from error
    conversation.channel.write(program.greeting(token))
    await conversation.answer(NO_SHELL)
    return conversation


async def begin(conversation: Conversation, token: str, what: Program) -> Group:
    """Has the shell run it; returns once it has begun. Raises RemoteError."""
    try:
        conversation.channel.write(program.text(what, token))
        conversation.channel.write_eof()
    except OSError as error:
        raise RemoteError("The connection was lost before the script began.") from error
    answer = await conversation.answer(NOT_SURE)
    if answer[0] == program.UNWRITABLE:
        raise RemoteError("The server's directory for temporary files cannot be written to.")
    return group_of(answer)


def group_of(answer: list[bytes]) -> Group:
    return Group(int(answer[1]), answer[2].decode())


async def end(connection: asyncssh.SSHClientConnection, group: Group, mark: str) -> Ended:
    """Ends what was begun, over a channel of its own. Raises RemoteError."""
    token = secrets.token_hex(16)
    what = program.stopping(group.pid, group.kind, mark, token)
    try:
        async with asyncio.timeout(STOP):
            done = await connection.run(program.COMMAND, input=what, encoding=None)
    except TimeoutError:
        raise RemoteError(f"the server did not answer within {STOP:g} s") from None
    except (asyncssh.Error, OSError) as error:
        raise RemoteError(reason(error)) from error
    assert isinstance(done.stdout, bytes)
    _, found, answer = done.stdout.partition(f"{token}:left:".encode())
    if not found:
        raise RemoteError("no shell answered")
    try:
        how, state, strays = answer.decode(errors="replace").splitlines()[0].split(":")
    except (ValueError, IndexError):
        raise RemoteError("its answer was cut off") from None
    return Ended(how == "kill", state == "alive", strays.split())


def reason(error: Exception) -> str:
    """What a server gives as its reason, fit for one line."""
    text = error.reason if isinstance(error, asyncssh.Error) else str(error)
    words = " ".join(text[:REASON].split()).rstrip(".")
    return "".join(each if each.isprintable() else "?" for each in words) or type(error).__name__
