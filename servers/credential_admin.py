"""Credentials in Django's admin: they can be written, and nobody can read them there."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from events.api import EventTrailMixin
from servers import services
from servers.admin_forms import CredentialForm
from servers.inventory_admin import InventoryAdmin
from servers.models import Credential, Server


class CredentialAdmin(EventTrailMixin, InventoryAdmin):
    form = CredentialForm
    exclude = ("secret", "passphrase")  # what Django does not read into the form, nor write
    write_only = ("etag", "secret", "passphrase")
    list_display = ("name", "kind", "fingerprint", "used_by", "updated_at")
    list_filter = ("kind",)
    search_fields = ("name", "fingerprint")
    fields = ("etag", "name", "kind", "secret", "passphrase", "fingerprint_or_none", "used_by")
    readonly_fields = ("fingerprint_or_none", "used_by")

    @admin.display(description="Fingerprint")
    def fingerprint_or_none(self, credential: Credential) -> str:
        return credential.fingerprint or "–"

    @admin.display(description="Servers", ordering="users")
    def used_by(self, credential: Any) -> str:
        """How many, and where they are."""
        users = getattr(credential, "users", 0)
        if not users:
            return "0"
        url = reverse("admin:servers_server_changelist")
        return format_html(
            '<a href="{}?shared_credential__id__exact={}">{}</a>', url, credential.pk, users
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credential]:
        users = Server.objects.filter(shared_credential=OuterRef("pk")).order_by()
        counted = users.values("shared_credential").annotate(count=Count("pk")).values("count")
        rows: QuerySet[Credential] = super().get_queryset(request).defer("secret", "passphrase")
        return rows.annotate(users=Coalesce(Subquery(counted), 0))

    def save_model(
        self, request: HttpRequest, obj: Credential, form: forms.ModelForm, change: bool
    ) -> None:
        changed = set(form.changed_data)
        for name in changed & services.SECRETS:
            setattr(obj, name, form.cleaned_data[name])
        services.save_credential(obj, changed if change else None)
