"""The catalogue: what each type's data holds, said so that a program can check it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import CharField
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from model_bakery import baker, generators
from rest_framework import serializers
from rest_framework.test import APIClient

from events import payload
from events.audience import INTERNAL
from events.catalogue import EventType, catalogue
from events.json_schema import DIALECT, schema_of
from events.models import Event
from events.tests.polling import EVENTS, client_of

pytestmark = pytest.mark.django_db

TYPES = f"{EVENTS}types/"
DELIVERED = sorted(name for name, kind in catalogue.types.items() if INTERNAL not in kind.audience)


class Line(serializers.Serializer):
    text = serializers.CharField()


class Everything(serializers.Serializer):
    """Of every kind of field that is known, and some that are not."""

    title = serializers.CharField(max_length=5)
    free = serializers.CharField(allow_blank=True, required=False)
    code = serializers.CharField(min_length=2, allow_null=True)
    count = serializers.IntegerField(min_value=0, max_value=9)
    share = serializers.FloatField(max_value=1.0)
    price = serializers.DecimalField(max_digits=5, decimal_places=2)
    done = serializers.BooleanField(allow_null=True)
    at = serializers.DateTimeField()
    day = serializers.DateField(required=False)
    level = serializers.ChoiceField(choices=[("low", "Low"), ("high", "High")])
    colour = serializers.ChoiceField(choices=["red"], allow_null=True, allow_blank=True)
    size = serializers.IntegerField(default=None)
    names = serializers.ListField(child=serializers.CharField(), max_length=2)
    counts = serializers.DictField(child=serializers.IntegerField())
    any = serializers.JSONField()
    line = Line(allow_null=True)
    lines = Line(many=True, min_length=1)  # type: ignore[call-arg]
    span = serializers.DurationField(required=False)
    computed = serializers.SerializerMethodField()
    secret = serializers.CharField(write_only=True, required=False)

    def get_computed(self, _: Any) -> int:
        return 1


LINE = {
    "properties": {"text": {"type": "string", "minLength": 1}},
    "required": ["text"],
    "additionalProperties": False,
}
PROPERTIES = {
    "title": {"type": "string", "minLength": 1, "maxLength": 5},
    "free": {"type": "string"},
    "code": {"type": ["string", "null"], "minLength": 2},
    "count": {"type": "integer", "minimum": 0, "maximum": 9},
    "share": {"type": "number", "maximum": 1.0},
    "price": {"type": "string", "format": "decimal"},
    "done": {"type": ["boolean", "null"]},
    "at": {"type": "string", "format": "date-time"},
    "day": {"type": "string", "format": "date"},
    "level": {"enum": ["low", "high"]},
    "colour": {"enum": ["red", "", None]},
    "size": {"type": ["integer", "null"]},
    "names": {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": 2},
    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
    "any": {},
    "line": {"type": ["object", "null"], **LINE},
    "lines": {"type": "array", "items": {"type": "object", **LINE}, "minItems": 1},
    "span": {},
    "computed": {},
}
EXAMPLE: dict[str, Any] = {
    "title": "title",
    "code": None,
    "count": 9,
    "share": 0.5,
    "price": "1.50",
    "done": None,
    "at": "2026-11-23T09:00:00Z",
    "level": "low",
    "colour": "",
    "names": ["a"],
    "counts": {"a": 1},
    "any": [None],
    "line": None,
    "lines": [{"text": "a"}],
}


def test_each_kind_of_field_is_described() -> None:
    schema = schema_of(Everything)
    assert schema["$schema"] == DIALECT
    assert schema["type"] == "object"
    assert schema["properties"] == PROPERTIES
    assert schema["additionalProperties"] is False
    optional = {"free", "day", "size", "span", "computed"}
    assert set(schema["required"]) == set(PROPERTIES) - optional


def test_what_a_serializer_lets_through_satisfies_its_schema() -> None:
    event_type = EventType("a.b", "", (), Everything)
    optional = {"secret": "swordfish", "span": "1", "day": "2026-11-23", "line": {"text": "a"}}
    for data in (EXAMPLE, EXAMPLE | optional):
        sent = payload.validated(event_type, data)
        validator(Everything).validate(sent)
        assert "secret" not in sent


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": "too long"},
        {"title": ""},
        {"code": "a"},
        {"count": -1},
        {"count": 10},
        {"count": "1"},
        {"share": 1.5},
        {"done": "yes"},
        {"level": "middle"},
        {"level": None},
        {"names": ["a", "b", "c"]},
        {"names": None},
        {"counts": {"a": "many"}},
        {"line": {"text": "a", "undeclared": 1}},
        {"line": {}},
        {"lines": []},
        {"undeclared": 1},
    ],
)
def test_what_a_serializer_refuses_its_schema_refuses_too(wrong: dict[str, Any]) -> None:
    validator(Everything).validate(EXAMPLE)
    with pytest.raises(ValidationError):
        validator(Everything).validate(EXAMPLE | wrong)


def validator(schema: type[serializers.Serializer]) -> Draft202012Validator:
    made = schema_of(schema)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def example(schema: dict[str, Any]) -> Any:
    """The least that satisfies a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    kind = schema.get("type")
    if schema.get("format") == "date-time":
        return "2026-11-23T09:00:00Z"
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: example(properties[name]) for name in schema.get("required", [])}
    if kind == "array":
        return [example(schema["items"])]
    plain = {"string": "a" * schema.get("minLength", 0), "integer": 1, "number": 1.5}
    return plain.get(kind, True) if isinstance(kind, str) else None


