"""Server-sent events as bytes. Pure: no Django, nothing of ours.

The format is WHATWG HTML, "9.2 Server-sent events"; the frames are those of docs/protocol.md.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

RETRY_MILLISECONDS = 3000
MAXIMUM_POSITION = 2**63 - 1  # of a signed 64-bit column
SUBJECT_LENGTH = 200  # characters
_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*", re.ASCII)
_SUBJECT = re.compile(r"[\w.]+/[\w.:@-]+", re.ASCII)


def encode_json(value: Any) -> bytes:
    """One line of JSON in UTF-8, whatever the value's texts hold.

    A lone surrogate has no UTF-8 form, so a value with one is escaped to ASCII throughout.
    Raises ValueError for NaN and the infinities, which JSON does not have.
    """
    try:
        return _dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _dumps(value, ensure_ascii=True).encode()


def _dumps(value: Any, *, ensure_ascii: bool) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, allow_nan=False, separators=(",", ":"))


def format_timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds: 2026-11-23T09:00:00.123456Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> float:
    """The moment that `format_timestamp` wrote, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def event_frame(event: Mapping[str, Any]) -> bytes:
    """The frame of an event in its public form, named by its type, at its position."""
    return frame(event["type"], event, position=event["id"])


def frame(name: str, data: Any, *, position: int | None = None, retry: int | None = None) -> bytes:
    """One frame. `retry` is in milliseconds; `name` must not hold a line break."""
    lines = []
    if retry is not None:
        lines.append(b"retry: %d\n" % retry)
    if position is not None:
        lines.append(b"id: %d\n" % position)
    return b"%bevent: %b\ndata: %b\n\n" % (b"".join(lines), name.encode(), encode_json(data))


def parse_event(frame: bytes) -> dict[str, Any]:
    """The event that `event_frame` made this frame of."""
    parsed: dict[str, Any] = json.loads(frame[frame.index(b"\ndata: ") + 7 :])
    return parsed


def count_frames(chunk: bytes) -> int:
    """How many whole frames these are: a blank line ends each, and none holds one."""
    return chunk.count(b"\n\n")


def open_frame(cursor: int, heartbeat: float, types: Iterable[str]) -> bytes:
    """The first frame of a stream: where it starts, and what it may carry."""
    seconds = int(heartbeat) if heartbeat == int(heartbeat) else heartbeat
    data = {"cursor": cursor, "heartbeat": seconds, "types": sorted(types)}
    return frame("stream.open", data, position=cursor, retry=RETRY_MILLISECONDS)


def heartbeat_frame(cursor: int) -> bytes:
    return frame("heartbeat", {"cursor": cursor}, position=cursor)


def reset_frame(reason: str, cursor: int) -> bytes:
    return frame("stream.reset", {"reason": reason, "cursor": cursor}, position=cursor)


def closing_frame(reason: str, retry: int | None = None) -> bytes:
    return frame("stream.closing", {"reason": reason}, retry=retry)


def http_chunk(body: bytes) -> bytes:
    """These bytes in HTTP/1.1's chunked coding (RFC 9112, 7.1), in which none would be the end."""
    assert body
    return b"%x\r\n%b\r\n" % (len(body), body)


def is_type(text: str) -> bool:
    """Whether the text can name an event type: words in lower case, joined by dots."""
    return _TYPE.fullmatch(text) is not None


def is_subject(text: str) -> bool:
    """Whether the text is of the form `app.model/key`."""
    return len(text) <= SUBJECT_LENGTH and _SUBJECT.fullmatch(text) is not None


def parse_position(text: str) -> int | None:
    """A position as a client sends it: ASCII decimal digits, or None where it is none.

    A number beyond every position the log can hold is the largest one, so that it is answered
    as unknown and never reaches the database.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text.lstrip("0")) > len(str(MAXIMUM_POSITION)):
        return MAXIMUM_POSITION
    return min(int(text[-19:]), MAXIMUM_POSITION)
