"""Bulk changes that are not silent.

Django sends no signals for `update()`, `bulk_create()` and `bulk_update()`; this queryset sends
the two below, in the transaction of the change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from django.db import NotSupportedError, models, transaction
from django.dispatch import Signal

from events.catalogue import catalogue

M = TypeVar("M", bound=models.Model)

rows_created = Signal()  # instances: list of the model
rows_updated = Signal()  # changes: list of (before, after) pairs of instances


class EventQuerySet(models.QuerySet[M]):
    def update(self, **values: Any) -> int:
        """As Django's; the rows are locked and read before, and read again after.

        `bulk_update()` comes through here too.
        """
        rows = self.model._base_manager.using(self.db)
        event_map = catalogue.maps.get(self.model)
        secrets = event_map.untouched_secrets(values) if event_map else []
        with transaction.atomic(using=self.db):
            matching = self.order_by().values("pk")
            old = rows.select_for_update().filter(pk__in=matching).defer(*secrets)
            before = {row.pk: row for row in old}
            count = super(EventQuerySet, self.filter(pk__in=list(before))).update(**values)
            after = rows.filter(pk__in=list(before)).order_by("pk").defer(*secrets)
            changes = [(before[row.pk], row) for row in after]
            rows_updated.send(sender=self.model, changes=changes)
        self._result_cache = None
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(
        self,
        objs: Iterable[M],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[M]:
        """As Django's, but not with ignored or updated conflicts.

        Raises NotSupportedError for these: the database does not say which rows it inserted.
        """
        if ignore_conflicts or update_conflicts:
            raise NotSupportedError(
                "bulk_create() of a model with events cannot ignore or update conflicts:"
                " the database does not say which rows were created"
            )
        with transaction.atomic(using=self.db):
            created = super().bulk_create(objs, batch_size)
            rows_created.send(sender=self.model, instances=created)
        return created
