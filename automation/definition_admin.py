"""Automations in the admin: written as everywhere, and run with their defaults."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import ManyToManyField, QuerySet
from django.http import HttpRequest, HttpResponse

from automation import parameters, runs, services
from automation.admin_forms import AutomationForm, StartForm
from automation.models import Automation
from automation.parameters import InvalidValues
from automation.serializers import automations
from events.api import EventTrailMixin
from servers.confirmation import NAMED, AskingActions, Question
from servers.inventory_admin import InventoryAdmin, lock
from servers.models import Server


def targets_of(automation: Automation) -> str:
    found = runs.resolve(
        automation.servers.only("pk"), automation.environments.only("pk"), automation.tags
    )
    named = ", ".join(server.name for server in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{named}{more}" or "none"


def values_of(automation: Automation) -> str:
    try:
        values, _ = parameters.settle(automation.parameters, {})
    except InvalidValues as error:
        return f"It does not run without more: {error}"
    return ", ".join(f"{name}: {value}" for name, value in values.items()) or "–"


def state_of(automation: Automation) -> str:
    return "enabled" if automation.enabled else "disabled"


RUN: Final = Question(
    "run",
    "Run these automations?",
    "Each is run on its default targets, with the defaults of its parameters.",
    "Run them",
    StartForm,
    {"State": state_of, "Targets": targets_of, "Parameters": values_of},
)
ENABLE: Final = Question(
    "enable",
    "Enable these automations?",
    "They can be run then.",
    "Enable them",
    facts={"State": state_of},
)
DISABLE: Final = Question(
    "disable",
    "Disable these automations?",
    "They cannot be run then. What runs already goes on.",
    "Disable them",
    facts={"State": state_of},
)


class AutomationAdmin(EventTrailMixin, InventoryAdmin, AskingActions):
    form = AutomationForm
    list_display = ("name", "description", "interpreter", "enabled", "updated_at")
    list_filter = ("enabled", "environments")
    search_fields = ("name", "description", "tags")
    filter_horizontal = ("servers", "environments")
    fieldsets = (
        (None, {"fields": ("etag", "name", "description", "enabled")}),
        ("What is run", {"fields": ("interpreter", "script", "parameters")}),
        ("Where, by default", {"fields": ("servers", "environments", "tags")}),
        ("How", {"fields": ("timeout", "concurrency", "max_failures")}),
    )
    actions = ("run", "enable", "disable")

    class Media:
        css = {"all": ["opsportal/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Automation]:
        return automations()

    def formfield_for_manytomany(
        self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "servers":
            kwargs["queryset"] = Server.objects.only("name")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_model(
        self, request: HttpRequest, obj: Automation, form: forms.ModelForm, change: bool
    ) -> None:
        given = form.cleaned_data
        if change:
            # The form has written to `obj` already; the row is locked.
            row = Automation.objects.get(pk=obj.pk)
            services.edit(row, {name: given[name] for name in form.changed_data})
        else:
            services.create(obj, *(given[name] for name in services.LINKS))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """What it is linked to was written, and told, with it."""

    def delete_model(self, request: HttpRequest, obj: Automation) -> None:
        services.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Automation]) -> None:
        for automation in queryset:
            services.delete(automation)

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("automation.run_automation")

    @admin.action(description="Run …", permissions=["run"])
    def run(self, request: HttpRequest, queryset: QuerySet[Automation]) -> HttpResponse | None:
        def start(rows: list[Automation], form: dict[str, Any]) -> None:
            started = 0
            for row in rows:
                try:
                    runs.start(row, request.user, reason=form["reason"], force=form["force"])
                    started += 1
                except (runs.Refused, InvalidValues) as error:
                    self.message_user(request, f"{row} was not run: {error}", messages.WARNING)
            self.tell(request, f"Runs queued: {started}.", started)

        return self.ask(request, queryset, RUN, start)

    @admin.action(description="Enable …", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Automation]) -> HttpResponse | None:
        def enable(rows: list[Automation], form: dict[str, Any]) -> None:
            self.tell(request, f"Enabled now: {set_enabled(rows, True)}.")

        return self.ask(request, queryset.filter(enabled=False), ENABLE, enable)

    @admin.action(description="Disable …", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Automation]) -> HttpResponse | None:
        def disable(rows: list[Automation], form: dict[str, Any]) -> None:
            self.tell(request, f"Disabled now: {set_enabled(rows, False)}.")

        return self.ask(request, queryset.filter(enabled=True), DISABLE, disable)


def set_enabled(automations: list[Automation], enabled: bool) -> int:
    """How many of them there are still. Raises ValidationError."""
    keys = [automation.pk for automation in automations]
    lock(Automation, keys)
    rows = list(Automation.objects.filter(pk__in=keys))
    for row in rows:
        services.edit(row, {"enabled": enabled})
    return len(rows)
