"""Each misconfiguration is told by its number, and a right configuration of nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core import checks
from django.db import models
from django.test.utils import isolate_apps

from events.api import EmittingModel, EventMap, EventQuerySet, register
from events.catalogue import scoped
from events.checks import check_event_maps, check_proxies, check_querysets
from events.settings_checks import CHECKS
from events.tests.conftest import NoteEvent
from tests.portal import Portal

PLAIN_LAYER = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
CORE_LAYER = {"BACKEND": "channels_redis.core.RedisChannelLayer"}
PUBSUB_LAYER = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}
POSTGRES = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "ATOMIC_REQUESTS": True}
SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": "/nowhere/db.sqlite3",
    "ATOMIC_REQUESTS": True,
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "pragma journal_mode = 'wal';"},
}
MIDDLEWARE = project_settings.MIDDLEWARE
CONTEXT = "events.middleware.RequestContextMiddleware"


def found(wanted: Iterable[Callable[..., list[checks.CheckMessage]]]) -> list[str | None]:
    return [message.id for check in wanted for message in check()]


def sqlite(**options: Any) -> dict[str, Any]:
    return SQLITE | {"OPTIONS": SQLITE["OPTIONS"] | options}


WRONG = [
    ("events.W001", {"DATABASES": {"default": POSTGRES | {"ATOMIC_REQUESTS": False}}}),
    ("events.W003", {"CHANNEL_LAYERS": {"default": PLAIN_LAYER}}),
    ("events.W003", {"CHANNEL_LAYERS": {}}),
    ("events.W004", {"CHANNEL_LAYERS": {"default": CORE_LAYER}}),
    ("events.W005", {"MIDDLEWARE": [*MIDDLEWARE, "django.middleware.gzip.GZipMiddleware"]}),
    ("events.W006", {"MIDDLEWARE": [name for name in MIDDLEWARE if name != CONTEXT]}),
    ("events.W007", {"DATABASES": {"default": sqlite(transaction_mode=None)}}),
    ("events.W007", {"DATABASES": {"default": sqlite(transaction_mode="DEFERRED")}}),
    ("events.W008", {"DATABASES": {"default": sqlite(init_command="PRAGMA synchronous=OFF;")}}),
    ("events.W008", {"DATABASES": {"default": sqlite(init_command="PRAGMA journal_mode=DELETE")}}),
    ("events.W009", {"CELERY_TASK_ALWAYS_EAGER": True}),
    ("events.E005", {"USE_TZ": False}),
]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the checks look at, and only for them: nothing reconnects anywhere."""

    def apply(**changes: Any) -> None:
        for name, value in changes.items():
            monkeypatch.setattr(project_settings, name, value, raising=False)

    apply(DATABASES={"default": POSTGRES}, CHANNEL_LAYERS={"default": PUBSUB_LAYER})
    return apply


@pytest.mark.parametrize(("identifier", "changes"), WRONG)
def test_a_wrong_setting_is_told_by_its_number_and_nothing_else(
    configure: Callable[..., None], identifier: str, changes: dict[str, Any]
) -> None:
    configure(**changes)
    assert found(CHECKS) == [identifier]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"DATABASES": {"default": SQLITE}},
        # One process on SQLite needs no layer, and others' commits are seen in the file.
        {"DATABASES": {"default": SQLITE}, "CHANNEL_LAYERS": {"default": PLAIN_LAYER}},
        {"DATABASES": {"default": SQLITE}, "CHANNEL_LAYERS": {}},
        {"DATABASES": {"default": sqlite(transaction_mode="exclusive")}},
        {"CELERY_TASK_ALWAYS_EAGER": False},
    ],
)
def test_right_settings_are_told_nothing_of(
    configure: Callable[..., None], changes: dict[str, Any]
) -> None:
    configure(**changes)
    assert found(CHECKS) == []


@pytest.mark.parametrize(("mode", "expected"), [("wal", []), ("delete", ["events.W008"])])
def test_the_mode_of_a_database_file_is_known_without_opening_it(
    configure: Callable[..., None], tmp_path: Path, mode: str, expected: list[str]
) -> None:
    path = tmp_path / "db.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    configure(DATABASES={"default": sqlite(init_command="") | {"NAME": path}})
    assert found(CHECKS) == expected
    assert [file.name for file in tmp_path.iterdir()] == ["db.sqlite3"]