@pytest.mark.parametrize("name", DELIVERED)
def test_every_types_schema_is_that_of_its_data(name: str) -> None:
    event_type = catalogue.type(name)
    sent = payload.validated(event_type, example(schema_of(event_type.schema)))
    validator(event_type.schema).validate(sent)
    with pytest.raises(ValidationError):
        validator(event_type.schema).validate(sent | {"undeclared": 1})
    for field in schema_of(event_type.schema)["required"]:
        with pytest.raises(ValidationError):
            validator(event_type.schema).validate({k: v for k, v in sent.items() if k != field})


@pytest.mark.parametrize("model", catalogue.maps, ids=lambda model: model.__name__)
def test_what_a_model_tells_satisfies_its_types_schemas(model: Any) -> None:
    event_map = catalogue.maps[model]
    generators.add("servers.encryption.EncryptedTextField", lambda: "swordfish")
    row = baker.make(model)
    rows = model.objects.filter(pk=row.pk)
    for name in event_map.transitions:
        for value, _ in model._meta.get_field(name).choices:
            rows.update(**{name: value})
    for name in event_map.tracked:
        field = model._meta.get_field(name)
        if isinstance(field, CharField):
            choices = [value for value, _ in field.choices or ()]
            other = [value for value in choices if value != getattr(row, name)]
            rows.update(**{name: other[0] if other else "changed"})
    rows.get().delete()
    told = list(Event.objects.filter(type__in=[kind.value for kind in event_map.types()]))
    assert {event.type for event in told} == {kind.value for kind in event_map.types()}
    for event in told:
        validator(catalogue.type(event.type).schema).validate(event.data)


def test_the_catalogue_names_every_type_but_the_internal_ones(outsider: User) -> None:
    types = client_of(outsider).get(TYPES).json()
    names = [entry["type"] for entry in types]
    assert names == sorted([*DELIVERED, "note.written", "note.shouted"])
    by_name = {entry["type"]: entry for entry in types}
    assert by_name["note.written"] == {
        "type": "note.written",
        "description": "Note written",
        "permission": "auth.view_user",
        "schema": {
            "$schema": DIALECT,
            "type": "object",
            "properties": {"text": {"type": "string"}, "number": {"type": "integer"}},
            "required": ["text"],
            "additionalProperties": False,
        },
    }
    assert by_name["note.shouted"]["permission"] == "everyone"


def test_nobody_reads_the_catalogue_without_credentials() -> None:
    assert APIClient().get(TYPES).status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_the_catalogue_is_not_written_to(outsider: User, method: str) -> None:
    response = getattr(client_of(outsider), method)(TYPES)
    assert response.status_code == 405
    assert response.json()["detail"]
