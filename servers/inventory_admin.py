"""What the admin's pages of the inventory share: current edits, and deletions without surprises."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.contrib.admin.utils import NestedObjects, quote
from django.db import router
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst

from servers.models import Sample, StatusPeriod
from servers.preconditions import etag

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin

HISTORY: Final = (Sample, StatusPeriod)  # of a server; thousands of rows, which nobody reads


class InventoryAdmin(_Admin):
    """`write_only` names the form's fields that are no values to be looked at."""

    write_only: tuple[str, ...] = ("etag",)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Locked where it is about to be written; else with the tag of what is shown.

        Read twice: between lock or tag and the row that goes with it nothing may change.
        """
        found = super().get_object(request, object_id, from_field)
        if found is None:
            return None
        if request.method == "POST":
            lock(self.model, [found.pk])
            return super().get_object(request, object_id, from_field)
        tag = etag(self.model, found.pk)
        shown: Any = super().get_object(request, object_id, from_field)
        if shown is not None:
            shown.shown_tag = tag
        return shown

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without what is only written for whoever may only look: they see values, not the form."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return [
            (title, {**options, "fields": self._to_be_looked_at(options["fields"])})
            for title, options in fieldsets
        ]

    def _to_be_looked_at(self, fields: Collection[Any]) -> list[Any]:
        return [name for name in fields if name not in self.write_only]

    def get_deleted_objects(
        self, objs: QuerySet[Any] | Sequence[Any], request: HttpRequest
    ) -> tuple[Any, dict[str, int], set[str], list[str]]:
        """Django's, but of a server's history it tells the size alone.

        A deletion that is confirmed locks the rows, so that nothing refers to them meanwhile.
        """
        if request.method == "POST":
            lock(self.model, [instance.pk for instance in objs])
        collector: Any = HistoryCounter(using=router.db_for_write(self.model), origin=objs)
        collector.collect(objs)
        lacking = {
            str(model._meta.verbose_name)
            for model in collector.model_objs
            if not self._may_delete(request, model)
        }
        protected = [self._named(row) for row in collector.protected]
        return collector.nested(self._named), collector.counts(), lacking, protected

    def _may_delete(self, request: HttpRequest, model: type[Model]) -> bool:
        site = self.admin_site
        if not site.is_registered(model):
            return True
        return site.get_model_admin(model).has_delete_permission(request)

    def _named(self, row: Model) -> str:
        meta = row._meta
        kind = capfirst(meta.verbose_name)
        if not self.admin_site.is_registered(type(row)):
            return f"{kind}: {row}"
        page = f"{self.admin_site.name}:{meta.app_label}_{meta.model_name}_change"
        url = reverse(page, args=[quote(row.pk)])
        return format_html('{}: <a href="{}">{}</a>', kind, url, row)


class HistoryCounter(NestedObjects):
    """What a deletion takes along, without reading what is in HISTORY."""

    def can_fast_delete(self, objs: Any, from_field: Any = None) -> bool:
        model = objs if isinstance(objs, type) else type(objs)
        return model in HISTORY and Collector.can_fast_delete(self, objs, from_field)

    def counts(self) -> dict[str, int]:
        """How many rows of each kind, by its name."""
        found: dict[Any, int] = {model: len(rows) for model, rows in self.model_objs.items()}
        for rows in self.fast_deletes:
            found[rows.model] = found.get(rows.model, 0) + rows.count()
        return {
            str(model._meta.verbose_name_plural): count for model, count in found.items() if count
        }


def lock(model: type[Model], keys: Iterable[Any]) -> None:
    """Apart from reading the rows: PostgreSQL locks none that are on an outer join's inner side."""
    rows = model._base_manager.select_for_update().filter(pk__in=list(keys)).order_by("pk")
    list(rows.values_list("pk"))
