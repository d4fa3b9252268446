"""The project's addresses, and views that differ in `@deduplicate` alone: see benchmarks.settings.

They ask for the dashboard's figures. `?cheap=1` answers without asking, so that what is left is the
cost of getting there.
"""

from __future__ import annotations

from django.db import connection, transaction
from django.urls import path
from django.utils.decorators import method_decorator
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events.api import deduplicate
from events.catalogue import catalogue
from events.rights import rights_of
from opsportal.urls import urlpatterns as opsportal_urls

KEPT = 60  # seconds
SLOW = 0.2  # seconds that the database takes for the figures, as of more servers
CHEAP = {"servers": {"total": 1}}


def figures(request: Request, rights: frozenset[str]) -> Response:
    if "cheap" in request.query_params:
        return Response(CHEAP)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [SLOW])
    domains = catalogue.domains.values()
    return Response({d.name: d.figures() for d in domains if d.permission in rights})


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Shared(APIView):
    permission_classes = (IsAuthenticated,)
    rights: frozenset[str]

    @deduplicate(ttl=KEPT)
    def get(self, request: Request) -> Response:
        return figures(request, self.rights)


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Plain(APIView):
    """Its rights are read as `@deduplicate` reads them, for a view must know whom it answers."""

    permission_classes = (IsAuthenticated,)

    def get(self, request: Request) -> Response:
        return figures(request, rights_of([request.user.pk]).get(request.user.pk, frozenset()))


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Bare(APIView):
    """Answers whoever is logged in, whatever rights they have."""

    permission_classes = (IsAuthenticated,)

    def get(self, request: Request) -> Response:
        return Response(CHEAP)


urlpatterns = [
    path("bench/shared/", Shared.as_view()),
    path("bench/plain/", Plain.as_view()),
    path("bench/bare/", Bare.as_view()),
    *opsportal_urls,
]
