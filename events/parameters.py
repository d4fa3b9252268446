"""The stream's request, checked: everything that can be refused before anyone is asked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from django.http.request import MediaType

from events import wire
from events.access import Refused
from events.cohorts import Filter

NAMES = {"types", "subject", "last_event_id", "ticket"}
_LAST_EVENT_ID = b"last-event-id"
_TICKET = re.compile(r"[\w-]{1,100}", re.ASCII)
_WEIGHT = re.compile(r"q=(0(\.\d{0,3})?|1(\.0{0,3})?)")
_LONGEST = 2000  # characters of a parameter
# Bytes of all header lines. That of the last id does not count: it is named whatever its length.
_LARGEST_HEADERS = 16 * 1024


@dataclass(frozen=True, slots=True)
class StreamParameters:
    """`last_event_id` is None, and `ticket` empty, where the client names none."""

    last_event_id: int | None
    filter: Filter
    ticket: str
    accepts_gzip: bool

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> StreamParameters:
        """Raises Refused: 431, 405 for another method, 406, or 400 which names the parameter."""
        headers = scope["headers"]
        if sum(len(n) + len(v) for n, v in headers if n != _LAST_EVENT_ID) > _LARGEST_HEADERS:
            raise Refused(431, "The headers are too large.")
        if scope["method"] != "GET":
            raise Refused(405, f"Method {scope['method']!r} not allowed.", {"Allow": "GET"})
        if not accepts_events(join_header(headers, b"accept")):
            raise Refused(406, "This resource is text/event-stream.")
        query = parse_query(scope.get("query_string", b"").decode("latin-1"), NAMES)
        header = join_header(headers, _LAST_EVENT_ID)
        return cls(
            parse_last_event_id(header or query.get("last_event_id", "")),
            Filter(parse_types(query.get("types", "")), parse_subject(query.get("subject", ""))),
            parse_ticket(query.get("ticket", "")),
            accepts_gzip(join_header(headers, b"accept-encoding")),
        )


def join_header(lines: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """By RFC 9110, 5.3, lines of one name, which is in lower case, are one list, with commas.

    So no line is passed over in silence: two of `Last-Event-ID` are no integer.
    """
    return b", ".join(value for key, value in lines if key == name).decode("latin-1")


def accepts_events(accept: str) -> bool:
    """By RFC 9110, 12.5.1: without the header, everything is accepted."""
    if not accept.strip():
        return True
    try:
        offers = (MediaType(part) for part in accept.split(",") if part.strip())
        return any(offer.match("text/event-stream") and offer.quality > 0 for offer in offers)
    except ValueError:  # a malformed parameter of a media type
        return False


def accepts_gzip(accept_encoding: str) -> bool:
    """By RFC 9110, 12.5.3; but without the header, or for a malformed part, it is not accepted."""
    weights = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameter = (piece.strip() for piece in part.partition(";"))
        weight = _WEIGHT.fullmatch(parameter) if parameter else None
        if parameter and not weight:
            continue
        weights[coding] = float(weight[1]) if weight else 1.0
    for coding in ("gzip", "x-gzip", "*"):
        if coding in weights:
            return weights[coding] > 0
    return False


def parse_query(text: str, names: Collection[str]) -> dict[str, str]:
    """The parameters. Raises Refused for one that is not of these, repeated or not UTF-8."""
    try:
        found = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise Refused(400, "The query is malformed.") from None
    for name, values in found.items():
        if name not in names:
            raise Refused(400, f"{name[:100]}: unknown parameter.")
        if len(values) > 1:
            raise Refused(400, f"{name}: given more than once.")
    return {name: values[0] for name, values in found.items()}


def parse_last_event_id(text: str) -> int | None:
    if not text:
        return None
    position = wire.parse_position(text)
    if position is None:
        raise Refused(400, "Last-Event-ID (last_event_id): must be a decimal integer.")
    return position


def parse_types(text: str) -> frozenset[str]:
    # The length first: nothing is done with a text that is refused for it.
    parts = text.split(",") if len(text) <= _LONGEST else [text]
    names = frozenset(part.strip() for part in parts if part.strip())
    if len(text) > _LONGEST or not all(wire.is_type(name.removesuffix(".*")) for name in names):
        raise Refused(400, "types: must list event types such as server.created or server.*.")
    return names


def parse_subject(text: str) -> str:
    if text and not wire.is_subject(text):
        raise Refused(400, "subject: must be of the form app.model/key.")
    return text


def parse_ticket(text: str) -> str:
    if text and not _TICKET.fullmatch(text):
        raise Refused(400, "ticket: must be as events/ticket/ gave it.")
    return text
