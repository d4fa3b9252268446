"""Log lines: one JSON object a record, and one record a request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from django.utils.functional import SimpleLazyObject, empty
from pythonjsonlogger.json import JsonFormatter

access_logger = logging.getLogger("opsportal.access")

# Only these: what libraries add to a record may be secret, as a request with its query string.
FIELDS: Final = (
    "time",
    "level",
    "logger",
    "request_id",
    "message",
    "user",
    "method",
    "path",
    "status",
    "duration",
    "exc_info",
    "stack_info",
)


class JSONFormatter(JsonFormatter):
    """A record as one line of JSON: those of FIELDS that it has, in their order."""

    def __init__(self) -> None:
        names = ["levelname", "name", "request_id", "message"]
        renamed = {"levelname": "level", "name": "logger"}
        super().__init__(names, rename_fields=renamed, timestamp="time")

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {name: log_data[name] for name in FIELDS if log_data.get(name) is not None}


class AccessLogMiddleware:
    """Logs each request; inside RequestContextMiddleware, so that the record has the request's id.

    Never the query string, which may hold a ticket. `duration` is in milliseconds.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        start = time.perf_counter()
        response = self.get_response(request)
        facts = {
            "method": request.method,
            "path": escape_uri_path(request.path),
            "status": response.status_code,
            "duration": round((time.perf_counter() - start) * 1000, 1),
            "user": known_user(request),
        }
        text = "%(method)s %(path)s %(status)s %(duration)s ms"
        access_logger.info(text, facts, extra=facts)
        return response


def known_user(request: HttpRequest) -> str | None:
    """The user's name, if this request has asked for it: asking now may need the database."""
    user: Any = getattr(request, "user", None)
    if isinstance(user, SimpleLazyObject) and user._wrapped is empty:
        return None
    return user.get_username() or None if user is not None else None
