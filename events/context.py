"""Who acts, and in which request: carried beside the call, into every event and log line."""

from __future__ import annotations

import logging
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

NAME_LENGTH: Final = 150  # characters that the log keeps of an actor's name


def nobody() -> Any:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """`user` is called when an event is emitted: DRF knows a token's user only by then."""

    request_id: str = ""
    user: Callable[[], Any] = nobody


def _system_user() -> str:
    """As the system knows it, whatever the environment says; a container may have no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Whoever typed a command: an actor with a name and no account."""

    command: str
    user: str = field(default_factory=_system_user)
    pk: None = None
    is_authenticated: bool = True

    def get_username(self) -> str:
        """The operating system's user and the command: `deploy (manage.py emit)`."""
        return f"{self.user} (manage.py {self.command})"[:NAME_LENGTH]


_NOBODY = Context()
_context: ContextVar[Context] = ContextVar("events_context", default=_NOBODY)


def current() -> Context:
    return _context.get()


def actor() -> Any:
    """On whose behalf this code runs: an authenticated user, a CommandLine, or None."""
    user = _context.get().user()
    return user if user is not None and user.is_authenticated else None


@contextmanager
def acting(user: Callable[[], Any], request_id: str = "") -> Iterator[None]:
    """Everything emitted inside is the doing of `user()`."""
    token = _context.set(Context(request_id, user))
    try:
        yield
    finally:
        _context.reset(token)


class RequestIDFilter(logging.Filter):
    """Gives each log record the `request_id` of the request it was made in, or "-"."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _context.get().request_id or "-"
        return True
