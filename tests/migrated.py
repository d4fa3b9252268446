"""The rows that migrations leave in a database, and the way back to them after a test."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper


class MigratedRows:
    """Made of a database that has just been migrated.

    After a test with transactions of its own Django empties all tables, and has content types,
    permissions and roles made anew: most of the time that such a test takes. Few tables have other
    rows than before, and only these are put right here.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.tables = connection.introspection.table_names()
        self.kept = {table: self._rows(table) for table in self._filled()}

    def restore(self) -> None:
        """In one transaction, at whose end foreign keys are checked."""
        with transaction.atomic(using=self.connection.alias):
            for table in self._filled() - self.kept.keys():
                self._empty(table)
            for table, rows in self.kept.items():
                if self._rows(table) != rows:
                    self._empty(table)
                    self._insert(table, rows)

    def _filled(self) -> set[str]:
        """The tables that hold anything."""
        looks = [
            f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {self._quoted(table)})"
            for table in self.tables
        ]
        return {table for (table,) in self._query(" UNION ALL ".join(looks))}

    def _rows(self, table: str) -> list[tuple[Any, ...]]:
        return sorted(self._query(f"SELECT * FROM {self._quoted(table)}"), key=repr)

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def _empty(self, table: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {self._quoted(table)}")

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        values = ", ".join(["%s"] * len(rows[0]))
        with self.connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {self._quoted(table)} VALUES ({values})", rows)

    def _quoted(self, table: str) -> str:
        return self.connection.ops.quote_name(table)
