"""The page of a user's notifications."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views import View
from django.views.generic import ListView

from events.api import event_cursor
from incidents import bell
from incidents.models import Notification


class NotificationList(LoginRequiredMixin, ListView):
    """What this user was told, the newest first."""

    template_name = "incidents/notifications.html"
    context_object_name = "notifications"
    paginate_by = 50

    def get_queryset(self) -> QuerySet[Notification]:
        self.cursor = event_cursor()
        return bell.of(self.request.user).select_related("incident")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"cursor": self.cursor}


class MarkRead(LoginRequiredMixin, View):
    """Marks one of this user's notifications as read, or all of them."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int | None = None) -> HttpResponse:
        bell.mark_read(request.user, pk)
        return redirect("notifications:list")
