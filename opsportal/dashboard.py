"""The figures of the dashboard, each domain's for whoever may view it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.db import transaction
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events.api import EventCursorMixin, deduplicate
from incidents.serializers import FiguresSerializer
from incidents.stats import stats as incidents_stats
from servers.stats import stats as servers_stats

# The permission that a domain's figures need, its name, and what computes them.
DOMAINS: Final[dict[str, tuple[str, Callable[[], dict[str, Any]]]]] = {
    "servers.view_server": ("servers", servers_stats),
    "incidents.view_incident": ("incidents", incidents_stats),
}


class ServerStats(serializers.Serializer):
    total = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_environment = serializers.DictField(
        child=serializers.IntegerField(), help_text="An empty name is none."
    )
    tested = serializers.IntegerField(help_text="Servers with a result of a connection test.")
    failing = serializers.IntegerField(help_text="Servers whose last test failed.")
    oldest_test_at = serializers.DateTimeField(
        allow_null=True, help_text="When the oldest of these results came."
    )


class Stats(serializers.Serializer):
    """Only the domains that the caller may view."""

    servers = ServerStats(required=False)
    incidents = FiguresSerializer(required=False)


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class DashboardStats(EventCursorMixin, APIView):
    """`/api/v1/dashboard/stats/`."""

    permission_classes = (IsAuthenticated,)
    rights: frozenset[str]

    @extend_schema(
        description="Figures of the domains that you may view, kept for a second.",
        responses=Stats,
    )
    @deduplicate(ttl=1)
    def get(self, request: Request) -> Response:
        # The rights that the answer is shared by, not has_perm's of another moment.
        allowed = [domain for right, domain in DOMAINS.items() if right in self.rights]
        return Response({name: stats() for name, stats in allowed})
