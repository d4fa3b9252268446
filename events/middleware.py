"""Gives every request an id and makes its user the actor of what it emits."""

import re
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from events import context

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def request_id(offered: str) -> str:
    """The caller's X-Request-ID where it is short and plain, else a new one."""
    return offered if _ACCEPTABLE.fullmatch(offered) else uuid.uuid4().hex


class RequestContextMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        identifier = request_id(request.headers.get("X-Request-ID", ""))
        with context.acting(lambda: getattr(request, "user", None), identifier):
            response = self.get_response(request)
        response["X-Request-ID"] = identifier
        return response
