"""Bulk changes that are not silent.

Django sends no signals for `update()`, `bulk_create()` and `bulk_update()`; this queryset sends
the two below, in the transaction of the change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import NotSupportedError, models, transaction
from django.dispatch import Signal

M = TypeVar("M", bound=models.Model)

rows_created = Signal()  # instances: list of the model
rows_updated = Signal()  # changes: list of (before, after) pairs of instances


class EventQuerySet(models.QuerySet[M]):
    def update(self, **values: Any) -> int:
        """As Django's; the rows are locked and read before, and read again after.

        `bulk_update()` comes through here too.
        """
        rows = self.model._base_manager.using(self.db)
        with transaction.atomic(using=self.db):
            matching = self.order_by().values("pk")
            before = {row.pk: row for row in rows.select_for_update().filter(pk__in=matching)}
            count = super(EventQuerySet, self.filter(pk__in=list(before))).update(**values)
            after = rows.filter(pk__in=list(before)).order_by("pk")
            changes = [(before[row.pk], row) for row in after]
            rows_updated.send(sender=self.model, changes=changes)
        self._result_cache = None
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        """As Django's, but not with ignored or updated conflicts.

        Raises NotSupportedError for these: the database does not say which rows it inserted.
        """
        if kwargs.get("ignore_conflicts") or kwargs.get("update_conflicts"):
            raise NotSupportedError(
                "bulk_create() of a model with events cannot ignore or update conflicts:"
                " the database does not say which rows were created"
            )
        with transaction.atomic(using=self.db):
            created = super().bulk_create(objs, *args, **kwargs)
            rows_created.send(sender=self.model, instances=created)
        return created
