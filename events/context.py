"""Who acts, and in which request: carried beside the call, into every event and log line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


def _nobody() -> Any:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """`user` is called when an event is emitted: DRF knows a token's user only by then."""

    request_id: str = ""
    user: Callable[[], Any] = _nobody


_NOBODY = Context()
_context: ContextVar[Context] = ContextVar("events_context", default=_NOBODY)


def current() -> Context:
    return _context.get()


def actor() -> Any:
    """The authenticated user on whose behalf this code runs, or None."""
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
