"""Publishing: validate once, append to the log in the caller's transaction, ring the relay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from events import context, log, metrics, payload, wire
from events.audience import audience
from events.catalogue import catalogue
from events.models import Event
from events.relay import relay


class InvalidSubject(ValueError):
    """A subject that is not of the form `app.model/key`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it is validated. The fields are the arguments of `emit`."""

    type: str
    data: Mapping[str, Any]
    permissions: Sequence[str] | None = None
    users: Sequence[Any] = ()
    subject: str = ""


def emit(
    type: str,
    data: Mapping[str, Any],
    *,
    permissions: Sequence[str] | None = None,
    users: Sequence[Any] = (),
    subject: str = "",
) -> Event:
    """Appends one event; it is delivered when, and only if, the transaction commits.

    `permissions` is any-of. Omitted, the type's declared permission holds, or, where `users` are
    given, only those users read it; an empty list, spelled out, is everyone. `subject` is what
    the event is about, as `servers.server/42`.

    Raises UnknownEventType, InvalidEventData, InvalidSubject, or ValueError for a malformed
    permission. Never fails because delivery does.
    """
    return emit_many([Draft(type, data, permissions, users, subject)])[0]


async def aemit(
    type: str,
    data: Mapping[str, Any],
    *,
    permissions: Sequence[str] | None = None,
    users: Sequence[Any] = (),
    subject: str = "",
) -> Event:
    """`emit` for coroutines."""
    return await sync_to_async(emit)(
        type, data, permissions=permissions, users=users, subject=subject
    )


def emit_many(drafts: Iterable[Draft]) -> list[Event]:
    """Appends all of them in one statement, in order, or none. Raises what `emit` raises."""
    return append([prepare(draft) for draft in drafts])


def prepare(draft: Draft) -> Event:
    """The event, valid and not yet in the log. Raises what `emit` raises."""
    event_type = catalogue.type(draft.type)
    actor = context.actor()
    data = payload.validated(event_type, draft.data)
    return Event(  # type: ignore[misc]
        type=event_type.name,
        subject=_subject(draft.subject),
        audience=audience(event_type.audience_of(data), draft.permissions, draft.users),
        data=data,
        actor_id=actor.pk if actor else None,
        actor_username=actor.get_username() if actor else "",
        request_id=context.current().request_id,
        timestamp=timezone.now(),
    )


def append(events: list[Event]) -> list[Event]:
    """Appends prepared events in the caller's transaction, and rings the relay on its commit.

    Without a savepoint: a change whose event cannot be appended must not be committed either.
    """
    if events:
        with transaction.atomic(savepoint=False):
            log.append(events)
            transaction.on_commit(relay.ring, robust=True)
            transaction.on_commit(lambda: metrics.appended.add(len(events)), robust=True)
    return events


def _subject(subject: str) -> str:
    if subject and not wire.is_subject(subject):
        raise InvalidSubject(f"{subject[:100]!r} is not a subject such as 'app.model/key'")
    return subject
