"""The pages on which an incident is opened, or edited."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views import View

from incidents import services
from incidents.forms import IncidentPageForm
from incidents.models import Incident
from servers.models import Server
from servers.preconditions import etag

CHANGED: Final = (
    "Somebody else has changed it meanwhile. What you typed is still here: save again if yours is"
    " to stand."
)


class Editor(LoginRequiredMixin, PermissionRequiredMixin, View):
    """A form that comes back with what was typed, where something is wrong with it."""

    http_method_names = ["get", "head", "post"]

    def page(self, form: IncidentPageForm, status: int = 200, **context: Any) -> HttpResponse:
        known = {"form": form, "may_view": self.request.user.has_perm("incidents.view_incident")}
        return render(self.request, "incidents/form.html", known | context, status=status)

    def form(self, incident: Incident, **options: Any) -> IncidentPageForm:
        data = self.request.POST if self.request.method == "POST" else None
        return IncidentPageForm(data, instance=incident, user=self.request.user, **options)


class OpenIncident(Editor):
    permission_required = "incidents.add_incident"

    def get(self, request: HttpRequest) -> HttpResponse:
        """`?server=` names what it affects, as links to this page may."""
        named = Server.objects.without_secrets().filter(name__in=request.GET.getlist("server"))
        return self.page(self.form(Incident(), initial={"servers": list(named)}))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = self.form(Incident(reporter=request.user))  # type: ignore[misc]
        if not form.is_valid():
            return self.page(form, 400)
        services.create(form.instance, form.cleaned_data["servers"])
        if not request.user.has_perm("incidents.view_incident"):
            return self.page(IncidentPageForm(user=request.user), opened=form.instance)
        return redirect("incidents:detail", pk=form.instance.pk)


class EditIncident(Editor):
    permission_required = ("incidents.view_incident", "incidents.change_incident")

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        version = etag(Incident, pk)  # from before it is read
        incident = get_object_or_404(Incident, pk=pk)
        return self.page(self.form(incident), incident=incident, version=version)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        incident = get_object_or_404(Incident.objects.select_for_update(), pk=pk)
        context = {"incident": incident, "version": request.POST.get("version", "")}
        # The form writes into its instance also what is not valid.
        form = self.form(Incident.objects.get(pk=pk))
        if not form.is_valid():
            return self.page(form, 400, **context)
        now = etag(Incident, pk)
        if context["version"] != now:
            form.add_error(None, CHANGED)
            return self.page(form, 409, **context | {"version": now, "is_stale": True})
        changed = [name for name in form.changed_data if name != "servers"]
        services.save(form.instance, changed, form.cleaned_data["servers"])
        return redirect("incidents:detail", pk=pk)
