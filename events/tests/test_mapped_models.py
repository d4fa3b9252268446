"""Mapped models of every shape of key: what is told of a change, and that the row is locked."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
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


def mapped(model: type[models.Model]) -> type[models.Model]:
    class Map(EventMap):
        updated = NoteEvent.LOOSE
        tracked = ("title",)

    register(model)(Map)
    connect_model(model)
    return model


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
        with connection.schema_editor() as editor:
            for each in made:
                editor.create_model(each)
        yield mapped(chosen[request.param])
        with connection.schema_editor() as editor:
            for each in reversed(made):
                editor.delete_model(each)


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
