"""Of identical requests at once, one computes the answer and the rest wait for it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone, translation
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from events.cursor import HEADER as CURSOR_HEADER
from events.flight import SingleFlight
from events.rights import rights_of

HEADER: Final = "X-Deduplicated"
# What is said of the data. Cookies and whatever else belongs to one request stay with the leader.
SHARED_HEADERS: Final = (
    *("Cache-Control", "Content-Language", "ETag", "Last-Modified", "Link", "Vary"),
    CURSOR_HEADER,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is shared of a response: its data before rendering, and what is said of it."""

    data: Any
    content_type: str | None
    headers: dict[str, str]
    cursor: int | None

    @classmethod
    def of(cls, response: Any, view: Any) -> Answer | None:
        if not isinstance(response, Response) or response.status_code != status.HTTP_200_OK:
            return None
        headers = {name: response[name] for name in SHARED_HEADERS if name in response}
        cursor = getattr(view, "_event_cursor", None)
        return cls(response.data, response.content_type, headers, cursor)

    def response(self, view: Any) -> Response:
        """As the view's own, but for the cursor: one read after the data would miss events."""
        if self.cursor is not None:
            view._event_cursor = self.cursor
        return Response(self.data, headers=self.headers, content_type=self.content_type)


def deduplicate(*, ttl: int, lock: int = 10, per_user: bool = False) -> Callable[[Any], Any]:
    """For a method of a REST framework view: identical GET requests at once compute one answer.

    Identical are those with the same path, query and negotiated form, of users with the same
    rights; with `per_user` only those of one user. Whatever else an answer depends on must not be
    in it, such as the host, which links would name. Other methods are none of its business. The
    view's permission checks come before, for each request; one of an object would come only for
    the one that computes, so it raises ImproperlyConfigured, but with `per_user`. Rights are the
    model permissions of Django's ModelBackend. `view.rights` then holds the audience keys
    that the answer is for: a method that looks at rights must go by these, as `has_perm` may have
    read them at another moment.

    An answer of status 200 is used again for `ttl` seconds; with 0 only by those who waited for
    it. It may be older than a request that waited, as its X-Event-Cursor says. Other answers are
    not shared; an exception is, by those who wait for it, and then forgotten. A computation that
    is not done in `lock` seconds, or whose process died, is begun anew by another request; after
    twice that, a request computes for itself. Both are whole seconds.

    The header X-Deduplicated tells `leader`, `follower` or `cached`. The view must be out of
    ATOMIC_REQUESTS, which check events.E006 asks for.
    """
    flight = SingleFlight(ttl, lock)

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        computation = f"{method.__module__}.{method.__qualname__}"

        @functools.wraps(method)
        def shared(view: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
            view.rights = rights_of([request.user.pk]).get(request.user.pk, frozenset())
            if request.method not in ("GET", "HEAD"):
                return method(view, request, *args, **kwargs)
            if not per_user:
                view.check_object_permissions = refuse_object
            own: list[Any] = []

            def compute() -> Answer | None:
                own.append(method(view, request, *args, **kwargs))
                return Answer.of(own[0], view)

            user = request.user.pk if per_user else None
            key = request_key(request, computation, view.rights, user)
            answer, role = flight.share(key, compute)
            response = own[0] if own else answer.response(view)
            response[HEADER] = role.value
            return response

        shared.deduplicated = True  # type: ignore[attr-defined]
        return shared

    return decorate


def refuse_object(request: Request, instance: Any) -> None:
    raise ImproperlyConfigured(
        "An answer that depends on the permissions for an object is not to be shared:"
        " use @deduplicate(per_user=True)."
    )


def request_key(request: Request, computation: str, rights: frozenset[str], user: Any) -> str:
    """The same for two requests whose answers are the same at one moment."""
    parts = [
        computation,  # a method that calls its parent's must not wait for itself
        request.method,
        request.path,
        sorted(request.query_params.lists()),
        request.accepted_renderer.format,
        request.accepted_media_type,
        translation.get_language(),
        timezone.get_current_timezone_name(),
        sorted(rights),
        None if user is None else str(user),
    ]
    return f"events:deduplicated:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


@checks.register(checks.Tags.urls)
def check_deduplicated_views(**_: Any) -> list[checks.CheckMessage]:
    """events.E006: in their requests' transactions, waiters hold connections, or SQLite's lock."""
    hint = (
        "Move it to a view of its own, which only reads, and decorate that with"
        ' @method_decorator(transaction.non_atomic_requests, name="dispatch").'
    )
    text = "A view with deduplicated methods must be out of ATOMIC_REQUESTS."
    bound = filter(_is_bound, _views(get_resolver().url_patterns))
    views = dict.fromkeys(view.cls for view in bound)  # in order, each once
    return [checks.Error(text, hint=hint, obj=view, id="events.E006") for view in views]


def _views(patterns: list[URLPattern | URLResolver]) -> Iterator[Any]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
        else:
            yield pattern.callback


def _is_bound(view: Any) -> bool:
    """Whether Django runs this view in a transaction, which those who wait must not hold."""
    cls = getattr(view, "cls", None)
    routed = getattr(view, "actions", None)  # of a viewset, those of this route
    names = routed.values() if routed else dir(cls)
    if not any(hasattr(getattr(cls, name, None), "deduplicated") for name in names):
        return False
    exempt: set[str] = getattr(view, "_non_atomic_requests", set())
    settings = connections.settings.items()
    return any(alias not in exempt for alias, of in settings if of["ATOMIC_REQUESTS"])
