"""Every event type, event map, subscriber and domain with figures, registered by the apps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.utils.module_loading import autodiscover_modules
from rest_framework import serializers

from events import columns, wire
from events.audience import EVERYONE, INTERNAL, permission_key

M = TypeVar("M", bound="type[EventMap]")
R = TypeVar("R", bound=models.Model)


class SystemEvent(models.TextChoices):
    """The base of each app's event types; it has no members of its own."""


class UnknownEventType(LookupError):
    """An event of a type that no `event_map.py` declares."""


class UnknownSubscription(LookupError):
    """A subscription that no `subscriptions.py` registers."""


@dataclass(frozen=True)
class EventType:
    """A declared type: its default audience, and the serializer its data must satisfy.

    Where one event is for fewer than the type's audience, `narrow` says for whom, by its data.
    """

    name: str
    label: str
    audience: tuple[str, ...]
    schema: type[serializers.Serializer]
    narrow: Callable[[Mapping[str, Any]], tuple[str, ...]] | None = None

    @cached_property
    def serializer(self) -> serializers.Serializer:
        """One for all data, as a list's child is: its fields cost more to make than to use."""
        return self.schema()

    def audience_of(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The default audience of the event with this data."""
        return self.audience if self.narrow is None else self.narrow(data)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A handler of events, in their public form, and the types it wants, `.*` for all below.

    With `every` it is called without an event, for all that there are at once, and once in so
    many seconds at the most; also after `stale_after` seconds without any, where that is not 0.
    """

    name: str
    types: frozenset[str]
    handle: Callable[..., None]
    every: float = 0.0
    stale_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Domain:
    """What has figures: who may read them, what computes them, and the form that they have."""

    name: str
    permission: str
    compute: Callable[[], Mapping[str, Any]]
    schema: type[serializers.Serializer]

    def figures(self) -> dict[str, Any]:
        """Those of now, as JSON-ready values."""
        return dict(self.schema(self.compute()).data)


class EventMap:
    """Which changes of a model become which events. Subclass it in `event_map.py`.

    `tracked` fields are told of in the updated event's `changes`; a change of a `masked` field is
    told of without its values. Each field in `transitions` has an event of its own with
    `old_<field>` and `new_<field>`, and is left out of `changes`.
    """

    created: SystemEvent | None = None
    updated: SystemEvent | None = None
    deleted: SystemEvent | None = None
    transitions: Mapping[str, SystemEvent] = {}
    tracked: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()

    def __init__(self, model: type[models.Model]) -> None:
        self.model = model

    def types(self) -> list[SystemEvent]:
        named = [self.created, self.updated, self.deleted, *self.transitions.values()]
        return [event_type for event_type in named if event_type is not None]

    def untouched_secrets(self, changed: Collection[str] | None) -> list[str]:
        """The masked fields that need not be read, where only these fields change (None: all)."""
        return [] if changed is None else [name for name in self.masked if name not in changed]

    @cached_property
    def watched(self) -> dict[str, str]:
        """The fields whose old values must be known when a row is saved, and their attributes."""
        fields: Iterable[Any] = map(
            self.model._meta.get_field, [*self.tracked, *self.masked, *self.transitions]
        )
        return {field.name: field.attname for field in fields}

    @cached_property
    def told(self) -> frozenset[str] | None:
        """The fields of the model that its events are made of; None where they cannot be known.

        What makes a row, a schema's own way to a value and a source that is no plain column may
        each ask the row for anything, which would be read late, and then of another moment.
        """
        names = {*self.tracked, *self.transitions}
        for event_type, given in self._made():
            if event_type is not None and event_type.value in catalogue.types:
                members = catalogue.type(event_type.value).serializer.fields
                names |= {columns.source_of(members[name]) for name in members.keys() - set(given)}
        if not columns.are_known(self.model, names):
            return None
        return frozenset(names).union(self.masked)

    def _made(self) -> Iterator[tuple[SystemEvent | None, tuple[str, ...]]]:
        """Each type with those of its data that come from comparing two rows."""
        yield self.created, ()
        yield self.deleted, ()
        yield self.updated, ("changes",)
        for name, event_type in self.transitions.items():
            yield event_type, (f"old_{name}", f"new_{name}")

    def read(self, rows: models.QuerySet[R], unread: Collection[str] = ()) -> models.QuerySet[R]:
        """The rows with what its events are made of, and without these fields."""
        if self.told is None:
            return rows.defer(*unread)
        return rows.select_related(None).only("pk", *sorted(self.told.difference(unread)))

    def foresees(self, values: Mapping[str, Any]) -> bool:
        """Whether it is known what rows will tell after an update to these values."""
        return self.told is not None and columns.are_exact(self.model, values, self.told)

    def may_tell_of(self, changed: Collection[str]) -> bool:
        """Whether a change of these fields may be an event: also what is computed of them."""
        meta = self.model._meta
        fields: list[Any] = [meta.pk if name == "pk" else meta.get_field(name) for name in changed]
        watched: list[Any] = [meta.get_field(name) for name in self.watched]
        return any(field in watched or field.primary_key for field in fields) or any(
            getattr(field, "generated", False) for field in watched
        )


@dataclass(slots=True)
class Catalogue:
    types: dict[str, EventType] = field(default_factory=dict)
    maps: dict[type[models.Model], EventMap] = field(default_factory=dict)
    subscribers: dict[str, Subscriber] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)

    def type(self, name: str) -> EventType:
        try:
            return self.types[name]
        except KeyError:
            raise UnknownEventType(f"no event type {name!r} is declared") from None

    def subscriber(self, name: str) -> Subscriber:
        try:
            return self.subscribers[name]
        except KeyError:
            raise UnknownSubscription(f"no subscription {name!r} is registered") from None

    def internal(self) -> set[str]:
        """The types that no reader ever gets."""
        return {name for name, declared in self.types.items() if INTERNAL in declared.audience}

    def permissions(self) -> set[str]:
        """The audience keys that declared types go to by default."""
        return {key for event_type in self.types.values() for key in event_type.audience}


