"""Declarations that would lose events, as numbered system checks."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core import checks

from events.catalogue import catalogue
from events.models import EmittingModel
from events.querysets import EventQuerySet
from events.subscriptions import matches


def check_event_maps(**_: Any) -> list[checks.CheckMessage]:
    """events.E001, E002: what a map names must be declared, and its model must emit whole."""
    errors: list[checks.CheckMessage] = []
    for model, event_map in catalogue.maps.items():
        if not issubclass(model, EmittingModel):
            hint = "Derive the model from events.api.EmittingModel."
            text = "A mapped model's rows and events must be written in one transaction."
            errors.append(checks.Error(text, hint=hint, obj=model, id="events.E001"))
        for event_type in event_map.types():
            if event_type.value not in catalogue.types:
                text = f"The event map names {event_type.value!r}, which is not declared."
                errors.append(checks.Error(text, obj=model, id="events.E002"))
    return errors


def check_proxies(**_: Any) -> list[checks.CheckMessage]:
    """events.W002: Django's signals name the proxy as sender, which no map listens to."""
    hint = "Save through the model itself, or register a map for the proxy."
    return [
        checks.Warning("Changes through this proxy emit no events.", hint, model, "events.W002")
        for model in apps.get_models()
        if model._meta.proxy
        and model._meta.concrete_model in catalogue.maps
        and model not in catalogue.maps
    ]


def check_subscriptions(**_: Any) -> list[checks.CheckMessage]:
    """events.E003: what a subscription names must be declared, or nothing would ever reach it."""
    return [
        checks.Error(
            f"The subscription {subscriber.name!r} names {name!r}, which no declared type matches.",
            hint="Internal types must be named exactly.",
            obj=subscriber.handle,
            id="events.E003",
        )
        for subscriber in catalogue.subscribers.values()
        for name in sorted(subscriber.types)
        if not any(matches([name], event_type) for event_type in catalogue.types)
    ]


def check_querysets(**_: Any) -> list[checks.CheckMessage]:
    """events.E004: Django sends no signals for bulk changes; only EventQuerySet tells of them."""
    hint = "Make it from events.api.EventQuerySet, with from_queryset()."
    return [
        checks.Error(
            f"Bulk changes through the manager {manager.name!r} would emit no events.",
            hint=hint,
            obj=model,
            id="events.E004",
        )
        for model in catalogue.maps
        for manager in {model._base_manager, *model._meta.managers}
        if not isinstance(manager.get_queryset(), EventQuerySet)
    ]
