"""Who opens a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from channels.db import database_sync_to_async
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.views import APIView


class Refused(Exception):
    """An answer other than the stream: an HTTP status, a `detail` and headers."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated user. `expires_at` is when its token ends, in seconds since the epoch."""

    pk: Any
    expires_at: float | None = None


def _nothing(_: Any) -> HttpResponse:
    return HttpResponse()


def authenticate(scope: Mapping[str, Any]) -> Identity:
    """The user, by the authentication classes of REST framework's settings.

    Raises Refused: 400 for a host that is not served, 401, or 403 for an inactive user.
    """
    http_request = ASGIRequest(dict(scope), BytesIO())
    SessionMiddleware(_nothing).process_request(http_request)
    AuthenticationMiddleware(_nothing).process_request(http_request)
    request: Request = APIView().initialize_request(http_request)
    try:
        http_request.get_host()
        user = request.user
    except DisallowedHost:
        raise Refused(400, "This host is not served here.") from None
    except exceptions.AuthenticationFailed as error:
        raise _refusal(request, error) from error
    if not user.is_authenticated:
        raise _anonymous(request)
    return Identity(user.pk, _expiry(request.auth))


aauthenticate = database_sync_to_async(authenticate, thread_sensitive=False)


def _refusal(request: Request, error: exceptions.AuthenticationFailed) -> Refused:
    detail: Any = error.detail
    code = detail.get("code") if isinstance(detail, dict) else error.get_codes()
    if code == "user_inactive":
        return Refused(403, "This user is inactive.")
    text = detail.get("detail") if isinstance(detail, dict) else detail
    return Refused(401, str(text), {"WWW-Authenticate": _challenge(request)})


def _anonymous(request: Request) -> Refused:
    """403 where the session's user exists but is inactive, whom Django takes for anonymous."""
    session_user = request._request.session.get(SESSION_KEY)
    if session_user is not None:
        users = get_user_model()._default_manager
        if users.filter(pk=session_user, is_active=False).exists():
            return Refused(403, "This user is inactive.")
    detail = "Authentication credentials were not provided."
    return Refused(401, detail, {"WWW-Authenticate": _challenge(request)})


def _challenge(request: Request) -> str:
    """What WWW-Authenticate says: the challenge of the first way to authenticate."""
    for authenticator in request.authenticators or []:
        if isinstance(authenticator, BaseAuthentication):
            return authenticator.authenticate_header(request) or "Bearer"
    return "Bearer"


def _expiry(token: Any) -> float | None:
    payload = getattr(token, "payload", None)
    expiry = payload.get("exp") if isinstance(payload, dict) else None
    return float(expiry) if expiry is not None else None
