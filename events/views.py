"""The event log over REST: reading it in pages, publishing, and the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from django.db import transaction
from django.utils.cache import patch_vary_headers
from django.utils.decorators import method_decorator
from django.utils.http import parse_etags
from rest_framework import exceptions, status
from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events import cursor, history, log, publishing, tickets
from events.access import Refused, token_expiry
from events.audience import INTERNAL, user_key
from events.catalogue import catalogue
from events.json_schema import schema_of
from events.log import Head
from events.question import Question
from events.rights import rights_of

LARGEST_LIST: Final = 1000  # events that one request may publish


class MayPublish(BasePermission):
    """Publishing needs a permission of its own; what may be read is decided event by event."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.method in SAFE_METHODS or request.user.has_perm("events.emit_event")


# Positions are given after the commit, so none can be answered from within a transaction; and no
# reader should hold SQLite's one lock for writing.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class EventView(APIView):
    """For whoever is authenticated. Refused is answered as REST framework's own errors are."""

    permission_classes: Sequence[type[BasePermission]] = (IsAuthenticated,)

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, Refused):
            error = exceptions.APIException(exc.detail)
            error.status_code = exc.status
            return super().handle_exception(error)
        return super().handle_exception(exc)


class EventsView(EventView):
    """`/api/v1/events/`, as docs/protocol.md says."""

    permission_classes = (IsAuthenticated, MayPublish)

    def get(self, request: Request) -> Response:
        asked = Question.of(request.META.get("QUERY_STRING", ""))
        head = log.head()  # first: see history.page; nor may an answer be older than its tag
        keys = readable_keys(request.user)
        tag = entity_tag(asked, keys, head, request.accepted_media_type)
        if is_known(tag, request):
            response = Response(status=status.HTTP_304_NOT_MODIFIED)
        else:
            page = history.page(asked, keys, head)
            response = Response({name: getattr(page, name) for name in page.__slots__})
        response["ETag"] = tag
        response["Cache-Control"] = "private, no-cache"
        response[cursor.HEADER] = str(head.position)
        patch_vary_headers(response, ["Authorization", "Cookie"])
        return response

    def post(self, request: Request) -> Response:
        items = request.data
        if not isinstance(items, list):
            with explained():
                event = publishing.parse(items)
            return Response(publishing.publish([event])[0], status=status.HTTP_201_CREATED)
        if not 1 <= len(items) <= LARGEST_LIST:
            raise Refused(400, f"A list must hold 1 to {LARGEST_LIST} events.")
        with explained():
            events = publishing.parse_all(items)
        return Response(publishing.publish(events), status=status.HTTP_201_CREATED)


class EventTypesView(EventView):
    """`/api/v1/events/types/`: the declared types, but for those that never leave."""

    def get(self, request: Request) -> Response:
        types = sorted(catalogue.types.values(), key=lambda event_type: event_type.name)
        return Response(
            [
                {
                    "type": event_type.name,
                    "description": event_type.label,
                    "permission": "|".join(event_type.audience),
                    "schema": schema_of(event_type.schema),
                }
                for event_type in types
                if INTERNAL not in event_type.audience
            ]
        )


class TicketView(EventView):
    """`/api/v1/events/ticket/`: opens one stream, for a client without header and cookie."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.issued_after = log.head().position  # of before this authenticates
        super().initial(request, *args, **kwargs)

    def post(self, request: Request) -> Response:
        if request.data:
            raise Refused(400, "A ticket is asked for with an empty body.")
        expiry = token_expiry(request.auth)
        end = None if expiry is None else datetime.fromtimestamp(expiry, UTC)
        try:
            ticket = tickets.issue(request.user, self.issued_after, end)
        except tickets.TooManyTickets as error:
            detail = "This user has too many tickets."
            raise exceptions.Throttled(tickets.LIFETIME, detail) from error
        answer = {"ticket": ticket, "expires_in": tickets.LIFETIME}
        return Response(answer, headers={"Cache-Control": "no-store"})


def readable_keys(user: Any) -> frozenset[str]:
    """The audience keys that this user holds now. Raises PermissionDenied where access is gone."""
    rights = rights_of([user.pk]).get(user.pk)
    if rights is None:
        raise exceptions.PermissionDenied("This user is inactive.")
    return rights | {user_key(user)}


def entity_tag(asked: Question, keys: frozenset[str], head: Head, media_type: str) -> str:
    """A strong validator, RFC 9110, 8.8.1, of the answer; the same in every process."""
    wanted = (asked.after, asked.before, asked.limit, asked.filter.subject, asked.actor)
    names = sorted(asked.filter.types)
    made_of = (head.position, head.floor, wanted, names, sorted(keys), media_type)
    return f'"{hashlib.sha256(repr(made_of).encode()).hexdigest()[:32]}"'


def is_known(tag: str, request: Request) -> bool:
    """Whether the client has what this tag stands for, by RFC 9110, 13.1.2.

    The comparison is weak: a proxy that compresses answers weakens their tags.
    """
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or tag in {name.removeprefix("W/") for name in known}


@contextmanager
def explained() -> Iterator[None]:
    """Gives the errors of input the form of all errors: a `detail`, and `errors` beside it."""
    try:
        yield
    except exceptions.ValidationError as error:
        detail = {"detail": "The input is not valid.", "errors": error.detail}
        raise exceptions.ValidationError(detail) from error
