"""Bulk changes that are not silent.

Django sends no signals for `update()`, `bulk_create()` and `bulk_update()`; this queryset sends
the two below, in the transaction of the change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from django.db import NotSupportedError, models, transaction
from django.dispatch import Signal

from events import columns
from events.catalogue import EventMap, catalogue

M = TypeVar("M", bound=models.Model)

rows_created = Signal()  # instances: list of the model
rows_updated = Signal()  # changes: list of (before, after) pairs of instances


class EventQuerySet(models.QuerySet[M]):
    def update(self, **values: Any) -> int:
        """As Django's; the rows are locked, and read before and after where events may tell of it.

        They are not read after, where it is known what was written, and that it was to each of
        them. All lock in one order, so that no two wait for each other. `bulk_update()` comes
        through here too.
        """
        event_map = catalogue.maps.get(self.model)
        tells = event_map is None or event_map.may_tell_of(values)
        with transaction.atomic(using=self.db, savepoint=False):
            if tells:
                count = self._update_and_tell(values, event_map)
            else:
                keys = list(self._locked().values_list("pk", flat=True))
                count = super(EventQuerySet, self.filter(pk__in=keys)).update(**values)
        self._result_cache = None
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def _locked(self) -> models.QuerySet[M]:
        rows = self.model._base_manager.using(self.db).select_for_update()
        return rows.filter(pk__in=self.order_by().values("pk")).order_by("pk")

    def _update_and_tell(self, values: dict[str, Any], event_map: EventMap | None) -> int:
        def read(rows: models.QuerySet[M]) -> models.QuerySet[M]:
            return event_map.read(rows, event_map.untouched_secrets(values)) if event_map else rows

        before = {row.pk: row for row in read(self._locked())}
        count = super(EventQuerySet, self.filter(pk__in=list(before))).update(**values)
        after: Iterable[M]
        if event_map and count == len(before) and event_map.foresees(values):
            after = columns.updated(before.values(), values)
        else:
            rows = self.model._base_manager.using(self.db)
            after = read(rows.filter(pk__in=list(before)).order_by("pk"))
        changes = [(before[row.pk], row) for row in after]
        rows_updated.send(sender=self.model, changes=changes)
        return count

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
        with transaction.atomic(using=self.db, savepoint=False):
            created = super().bulk_create(objs, batch_size)
            rows_created.send(sender=self.model, instances=created)
        return created
