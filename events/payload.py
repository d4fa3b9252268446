"""An event's data: what its type's schema declares, and nothing else."""

from collections.abc import Mapping
from typing import Any

from django.db import models
from rest_framework import serializers

from events.catalogue import EventType
from events.wire import encode_json


class InvalidEventData(ValueError):
    """Data that does not satisfy its event type's schema. `errors` is DRF's, by field."""

    def __init__(self, event_type: str, errors: Any) -> None:
        super().__init__(f"{event_type}: {errors}")
        self.errors = errors


def validated(event_type: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` as JSON-ready values. Raises InvalidEventData, also for an undeclared field."""
    if not isinstance(data, Mapping):
        raise InvalidEventData(event_type.name, {"data": ["This must be an object."]})
    serializer = event_type.serializer
    if unknown := [name for name in data if name not in serializer.fields]:
        errors = {name: ["This field is not declared."] for name in sorted(unknown)}
        raise InvalidEventData(event_type.name, errors)
    try:
        result = serializer.to_representation(serializer.run_validation(data))
    except serializers.ValidationError as error:
        raise InvalidEventData(event_type.name, error.detail) from error
    try:
        encode_json(result)
    except (ValueError, RecursionError) as error:
        raise InvalidEventData(event_type.name, {"data": [f"Not JSON: {error}"]}) from error
    return dict(result)


def represent(
    event_type: EventType, instance: models.Model, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The declared fields, from `extra` where it has them and else from the instance."""
    data: dict[str, Any] = {}
    for name, field in event_type.serializer.fields.items():
        data[name] = extra[name] if name in extra else _read(field, instance)
    return data


def _read(field: serializers.Field, instance: models.Model) -> Any:
    value = field.get_attribute(instance)
    return None if value is None else field.to_representation(value)
