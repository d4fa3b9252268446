"""The table at which PostgreSQL's relays queue: see `events.log.hold_head`.

It has no column, as nothing is ever written to it, and no index, as a concurrent REINDEX keeps a
lock that would hold up the queue.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def create(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("CREATE TABLE events_queue ()")


def drop(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP TABLE events_queue")


class Migration(migrations.Migration):
    dependencies = [("events", "0004_fewer_indexes")]

    operations = [migrations.RunPython(create, drop)]
