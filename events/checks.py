"""Misconfigurations that would lose events, as numbered system checks."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks

from events.catalogue import catalogue
from events.models import EmittingModel


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


def check_atomic_requests(**_: Any) -> list[checks.CheckMessage]:
    """events.W001: in autocommit a request that fails half-way leaves half of its events."""
    if settings.DATABASES["default"].get("ATOMIC_REQUESTS"):
        return []
    text = "DATABASES['default']['ATOMIC_REQUESTS'] is off."
    hint = "A request that fails half-way would leave half of its changes and events."
    return [checks.Warning(text, hint=hint, id="events.W001")]


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
