from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from events.api import EventTrailMixin
from incidents import markdown, services
from incidents.admin_actions import IncidentActions
from incidents.forms import IncidentForm
from incidents.models import (
    AutomaticIncidents,
    Comment,
    Incident,
    Notification,
    NotificationChannel,
)
from incidents.notification_admin import ChannelAdmin, NotificationAdmin


class CommentForm(forms.ModelForm):
    text = forms.CharField(
        max_length=markdown.LONGEST,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 80}),
        help_text="Markdown.",
    )

    class Meta:
        model = Comment
        fields = ("text",)


class CommentInline(admin.TabularInline):
    """What people said stays; who may comment can add to it.

    The portal's own notes, of which there may be thousands, are in the trail.
    """

    model = Comment
    form = CommentForm
    extra = 1
    fields = ("text", "author_name", "created_at")
    readonly_fields = ("author_name", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Comment]:
        return super().get_queryset(request).exclude(author_name="")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.view_incident")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("incidents.comment_incident")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Incident)
class IncidentAdmin(EventTrailMixin, IncidentActions):
    form = IncidentForm
    list_display = ("title", "severity", "status", "assignee", "created_at", "resolved_at")
    list_filter = ("status", "severity", "automatic")
    list_select_related = ("assignee",)
    search_fields = ("title", "description")
    readonly_fields = (
        "affected_servers",
        "status",
        "status_comment",
        "reporter",
        "automatic",
        "created_at",
        "acknowledged_at",
        "resolved_at",
        "closed_at",
        "reopened_at",
    )

    @admin.display(description="Affected servers")
    def affected_servers(self, incident: Incident) -> str:
        """Also those that are gone, which the form cannot offer."""
        return ", ".join(services.affected_names(incident)) or "–"

    def get_inlines(self, request: HttpRequest, obj: Incident | None) -> list[Any]:
        return [] if obj is None else [CommentInline]

    def get_fields(self, request: HttpRequest, obj: Incident | None = None) -> list[Any]:
        """Without the choice of servers for whoever may only look: it is none of the model's."""
        fields = list(super().get_fields(request, obj))
        may_look_only = obj is not None and not self.has_change_permission(request, obj)
        return [name for name in fields if not (may_look_only and name == "servers")]

    def get_readonly_fields(
        self, request: HttpRequest, obj: Incident | None = None
    ) -> tuple[Any, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        may_assign = request.user.has_perm("incidents.assign_incident")
        return fields if may_assign else (*fields, "assignee")

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

    def save_formset(
        self, request: HttpRequest, form: forms.ModelForm, formset: Any, change: bool
    ) -> None:
        formset.save(commit=False)
        for said in formset.new_objects:
            services.comment(form.instance, request.user, said.text)


@admin.register(AutomaticIncidents)
class AutomaticIncidentsAdmin(admin.ModelAdmin):
    """One row, which is there before anybody has saved it."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> AutomaticIncidents | None:
        return AutomaticIncidents.load() if object_id == "1" else None

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return redirect(reverse("admin:incidents_automaticincidents_change", args=("1",)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.register(NotificationChannel, ChannelAdmin)
admin.site.register(Notification, NotificationAdmin)
