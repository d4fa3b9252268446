from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from events.api import EventTrailMixin
from incidents import services
from incidents.models import (
    Incident,
)
from servers.models import Server


class IncidentForm(forms.ModelForm):
    servers = forms.ModelMultipleChoiceField(
        Server.objects.defer("credential"), required=False, help_text="What it affects."
    )

    class Meta:
        model = Incident
        fields = ("title", "description", "severity", "assignee")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["servers"] = list(
                self.instance.affected.exclude(server=None).values_list("server", flat=True)
            )


@admin.register(Incident)
class IncidentAdmin(EventTrailMixin, admin.ModelAdmin):
    form = IncidentForm
    list_display = ("title", "severity", "status", "assignee", "created_at", "resolved_at")
    list_filter = ("status", "severity")
    list_select_related = ("assignee",)
    search_fields = ("title", "description")
    readonly_fields = (
        "status",
        "status_comment",
        "reporter",
        "created_at",
        "acknowledged_at",
        "resolved_at",
        "closed_at",
    )
    filter_horizontal = ()
    actions = ("acknowledge", "resolve", "close", "reopen")

    def save_model(
        self, request: HttpRequest, obj: Incident, form: forms.ModelForm, change: bool
    ) -> None:
        servers = form.cleaned_data["servers"]
        if change:
            changed = [name for name in form.changed_data if name != "servers"]
            services.save(obj, changed, servers)
        else:
            obj.reporter = request.user  # type: ignore[assignment]
            services.create(obj, servers)

    def _bring(self, request: HttpRequest, incidents: QuerySet[Incident], to: str) -> None:
        done = 0
        for incident in incidents:
            try:
                services.transition_to(incident, to, request.user)
                done += 1
            except services.TransitionRefused as error:
                self.message_user(request, f"{incident}: {error}", messages.WARNING)
            except services.NotPermitted:
                self.message_user(request, f"{incident}: not permitted.", messages.WARNING)
        if done:
            self.message_user(request, f"Incidents {to} now: {done}.", messages.SUCCESS)

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.acknowledge_incident")

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.resolve_incident")

    def has_close_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.close_incident")

    def has_reopen_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.reopen_incident")

    @admin.action(description="Acknowledge", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        self._bring(request, queryset, Incident.Status.ACKNOWLEDGED)

    @admin.action(description="Resolve", permissions=["resolve"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        self._bring(request, queryset, Incident.Status.RESOLVED)

    @admin.action(description="Close", permissions=["close"])
    def close(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        self._bring(request, queryset, Incident.Status.CLOSED)

    @admin.action(description="Reopen", permissions=["reopen"])
    def reopen(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        self._bring(request, queryset, Incident.Status.OPEN)
