"""Answers 503 where the database could not serve a request now, and may well serve it soon."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Callable
from typing import Final

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from psycopg_pool import PoolTimeout

logger = logging.getLogger(__name__)

# With serialization_failure and deadlock_detected, PostgreSQL ends one of two transactions that
# cannot both be done (https://www.postgresql.org/docs/current/errcodes-appendix.html).
GAVE_WAY: Final = frozenset({"40001", "40P01"})
RETRY_AFTER: Final = 5  # seconds at the most, jittered: those who were refused come back one by one


class OverloadMiddleware:
    """Django and REST framework answer 500, after which no client tries again by itself.

    REST framework's own handler would be too late: ATOMIC_REQUESTS asks for the connection before
    it, and pages meet these errors as well.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        detail = passing(error)
        if not detail:
            return None
        logger.warning("A request is to be tried again: %s", error)
        headers = {"Retry-After": str(random.randint(1, RETRY_AFTER))}
        if request.path_info.startswith("/api/"):
            return JsonResponse({"detail": detail}, status=503, headers=headers)
        page = render_to_string("503.html", {"detail": detail})
        return HttpResponse(page, status=503, headers=headers)


def passing(error: Exception) -> str:
    """What to tell of an error that the same request may not meet the next time; "" of others."""
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    if isinstance(cause, PoolTimeout):
        return "The database cannot be reached, or has too much to do. Try it again."
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return "Others were writing all the time. Try it again."
    if getattr(cause, "sqlstate", None) in GAVE_WAY:
        return "Others were writing the same at that moment. Try it again."
    return ""