@isolate_apps("events")
def test_a_model_whose_row_and_events_are_two_transactions_is_an_error() -> None:
    class Loose(models.Model):
        objects = models.Manager.from_queryset(EventQuerySet)()

        class Meta:
            app_label = "events"
            base_manager_name = "objects"

        def __str__(self) -> str:
            return "loose"

    register(Loose)(EventMap)
    assert [(message.id, message.obj) for message in check_event_maps()] == [("events.E001", Loose)]
    assert found([check_querysets]) == []


@isolate_apps("events")
def test_a_map_to_an_undeclared_type_is_an_error() -> None:
    class Page(EmittingModel):
        class Meta(EmittingModel.Meta):
            app_label = "events"

    class Map(EventMap):
        created = NoteEvent.WRITTEN
        updated = NoteEvent.LOOSE

    register(Page)(Map)
    assert found([check_event_maps]) == ["events.E002"]


@isolate_apps("events")
def test_a_manager_whose_bulk_changes_are_silent_is_an_error() -> None:
    class Quiet(EmittingModel):
        objects = models.Manager()  # type: ignore[assignment]

        class Meta(EmittingModel.Meta):
            app_label = "events"

    class Half(EmittingModel):
        objects = models.Manager.from_queryset(EventQuerySet)()  # type: ignore[assignment]
        archive = models.Manager()

        class Meta(EmittingModel.Meta):
            app_label = "events"

    class Whole(EmittingModel):
        class Meta(EmittingModel.Meta):
            app_label = "events"

    for model in (Quiet, Half, Whole):
        register(model)(EventMap)
    assert {(message.id, message.obj) for message in check_querysets()} == {
        ("events.E004", Quiet),
        ("events.E004", Half),
    }
    assert "'archive'" in str([message for message in check_querysets() if message.obj is Half])


def test_a_proxy_of_a_mapped_model_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with isolate_apps("events") as registry:

        class Paper(EmittingModel):
            class Meta(EmittingModel.Meta):
                app_label = "events"

        class Copy(Paper):
            class Meta:
                app_label = "events"
                proxy = True

        monkeypatch.setattr("events.checks.apps", registry)
        assert found([check_proxies]) == []
        register(Paper)(EventMap)
        assert [(m.id, m.obj) for m in check_proxies()] == [("events.W002", Copy)]
        register(Copy)(EventMap)
        assert found([check_proxies]) == []


def test_the_project_itself_declares_rightly() -> None:
    with scoped():
        assert found([check_event_maps, check_querysets, check_proxies]) == []


def test_every_check_is_documented() -> None:
    operations = (project_settings.BASE_DIR / "docs/operations.md").read_text()
    sources = (project_settings.BASE_DIR / "events").glob("*checks.py")
    text = "".join(path.read_text() for path in sources)
    identifiers = {word for word in text.replace('"', " ").split() if word.startswith("events.")}
    numbers = {name for name in identifiers if name[-3:].isdigit()}
    assert {"events.E001", "events.W009"} <= numbers
    assert [name for name in sorted(numbers) if f"`{name}`" not in operations] == []


def test_the_portals_own_production_settings_are_clean(portal_factory: Any) -> None:
    portal: Portal = portal_factory(HTTPS=1, ALLOWED_HOSTS="portal.example.com")
    portal.manage("check", "--deploy", "--fail-level", "WARNING")


def test_servers_without_a_layer_between_them_say_so_once_at_the_start(portal_factory: Any) -> None:
    """And a warning stops nobody: they go on to the database, which is not there."""
    url = "postgres://nobody@127.0.0.1:1/none"
    portal: Portal = portal_factory(DATABASE_POOL_SIZE=0)
    portal.environment |= {"DATABASE_URL": url, "REDIS_URL": ""}
    web = portal.start("serve", "--port", "0", "--workers", "2")
    web.wait_until(lambda: "OperationalError" in web.read_output(), 60, "a process has begun")
    web.stop()
    assert web.read_output().count("events.W003") == 1
