"""The servers' pages."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views import View
from django.views.generic import ListView

from events.api import event_cursor
from servers import checks
from servers.filters import ServerFilter
from servers.models import Environment, Server


class ServerList(LoginRequiredMixin, PermissionRequiredMixin, ListView):
    """The live table. Its cursor is read before its rows, so the stream joins without a gap."""

    permission_required = "servers.view_server"
    template_name = "servers/list.html"
    context_object_name = "servers"
    paginate_by = 100

    def get_queryset(self) -> QuerySet[Server]:
        self.cursor = event_cursor()
        rows = Server.objects.select_related("environment").defer("credential")
        self.filters = ServerFilter(self.request.GET, queryset=rows)
        return self.filters.qs if self.filters.is_valid() else rows.none()

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return context | {
            "cursor": self.cursor,
            "filters": self.filters,
            "statuses": Server.Status.choices,
            "environments": Environment.objects.values_list("name", flat=True),
        }


class TestConnection(LoginRequiredMixin, PermissionRequiredMixin, View):
    """Starts a test; a script gets 202 and hears the rest from the stream, a form the list."""

    permission_required = "servers.test_server"
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        checks.request_test(get_object_or_404(Server, pk=pk), request.user)
        if request.headers.get("X-Requested-With") == "fetch":
            return HttpResponse(status=202)
        return redirect(reverse("servers:list", query=request.GET))
