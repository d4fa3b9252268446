"""Mapped models of every shape of key and schema: what is told of a change, and what is read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import Enum
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.db.models.functions import Coalesce, Upper
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils.translation import gettext_lazy
from rest_framework import serializers

from events.api import EmittingModel, EventMap, declare, register
from events.models import Event
from events.signals import connect_model
from events.tests.conftest import NoteEvent
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DEADLINE = 60  # seconds; must not be met


class Changes(serializers.Serializer):
    key = serializers.CharField(source="pk")
    changes = serializers.DictField(child=serializers.DictField())


connected: list[type[models.Model]] = []  # kept, as signals know them by id() for good


def mapped(model: type[models.Model], **events: Any) -> None:
    connected.append(model)
    register(model)(type("Map", (EventMap,), {"tracked": ("title",), **events}))
    connect_model(model)


@contextmanager
def tables(*made: type[models.Model]) -> Iterator[None]:
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    try:
        yield
    finally:
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


class Counted(models.TextChoices):
    TWO = "two", "The second"


class Letter(str, Enum):  # noqa: UP042  # whose str() is not its text
    TWO = "two"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("two", "two"),
        (2, "2"),
        (True, "True"),
        (Counted.TWO, "two"),
        (Letter.TWO, "two"),
        (gettext_lazy("two"), "two"),
        (models.Value("two"), "two"),
        (" " * 25, " " * 20),
    ],
)
@pytest.mark.stack("scaled")  # SQLite keeps what is too long
def test_an_update_tells_what_it_has_stored(model: Any, value: Any, stored: str) -> None:
    row = model(title="one")
    row.save()
    assert model.objects.update(title=value) == 1
    assert model.objects.get().title == stored
    [event] = Event.objects.all()
    changed = {"title": {"old": "one", "new": stored}}
    assert event.data == {"key": str(row.pk), "changes": changed}


def test_what_the_database_computes_is_told_too() -> None:
    declare({NoteEvent.LOOSE: Changes}, permission="events.view_event")
    with isolate_apps("events"):

        class Loud(EmittingModel):
            title = models.CharField(max_length=20)
            loud = models.GeneratedField(
                expression=Upper("title"),
                output_field=models.CharField(max_length=20),
                db_persist=True,
            )

            class Meta(EmittingModel.Meta):
                app_label = "events"

        with tables(Loud):
            mapped(Loud, updated=NoteEvent.LOOSE, tracked=("title", "loud"))
            Loud(title="one").save()
            Loud.objects.update(title="two")
            [event] = Event.objects.all()
    assert event.data["changes"] == {
        "title": {"old": "one", "new": "two"},
        "loud": {"old": "ONE", "new": "TWO"},
    }


@pytest.mark.stack("scaled")
def test_the_row_is_locked_before_it_is_changed(model: Any) -> None:
    row = model(title="one")
    row.save()
    with CaptureQueriesContext(connection) as queries:
        row.save()
    texts = [query["sql"] for query in queries.captured_queries]
    locks = [n for n, text in enumerate(texts) if "FOR UPDATE" in text]
    changes = [n for n, text in enumerate(texts) if text.startswith("UPDATE")]
    assert len(locks) == 1
    assert locks[0] < changes[0]


@pytest.mark.stack("scaled")
def test_a_change_outside_of_a_transaction_would_lock_nothing(model: Any) -> None:
    """Also where the statement is known from a change that was in one."""
    row = model(title="one")
    row.save()
    row.save()
    with pytest.raises(TransactionManagementError):
        row.save_base()


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


@pytest.fixture(params=["a plain row", "a row that looks at itself"])
def painted(request: pytest.FixtureRequest) -> Iterator[type[models.Model]]:
    with isolate_apps("events"):

        class Workshop(models.Model):
            name = models.CharField(max_length=20)

            class Meta:
                app_label = "events"

            def __str__(self) -> str:
                return self.name

        class Painted(EmittingModel):
            title = models.CharField(max_length=20)
            paint = models.CharField(max_length=20)
            remark = models.TextField(default="long")
            workshop = models.ForeignKey(Workshop, null=True, on_delete=models.CASCADE)

            class Meta(EmittingModel.Meta):
                app_label = "events"
                # PostgreSQL locks no row that may be missing from an outer join.
                ordering = ("workshop__name", Coalesce("title", models.Value("z")))

            @property
            def painted(self) -> str:
                return self.paint

        class Watching(Painted):
            class Meta(EmittingModel.Meta):
                app_label = "events"

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.first = self.remark

        with tables(Workshop, Painted, Watching):
            yield Painted if request.param == "a plain row" else Watching


@pytest.mark.parametrize("schema", [Plain, OfAProperty, OfItsOwn])
def test_what_a_schema_asks_of_a_row_is_as_it_was_then(painted: Any, schema: Any) -> None:
    declare({NoteEvent.LOOSE: schema}, permission="events.view_event")
    mapped(painted, updated=NoteEvent.LOOSE, deleted=NoteEvent.LOOSE)
    row = painted(title="one", paint="red")
    row.save()
    with CaptureQueriesContext(connection) as queries:
        row.title = "two"
        row.save(update_fields=["title"])
        painted.objects.update(title="three", paint="blue")
        painted.objects.get().delete()
    found = [event.data["colour"] for event in Event.objects.order_by("pk")]
    assert found == ["red", "blue", "blue"]
    texts = [query["sql"] for query in queries.captured_queries]
    reads = [text for text in texts if "SELECT" in text and '"events_painted"."paint"' in text]
    whole = [text for text in reads if "remark" in text]
    # The test itself asks for all of it; for the events that is needed where they may ask, too.
    # What an update has written is read where they may, as it could be anything then.
    plain = schema is Plain and painted.__init__ is models.Model.__init__
    assert (len(reads), len(whole)) == ((4, 1) if plain else (5, 5))


@pytest.mark.stack("scaled")
def test_a_row_that_was_changed_before_its_lock_was_had_is_not_told_of(painted: Any) -> None:
    declare({NoteEvent.LOOSE: Changes}, permission="events.view_event")
    mapped(painted, updated=NoteEvent.LOOSE)
    for title in ("one", "two"):
        painted(title=title, paint="red").save()

    def change() -> int:
        try:
            return int(painted.objects.filter(paint="red").update(title="three"))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            painted.objects.filter(title="one").update(paint="blue")
            changing = other.submit(change)
            wait_until(waits_for_a_lock, DEADLINE, "the other change waits for this one")
        assert changing.result(DEADLINE) == 1
    assert [event.data["changes"] for event in Event.objects.order_by("pk")] == [
        {"title": {"old": "two", "new": "three"}}
    ]


WAITS = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))
    )
"""


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITS)
        return bool(cursor.fetchone()[0])


def test_a_secret_is_read_only_where_it_may_change(painted: Any) -> None:
    declare({NoteEvent.LOOSE: Changes}, permission="events.view_event")
    mapped(painted, updated=NoteEvent.LOOSE, masked=("paint",))
    row = painted(title="one", paint="red")
    row.save()
    for values in ({"title": "two"}, {"paint": "blue"}, {"title": "three"}):
        for name, value in values.items():
            setattr(row, name, value)
        row.save(update_fields=list(values))
    hidden = {"old": "********", "new": "********"}
    assert [event.data["changes"] for event in Event.objects.order_by("pk")] == [
        {"title": {"old": "one", "new": "two"}},
        {"paint": hidden},
        {"title": {"old": "two", "new": "three"}},
    ]
