from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from events.api import EventTrailMixin
from servers import checks, services, ssh
from servers.models import Environment, Server


class TagsField(forms.CharField):
    """A list of tags as text, separated by commas or spaces."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return value if isinstance(value, list) else (value or "").replace(",", " ").split()

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


class ServerForm(forms.ModelForm):
    """The credential is never shown; an empty one keeps what is stored."""

    credential = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
        help_text="A password, or a private key in PEM form. Left empty, the stored one is kept.",
    )

    tags = TagsField(required=False, help_text="Separated by commas, such as web, on-call.")

    class Meta:
        model = Server
        fields = ("name", "host", "port", "username", "credential", "environment", "tags")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["credential"] = ""  # so an empty one counts as unchanged, and is not saved


@admin.register(Server)
class ServerAdmin(EventTrailMixin, admin.ModelAdmin):
    form = ServerForm
    list_display = ("name", "host", "port", "environment", "status", "last_tested_at", "latency")
    list_filter = ("status", "environment")
    list_select_related = ("environment",)
    search_fields = ("name", "host", "tags")
    readonly_fields = (
        "status",
        "last_tested_at",
        "last_test_message",
        "latency",
        "accepted_host_key",
        "waiting_host_key",
    )
    actions = ("test_connection", "accept_host_key")

    @admin.display(description="Latency", ordering="last_test_latency")
    def latency(self, server: Server) -> str:
        return "–" if server.last_test_latency is None else f"{server.last_test_latency:.0f} ms"

    @admin.display(description="Accepted host key")
    def accepted_host_key(self, server: Server) -> str:
        return ssh.fingerprint(server.host_key) if server.host_key else "–"

    @admin.display(description="Offered host key")
    def waiting_host_key(self, server: Server) -> str:
        return ssh.fingerprint(server.offered_host_key) if server.offered_host_key else "–"

    def get_fields(self, request: HttpRequest, obj: Server | None = None) -> list[Any]:
        """Without the credential for whoever may only look: they see values, not the form."""
        fields = list(super().get_fields(request, obj))
        may_look_only = obj is not None and not self.has_change_permission(request, obj)
        return [name for name in fields if not (may_look_only and name == "credential")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        return super().get_queryset(request).defer("credential")

    def save_model(
        self, request: HttpRequest, obj: Server, form: forms.ModelForm, change: bool
    ) -> None:
        # The form may have been open while a test ran: what it does not change it must not write.
        obj.save(update_fields=[*form.changed_data, "updated_at"] if change else None)

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("servers.test_server")

    def has_accept_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("servers.accept_host_key")

    @admin.action(description="Test connection", permissions=["test"])
    def test_connection(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        started = sum(checks.request_test(server, request.user) for server in queryset)
        self.message_user(request, f"Connection tests started: {started}.", messages.SUCCESS)

    @admin.action(description="Accept the offered host key", permissions=["accept"])
    def accept_host_key(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        waiting = queryset.exclude(offered_host_key="")
        for server in waiting:
            services.accept_host_key(server, ssh.fingerprint(server.offered_host_key), request.user)
        self.message_user(request, f"Host keys accepted: {len(waiting)}.", messages.SUCCESS)


@admin.register(Environment)
class EnvironmentAdmin(admin.ModelAdmin):
    list_display = ("name", "accept_new_host_keys")
