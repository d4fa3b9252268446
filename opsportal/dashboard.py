"""The figures of the dashboard, each domain's for whoever may view it."""

from __future__ import annotations

from django.db import transaction
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events.api import EventCursorMixin, deduplicate
from events.catalogue import catalogue


def stats_schema() -> type[serializers.Serializer]:
    """Of an answer: only the domains that the caller may view."""
    domains = catalogue.domains.values()
    fields = {domain.name: domain.schema(required=False) for domain in domains}
    return type("Stats", (serializers.Serializer,), fields)


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class DashboardStats(EventCursorMixin, APIView):
    """`/api/v1/dashboard/stats/`."""

    permission_classes = (IsAuthenticated,)
    rights: frozenset[str]

    @extend_schema(
        description="Figures of the domains that you may view, kept for a second.",
        responses=stats_schema(),
    )
    @deduplicate(ttl=1)
    def get(self, request: Request) -> Response:
        # The rights that the answer is shared by, not has_perm's of another moment.
        domains = catalogue.domains.values()
        allowed = [domain for domain in domains if domain.permission in self.rights]
        return Response({domain.name: domain.figures() for domain in allowed})
