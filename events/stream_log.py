"""What the log lines tell of a stream's life, or why it had none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from events.streams import Stream

logger = logging.getLogger(__name__)


def refused(status: int, detail: str) -> None:
    """One line at INFO with the reason, and nothing that came with the request.

    A detail may begin with the name of a parameter, which its client chose.
    """
    logger.info("A stream was refused: %s, %s", status, detail.rpartition(": ")[2])


@contextmanager
def logged(stream: Stream) -> Iterator[None]:
    """One line for each end at INFO, with user, reason and duration; one for the start at DEBUG.

    The reason is that of `stream.closing`, or `left`, `write_timeout` or `error`.
    """
    pk, opened_at = stream.reader.pk, stream.hub.time()
    logger.debug("Stream of user %s opened after position %s", pk, stream.cursor)
    try:
        yield
    except Exception:
        stream.outcome = "error"
        raise
    finally:
        seconds = stream.hub.time() - opened_at
        logger.info("Stream of user %s ended: %s, after %.1f s", pk, stream.outcome, seconds)
