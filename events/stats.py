"""Domains in figures: for whoever asks over REST, and pushed to all by `stats.updated`.

A domain's figures are computed once a second for the whole cluster at the most, however many pages
show them, and told of only where they are others than the last ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from rest_framework import serializers

from events.audience import permission_key
from events.bus import emit
from events.catalogue import Domain, EventType, SystemEvent, catalogue
from events.json_schema import body_of
from events.models import Figures
from events.subscriptions import matches, summarize, wanted

EVERY: Final = 1.0  # seconds between two computations at the least
STALE_AFTER: Final = 60.0  # seconds: some figures change with the time, or silently


class StatsEvent(SystemEvent):
    UPDATED = "stats.updated", "Figures of a domain changed"


class FiguresField(serializers.DictField):
    """Figures of any domain."""

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [body_of(domain.schema) for domain in catalogue.domains.values()]}


class StatsData(serializers.Serializer):
    """Figures in the form of their domain."""

    stats = FiguresField()

    def get_fields(self) -> dict[str, Any]:
        domain = serializers.ChoiceField(choices=list(catalogue.domains))
        return {"domain": domain} | super().get_fields()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        figures = catalogue.domains[attrs["domain"]].schema(data=attrs["stats"])
        if unknown := sorted(set(attrs["stats"]) - set(figures.fields)):
            errors = {name: ["This field is not declared."] for name in unknown}
            raise serializers.ValidationError({"stats": errors})
        if not figures.is_valid():
            raise serializers.ValidationError({"stats": figures.errors})
        return attrs | {"stats": figures.data}


def publish_stats(
    domain: str,
    compute: Callable[[], Mapping[str, Any]],
    schema: type[serializers.Serializer],
    *,
    types: str | Iterable[str],
    permission: str,
) -> None:
    """Gives a domain figures; to be called in its app's `subscriptions.py`.

    `compute()` returns them in the form of `schema`, and `types` are the events after which they
    may be others. Both `dashboard/stats/` and `stats.updated` then have them under the domain's
    name, for whoever has the permission, such as `servers.view_server`.

    Raises ImproperlyConfigured for a domain that has figures already, and for types that
    `stats.updated` is among; ValueError for a permission that is none.
    """
    if domain in catalogue.domains:
        raise ImproperlyConfigured(f"the domain {domain!r} has figures already")
    if matches(wanted(types), StatsEvent.UPDATED.value):
        raise ImproperlyConfigured(f"the figures of {domain!r} would be told of for ever")
    catalogue.domains[domain] = Domain(domain, permission_key(permission), compute, schema)
    _declare()
    tell = partial(tell_of, domain)
    summarize(types, every=EVERY, stale_after=STALE_AFTER, name=f"stats.{domain}")(tell)


def _declare() -> None:
    """Declares `stats.updated` anew: with each domain, a further permission opens some of them."""
    permissions = dict.fromkeys(domain.permission for domain in catalogue.domains.values())
    name, label = StatsEvent.UPDATED.value, str(StatsEvent.UPDATED.label)
    catalogue.types[name] = EventType(name, label, tuple(permissions), StatsData, audience_of)


def audience_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    return (catalogue.domains[data["domain"]].permission,)


def tell_of(name: str) -> None:
    """Emits the figures of a domain, unless they are the last ones. In one transaction."""
    stats = catalogue.domains[name].figures()
    told = Figures.objects.filter(domain=name).first() or Figures(domain=name)
    if told.stats != stats:
        emit(StatsEvent.UPDATED, {"domain": name, "stats": stats})
        told.stats = stats
        told.save()