catalogue = Catalogue()


def declare(types: Mapping[SystemEvent, type[serializers.Serializer]], *, permission: str) -> None:
    """Declares event types with the schema of their data, all readable under one permission.

    `permission` is Django's (`servers.view_server`), EVERYONE, or INTERNAL for events that no
    reader ever gets. A type's name is words in lower case, joined by dots: others no stream could
    ask for. Raises ImproperlyConfigured for such a name, and for a type that is declared already.
    """
    if permission not in (EVERYONE, INTERNAL):
        permission_key(permission)
    for member, schema in types.items():
        if not wire.is_type(member.value):
            raise ImproperlyConfigured(f"the event type {member.value!r} is not like 'a.b_c'")
        if member.value in catalogue.types:
            raise ImproperlyConfigured(f"the event type {member.value!r} is declared twice")
        catalogue.types[member.value] = EventType(
            member.value, str(member.label), (permission,), schema
        )


def register(model: type[models.Model]) -> Any:
    """Class decorator: this EventMap tells which changes of `model` become events."""

    def wrapper(event_map: M) -> M:
        if model in catalogue.maps:
            raise ImproperlyConfigured(f"{model.__name__} has an event map already")
        catalogue.maps[model] = event_map(model)
        return event_map

    return wrapper


def autodiscover() -> None:
    """Imports `event_map.py` and `subscriptions.py` of every installed app."""
    autodiscover_modules("event_map")
    autodiscover_modules("subscriptions")


@contextmanager
def scoped() -> Iterator[Catalogue]:
    """For tests: what is declared or registered inside is forgotten at the end."""
    types, maps = dict(catalogue.types), dict(catalogue.maps)
    subscribers, domains = dict(catalogue.subscribers), dict(catalogue.domains)
    try:
        yield catalogue
    finally:
        catalogue.types, catalogue.maps = types, maps
        catalogue.subscribers, catalogue.domains = subscribers, domains
