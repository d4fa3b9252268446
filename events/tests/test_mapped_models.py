"""Mapped models of every shape of key and schema: what is told of a change, and what is read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext, isolate_apps
from rest_framework import serializers

from events.api import EmittingModel, EventMap, declare, register
from events.models import Event
from events.signals import connect_model
from events.tests.conftest import NoteEvent

pytestmark = pytest.mark.django_db(transaction=True)


class Changes(serializers.Serializer):
    key = serializers.CharField(source="pk")
    changes = serializers.DictField(child=serializers.DictField())


def mapped(model: type[models.Model], **events: Any) -> None:
    register(model)(type("Map", (EventMap,), {"tracked": ("title",), **events}))
    connect_model(model)


@contextmanager
def tables(*made: type[models.Model]) -> Iterator[None]:
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(made):
            editor.delete_model(model)


@pytest.fixture(params=["a number", "a UUID", "a text", "of the parent"])
def model(request: pytest.FixtureRequest) -> Iterator[type[models.Model]]:
    declare({NoteEvent.LOOSE: Changes}, permission="events.view_event")
    with isolate_apps("events"):

        class Numbered(EmittingModel):
            title = models.CharField(max_length=20)

            class Meta(EmittingModel.Meta):
                app_label = "events"

        class Unique(EmittingModel):
            id = models.UUIDField(primary_key=True, default=uuid.uuid4)
            title = models.CharField(max_length=20)

            class Meta(EmittingModel.Meta):
                app_label = "events"

        class Named(EmittingModel):
            name = models.CharField(max_length=20, primary_key=True, default="a:b@c")
            title = models.CharField(max_length=20)

            class Meta(EmittingModel.Meta):
                app_label = "events"

        class Inherited(Unique):
            colour = models.CharField(max_length=20)

            class Meta(EmittingModel.Meta):
                app_label = "events"

        made: list[type[models.Model]] = [Numbered, Unique, Named, Inherited]
        chosen = dict(zip(["a number", "a UUID", "a text", "of the parent"], made, strict=True))
        with tables(*made):
            mapped(chosen[request.param], updated=NoteEvent.LOOSE)
            yield chosen[request.param]


def test_a_change_is_told_with_what_was_before(model: Any) -> None:
    first, second = model(title="one"), model(title="two")
    if model._meta.pk.get_internal_type() == "CharField":
        second.pk = "another"
    first.save()
    second.save()
    for row in (first, second):
        row.title += "!"
        row.save()
    assert [event.data for event in Event.objects.order_by("pk")] == [
        {"key": str(first.pk), "changes": {"title": {"old": "one", "new": "one!"}}},
        {"key": str(second.pk), "changes": {"title": {"old": "two", "new": "two!"}}},
    ]


@pytest.mark.stack("scaled")
def test_the_row_is_locked_before_it_is_changed(model: Any) -> None:
    row = model(title="one")
    row.save()
    with CaptureQueriesContext(connection) as queries:
        row.save()
    found = [query["sql"] for query in queries.captured_queries if "SELECT" in query["sql"]]
    assert found
    assert "FOR UPDATE" in found[0]


class Plain(serializers.Serializer):
    title = serializers.CharField()
    colour = serializers.CharField(source="paint")


class OfAProperty(serializers.Serializer):
    colour = serializers.CharField(source="painted")


class OfItsOwn(serializers.Serializer):
    class Colour(serializers.CharField):
        def get_attribute(self, instance: Any) -> Any:
            return instance["colour"] if isinstance(instance, dict) else instance.paint

    colour = Colour()


@pytest.mark.parametrize("schema", [Plain, OfAProperty, OfItsOwn])
def test_what_a_schema_asks_of_a_row_is_as_it_was_then(schema: Any) -> None:
    declare({NoteEvent.LOOSE: schema}, permission="events.view_event")
    with isolate_apps("events"):

        class Painted(EmittingModel):
            title = models.CharField(max_length=20)
            paint = models.CharField(max_length=20)
            remark = models.TextField(default="long")

            class Meta(EmittingModel.Meta):
                app_label = "events"

            @property
            def painted(self) -> str:
                return self.paint

        with tables(Painted):
            mapped(Painted, updated=NoteEvent.LOOSE, deleted=NoteEvent.LOOSE)
            row = Painted(title="one", paint="red")
            row.save()
            with CaptureQueriesContext(connection) as queries:
                row.title = "two"
                row.save(update_fields=["title"])
                Painted.objects.update(title="three", paint="blue")
                Painted.objects.get().delete()
    found = [event.data["colour"] for event in Event.objects.order_by("pk")]
    assert found == ["red", "blue", "blue"]
    # The row's own deletion reads all of it, as does whoever asks for it.
    texts = [query["sql"] for query in queries.captured_queries]
    reads = [text for text in texts if "SELECT" in text and '"events_painted"."paint"' in text]
    assert len(reads) == 5
    assert sum("remark" in text for text in reads) == (1 if schema is Plain else 5)
