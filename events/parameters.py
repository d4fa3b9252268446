"""The stream's request, checked: everything that can be refused before anyone is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from django.http.request import MediaType

from events import wire
from events.access import Refused
from events.cohorts import Filter

NAMES = {"types", "subject", "last_event_id", "ticket"}
_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?", re.ASCII)
_LONGEST = 2000  # characters of a parameter


@dataclass(frozen=True, slots=True)
class StreamParameters:
    """`last_event_id` is None where the client names none."""

    last_event_id: int | None
    filter: Filter

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> StreamParameters:
        """Raises Refused: 405 for another method, 406, or 400 which names the parameter."""
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if scope["method"] != "GET":
            raise Refused(405, f"Method {scope['method']!r} not allowed.", {"Allow": "GET"})
        if not accepts_events(headers.get("accept", b"").decode("latin-1")):
            raise Refused(406, "This resource is text/event-stream.")
        query = parse_query(scope.get("query_string", b""))
        header = headers.get("last-event-id", b"").decode("latin-1")
        return cls(
            parse_last_event_id(header or query.get("last_event_id", "")),
            Filter(parse_types(query.get("types", "")), parse_subject(query.get("subject", ""))),
        )


def accepts_events(accept: str) -> bool:
    """By RFC 9110, 12.5.1: without the header, everything is accepted."""
    if not accept.strip():
        return True
    try:
        offers = [MediaType(part) for part in accept.split(",") if part.strip()]
        return any(offer.match("text/event-stream") and offer.quality > 0 for offer in offers)
    except ValueError:  # a malformed parameter of a media type
        return False


def parse_query(raw: bytes) -> dict[str, str]:
    """The known parameters. Raises Refused for one that is unknown, repeated or not UTF-8."""
    try:
        found = parse_qs(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        raise Refused(400, "The query is malformed.") from None
    for name, values in found.items():
        if name not in NAMES:
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
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    if len(text) > _LONGEST or not all(_TYPE.fullmatch(name) for name in names):
        raise Refused(400, "types: must list event types such as server.created or server.*.")
    return names


def parse_subject(text: str) -> str:
    if text and not wire.is_subject(text):
        raise Refused(400, "subject: must be of the form app.model/key.")
    return text
