"""Server-side readers of the log: which handler wants which events."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q, QuerySet

from events import log
from events.catalogue import Subscriber, catalogue
from events.cohorts import Filter
from events.log import Record
from events.models import Event, Subscription

Handler = TypeVar("Handler", bound=Callable[[dict[str, Any]], None])
Summary = TypeVar("Summary", bound=Callable[[], None])

NAME_LENGTH: Final = 200  # characters, as its row holds


def subscribe(types: str | Iterable[str], *, name: str = "") -> Callable[[Handler], Handler]:
    """Function decorator: `handler(event)` is called with each event of these types, in order.

    `event` is the public form (docs/protocol.md, "Events"). A type ending in `.*` stands for all
    below that name but for internal ones, which must be named exactly. The handler runs in a
    worker, in one transaction with the subscription's cursor: what it writes to the database
    happens once for each event, anything else once or more. An exception rolls back, is tried
    again, and holds later events up.

    `name` is the durable identity, `module.qualname` by default: one that is changed begins anew,
    at the log's head. A handler of more types than before takes a new name, or the workers of
    before are stopped first: they move the cursor over events of the new types.

    Raises ImproperlyConfigured for a name that is taken or too long, for no types, and for a
    coroutine function.
    """

    def register_each(handler: Handler) -> Handler:
        register(Subscriber(name or identity_of(handler), wanted(types), handler))
        return handler

    return register_each


def summarize(
    types: str | Iterable[str], *, every: float = 1.0, stale_after: float = 0.0, name: str = ""
) -> Callable[[Summary], Summary]:
    """Function decorator: `handler()` is called for all new events of these types at once.

    As `subscribe`, but that it is called without an event, and in the whole cluster once in
    `every` seconds at the most, however many events there are: at once for the first one after a
    pause, and for those that come meanwhile when the time is over. What is committed when it is
    called is counted as handled, so it must look at the state, and not at events.

    With `stale_after` it is also called when so many seconds have gone by without any event, or up
    to 15 more: for what changes with the time, or silently.
    """

    def register_all(handler: Summary) -> Summary:
        identity = name or identity_of(handler)
        register(Subscriber(identity, wanted(types), handler, every, stale_after))
        return handler

    return register_all


def wanted(types: str | Iterable[str]) -> frozenset[str]:
    return frozenset([types] if isinstance(types, str) else types)


def identity_of(handler: Callable[..., None]) -> str:
    return f"{handler.__module__}.{handler.__qualname__}"


def register(subscriber: Subscriber) -> None:
    """Raises ImproperlyConfigured, as `subscribe` says."""
    _check(subscriber.name, subscriber.types, subscriber.handle)
    catalogue.subscribers[subscriber.name] = subscriber


def _check(name: str, types: frozenset[str], handler: Callable[..., Any]) -> None:
    if name in catalogue.subscribers:
        raise ImproperlyConfigured(f"the subscription {name!r} is registered twice")
    if len(name) > NAME_LENGTH:
        raise ImproperlyConfigured(f"the subscription {name!r} needs a shorter name")
    if not types:
        raise ImproperlyConfigured(f"the subscription {name!r} names no event types")
    if inspect.iscoroutinefunction(handler):
        raise ImproperlyConfigured(f"the subscription {name!r} must not be a coroutine function")


def add_missing_rows() -> None:
    """Gives each registered subscription that has no row one at the log's head of now."""
    missing = set(catalogue.subscribers) - set(Subscription.objects.values_list("name", flat=True))
    if missing:
        cursor = log.head().position
        rows = [Subscription(name=name, cursor=cursor) for name in sorted(missing)]
        Subscription.objects.bulk_create(rows, ignore_conflicts=True)


def matches(wanted: Collection[str], event_type: str) -> bool:
    """Whether a type is one of those wanted, or below one and not internal."""
    below = Filter(frozenset(wanted)).names(event_type) and event_type not in catalogue.internal()
    return event_type in wanted or below


def wanted_after(subscriber: Subscriber, position: int) -> QuerySet[Event]:
    """The placed events after a position that match what a subscriber wants, in order.

    By prefix and not by what is declared here: to a process of an older release, types that it
    does not know are wanted all the same, if they are below a name that it knows.
    """
    wanted = log.of_types(subscriber.types)
    unwanted = Q(type__in=catalogue.internal() - subscriber.types)
    return Event.objects.filter(wanted, ~unwanted, position__gt=position).order_by("position")


def first_wanted(records: Iterable[Record]) -> dict[str, int]:
    """The lowest position of what each subscription wants among the records, by its name."""
    lowest: dict[str, int] = {}
    for record in records:
        lowest.setdefault(record.event["type"], record.position)
    found: dict[str, int] = {}
    for name, subscriber in catalogue.subscribers.items():
        for event_type, position in lowest.items():
            if matches(subscriber.types, event_type):
                found[name] = min(position, found.get(name, position))
    return found
