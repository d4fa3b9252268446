"""What is answered to a request that raised: 503 where it may soon be done, else 500."""

from __future__ import annotations

import random
import sqlite3
import sys
from typing import Final

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from psycopg_pool import PoolTimeout

# With serialization_failure and deadlock_detected, PostgreSQL ends one of two transactions that
# cannot both be done (https://www.postgresql.org/docs/current/errcodes-appendix.html).
GAVE_WAY: Final = frozenset({"40001", "40P01"})
PRIMARY: Final = 0xFF  # of SQLite's result codes, whose upper bits say more of the kind
RETRY_AFTER: Final = 5  # seconds at the most, jittered: those who were refused come back one by one


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500: for whatever was raised, in a view or around it; Django logs it.

    REST framework's handler comes too early for what the database does: transactions begin, end
    and are waited for outside of it.
    """
    detail = way_out(sys.exc_info()[1])
    status = 503 if detail else 500
    if request.path_info.startswith("/api/"):
        detail = detail or "The portal could not answer. The error has been logged."
        response: HttpResponse = JsonResponse({"detail": detail}, status=status)
    else:
        page = render_to_string(f"{status}.html", {"detail": detail})
        response = HttpResponse(page, status=status)
    if status == 503:
        response["Retry-After"] = str(random.randint(1, RETRY_AFTER))
    return response


def way_out(error: BaseException | None) -> str:
    """What to tell of an error that the same request may not meet the next time; "" of others."""
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    if isinstance(cause, PoolTimeout):
        return "The database cannot be reached, or has too much to do. Try it again."
    if getattr(cause, "sqlite_errorcode", 0) & PRIMARY == sqlite3.SQLITE_BUSY:
        return "Others were writing all the time. Try it again."
    if getattr(cause, "sqlstate", None) in GAVE_WAY:
        return "Others were writing the same at that moment. Try it again."
    return ""
