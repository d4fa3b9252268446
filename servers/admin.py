"""The inventory in Django's admin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from events.api import EventTrailMixin
from servers import maintenance, services
from servers.admin_actions import ServerActions, fingerprint_or_none, maintenance_of
from servers.admin_forms import EnvironmentForm, ServerForm
from servers.credential_admin import CredentialAdmin
from servers.inventory_admin import InventoryAdmin
from servers.models import Credential, Environment, Server, ServerQuerySet
from servers.serializers import BIND


class MaintenanceFilter(admin.SimpleListFilter):
    title = "maintenance"
    parameter_name = "maintenance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("yes", "In maintenance"), ("no", "Not in maintenance")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Server]) -> QuerySet[Server]:
        calm = maintenance.calm(timezone.now())
        if self.value() == "yes":
            return queryset.exclude(calm)
        return queryset.filter(calm) if self.value() == "no" else queryset


@admin.register(Server)
class ServerAdmin(EventTrailMixin, ServerActions, InventoryAdmin):
    form = ServerForm
    exclude = ("credential",)  # what Django does not read into the form, nor write
    write_only = ("etag", "credential")
    list_display = (
        "name",
        "host",
        "port",
        "environment",
        "status",
        "maintenance",
        "last_tested_at",
        "latency",
    )
    list_filter = ("status", MaintenanceFilter, "environment")
    search_fields = ("name", "host", "tags")
    fieldsets = (
        (
            None,
            {"fields": ("etag", "name", "host", "port", "environment", "tags", "check_interval")},
        ),
        ("Login", {"fields": ("username", "shared_credential", "credential")}),
        (
            "State",
            {
                "fields": (
                    "status",
                    "last_test_message",
                    "last_tested_at",
                    "latency",
                    "maintenance",
                    "accepted_host_key",
                    "waiting_host_key",
                )
            },
        ),
    )
    readonly_fields = (
        "status",
        "last_tested_at",
        "last_test_message",
        "latency",
        "maintenance",
        "accepted_host_key",
        "waiting_host_key",
    )

    @admin.display(description="Latency", ordering="last_test_latency")
    def latency(self, server: Server) -> str:
        return "–" if server.last_test_latency is None else f"{server.last_test_latency:.0f} ms"

    @admin.display(description="Maintenance", ordering="maintenance_until")
    def maintenance(self, server: Server) -> str:
        return maintenance_of(server)

    @admin.display(description="Accepted host key")
    def accepted_host_key(self, server: Server) -> str:
        return fingerprint_or_none(server.host_key)

    @admin.display(description="Offered host key")
    def waiting_host_key(self, server: Server) -> str:
        return fingerprint_or_none(server.offered_host_key)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        rows = cast(ServerQuerySet, super().get_queryset(request))
        return rows.without_secrets().select_related("environment", "shared_credential")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Which credential it has is shown to all, and chosen by those who may view them."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.has_perm(BIND) else (*fields, "shared_credential")

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "shared_credential":
            kwargs["queryset"] = Credential.objects.defer("secret", "passphrase")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(
        self, request: HttpRequest, obj: Server, form: forms.ModelForm, change: bool
    ) -> None:
        if "credential" in form.changed_data:
            obj.credential = form.cleaned_data["credential"]
        if change:
            services.save(obj, form.changed_data)
        else:
            services.create(obj)


@admin.register(Environment)
class EnvironmentAdmin(EventTrailMixin, InventoryAdmin):
    form = EnvironmentForm
    list_display = ("name", "accept_new_host_keys")
    fields = ("etag", "name", "accept_new_host_keys")


admin.site.register(Credential, CredentialAdmin)
