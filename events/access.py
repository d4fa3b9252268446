"""Who asks for a stream: by ticket, or by whatever authenticates REST requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from channels.db import database_sync_to_async
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.db import DataError
from django.db import Error as DatabaseTrouble
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, NotAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from events import sessions, tickets
from events.models import StreamTicket

logger = logging.getLogger(__name__)

BODY_HEADERS = {b"content-type", b"content-length"}  # no body is read, and some of them raise
INACTIVE = "This user is inactive."


class Refused(Exception):
    """An answer other than the stream: an HTTP status, a `detail` and headers."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request for a stream: its ASGI scope, and its ticket if it brings one."""

    scope: Mapping[str, Any]
    ticket: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated user. `expires_at` is when its token ends, in seconds since the epoch."""

    pk: Any
    expires_at: float | None = None


def screen(arrival: Arrival) -> None:
    """What needs no query: raises Refused 400 for a host that is not served here, and 401 for
    whoever brings no credentials at all, good or bad."""
    request = APIView().initialize_request(_request(arrival))
    try:
        request._request.get_host()
    except DisallowedHost:
        raise Refused(400, "This host is not served here.") from None
    named = "HTTP_AUTHORIZATION" in request.META or sessions.session_key(request._request)
    if not arrival.ticket and not named:
        raise _refusal(request, NotAuthenticated())


def identify(arrivals: Sequence[Arrival]) -> list[Identity | Refused]:
    """The user of each arrival that `screen` let pass, or why it is refused.

    However many they are, it takes a few queries, and one for each good ticket. What raises harms
    itself only: halves of the batch are tried until it is alone. Where it is the database that
    fails, one attempt is enough for all, and its error is raised.
    """
    try:
        return _identify(arrivals)
    except Exception as error:
        if isinstance(error, DatabaseTrouble) and not isinstance(error, DataError):
            raise
        if len(arrivals) == 1:
            logger.error("An arrival could not be identified: %r", error)
            return [Refused(503, "The stream cannot be opened now.", {"Retry-After": "5"})]
    middle = len(arrivals) // 2
    return identify(arrivals[:middle]) + identify(arrivals[middle:])


aidentify = database_sync_to_async(identify, thread_sensitive=False)


def _identify(arrivals: Sequence[Arrival]) -> list[Identity | Refused]:
    """Tickets come last: after whatever may fail, for they are spent by it."""
    view = APIView()
    requests = [
        view.initialize_request(_request(arrival)) for arrival in arrivals if not arrival.ticket
    ]
    found = _authenticate(requests, view.get_authenticators())
    by_request = iter([_settle(request, outcome) for request, outcome in found])
    by_ticket = iter(_by_tickets([arrival.ticket for arrival in arrivals if arrival.ticket]))
    return [next(by_ticket if arrival.ticket else by_request) for arrival in arrivals]


def _request(arrival: Arrival) -> ASGIRequest:
    headers = [pair for pair in arrival.scope["headers"] if pair[0] not in BODY_HEADERS]
    return ASGIRequest({**arrival.scope, "headers": headers}, BytesIO())


def _by_tickets(offered: Sequence[str]) -> list[Identity | Refused]:
    return [_of_ticket(row) for row in tickets.redeem(offered)] if offered else []


def _of_ticket(row: StreamTicket | None) -> Identity | Refused:
    if row is None:
        detail = "The ticket is not valid, was used, or has expired."
        return Refused(401, detail, {"WWW-Authenticate": "Bearer"})
    if not row.user.is_active:
        return Refused(403, INACTIVE)
    end = row.credentials_expire_at
    return Identity(row.user_id, None if end is None else end.timestamp())


def _authenticate(
    requests: list[Request], authenticators: Sequence[BaseAuthentication]
) -> list[tuple[Request, Any]]:
    """Each request with its (user, token), with the error that it met, or with None.

    An authenticator may offer `authenticate_many(requests)`, which returns a list of what
    `authenticate` returns, or raises, for each. Django takes an inactive user's session for
    nobody's; where nothing else tells who it is, its request comes with Refused.
    """
    outcomes: dict[Request, Any] = dict.fromkeys(requests)
    inactive: set[Request] = set()
    for authenticator in authenticators:
        undecided = [request for request in requests if outcomes[request] is None]
        if hasattr(authenticator, "authenticate_many"):
            found = authenticator.authenticate_many(undecided)
        else:
            inactive |= _inactive_sessions(undecided)
            found = [_attempt(authenticator, request) for request in undecided]
        outcomes |= zip(undecided, found, strict=True)
    for request in inactive:
        outcomes[request] = outcomes[request] or Refused(403, INACTIVE)
    return list(outcomes.items())


def _inactive_sessions(requests: list[Request]) -> set[Request]:
    """Reads the sessions that are not read yet; returns the requests of inactive users."""
    lacking = [request for request in requests if not hasattr(request._request, "session")]
    named = sessions.load([request._request for request in lacking])
    return {
        request
        for request, user in zip(lacking, named, strict=True)
        if user is not None and not user.is_active
    }


def _attempt(authenticator: BaseAuthentication, request: Request) -> Any:
    try:
        return authenticator.authenticate(request)
    except APIException as error:
        return error


def _settle(request: Request, outcome: Any) -> Identity | Refused:
    if isinstance(outcome, Refused):
        return outcome
    if isinstance(outcome, APIException):
        return _refusal(request, outcome)
    if outcome is None:
        return _refusal(request, NotAuthenticated())
    user, token = outcome
    return Identity(user.pk, token_expiry(token))


def _refusal(request: Request, error: APIException) -> Refused:
    detail: Any = error.detail
    code = detail.get("code") if isinstance(detail, dict) else error.get_codes()
    if code == "user_inactive":
        return Refused(403, INACTIVE)
    text = detail.get("detail") if isinstance(detail, dict) else detail
    headers = {"WWW-Authenticate": _challenge(request)} if error.status_code == 401 else {}
    return Refused(error.status_code, str(text), headers)


def _challenge(request: Request) -> str:
    """What WWW-Authenticate says: the challenge of the first way to authenticate."""
    for authenticator in request.authenticators or []:
        if isinstance(authenticator, BaseAuthentication):
            return authenticator.authenticate_header(request) or "Bearer"
    return "Bearer"


def token_expiry(token: Any) -> float | None:
    """When a JSON web token ends, in seconds since the epoch; None for anything else."""
    payload = getattr(token, "payload", None)
    expiry = payload.get("exp") if isinstance(payload, dict) else None
    return float(expiry) if expiry is not None else None
