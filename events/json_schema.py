"""What an event's data looks like, as JSON Schema: made of the serializer that checks it.

The dialect is 2020-12, https://json-schema.org/draft/2020-12/schema. It describes what is sent, not
what a field would take: a decimal is a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rest_framework import serializers

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_of(serializer: type[serializers.Serializer]) -> dict[str, Any]:
    """The schema of what this serializer gives out, as a JSON-ready object."""
    return {"$schema": DIALECT, **body_of(serializer)}


def body_of(serializer: type[serializers.Serializer]) -> dict[str, Any]:
    """The same, to be part of another schema."""
    return _field(serializer())


def _field(field: Any) -> dict[str, Any]:
    """A kind of field that is not known may hold anything, unless it describes itself."""
    if hasattr(field, "json_schema"):
        own: dict[str, Any] = field.json_schema()
        return own
    describe = next((made for kind, made in _KINDS if isinstance(field, kind)), _anything)
    schema = describe(field)
    may_be_null = field.allow_null or field.default is None
    return _nullable(schema) if may_be_null else schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        return schema | {"enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]} if "type" in schema else schema


def _anything(_: Any) -> dict[str, Any]:
    return {}


def _plain(json_type: str, **keywords: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda _: {"type": json_type, **keywords}


def _text(field: Any) -> dict[str, Any]:
    shortest = field.min_length or (0 if field.allow_blank else 1)
    return {"type": "string"} | _limits(minLength=shortest or None, maxLength=field.max_length)


def _number(json_type: str) -> Callable[[Any], dict[str, Any]]:
    def describe(field: Any) -> dict[str, Any]:
        limits = _limits(minimum=field.min_value, maximum=field.max_value)
        return {"type": json_type} | limits

    return describe


def _choice(field: Any) -> dict[str, Any]:
    return {"enum": [*field.choices, *([""] if field.allow_blank else [])]}


def _list(field: Any) -> dict[str, Any]:
    """Of a field, or of a serializer with many=True."""
    fewest = field.min_length or (0 if field.allow_empty else 1)
    limits = _limits(minItems=fewest or None, maxItems=field.max_length)
    return {"type": "array", "items": _field(field.child)} | limits


def _dictionary(field: Any) -> dict[str, Any]:
    fewest = None if field.allow_empty else 1
    values = {"additionalProperties": _field(field.child)}
    return {"type": "object"} | values | _limits(minProperties=fewest)


def _object(serializer: Any) -> dict[str, Any]:
    sent = {name: field for name, field in serializer.fields.items() if not field.write_only}
    return {
        "type": "object",
        "properties": {name: _field(field) for name, field in sent.items()},
        "required": [name for name, field in sent.items() if field.required],
        "additionalProperties": False,
    }


def _limits(**keywords: Any) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if value is not None}


# A field is of the first kind that it is an instance of.
_KINDS: Final[tuple[tuple[type[Any], Callable[[Any], dict[str, Any]]], ...]] = (
    (serializers.Serializer, _object),
    (serializers.ListSerializer, _list),
    (serializers.ListField, _list),
    (serializers.DictField, _dictionary),
    (serializers.MultipleChoiceField, _anything),
    (serializers.ChoiceField, _choice),
    (serializers.CharField, _text),
    (serializers.BooleanField, _plain("boolean")),
    (serializers.IntegerField, _number("integer")),
    (serializers.FloatField, _number("number")),
    (serializers.DecimalField, _plain("string", format="decimal")),
    (serializers.DateTimeField, _plain("string", format="date-time")),
    (serializers.DateField, _plain("string", format="date")),
)
