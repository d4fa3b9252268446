"""`/api/v1/servers/`."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from events.api import EventCursorMixin
from servers import services
from servers.filters import ServerFilter
from servers.models import Server
from servers.serializers import HostKeySerializer, NothingSerializer, ServerSerializer


class ServerViewSet(EventCursorMixin, viewsets.ModelViewSet):
    """The inventory."""

    queryset = Server.objects.select_related("environment").defer("credential")
    serializer_class = ServerSerializer
    filterset_class = ServerFilter
    lookup_value_regex = "[0-9]+"
    action_permissions = {
        "test_connection": "servers.test_server",
        "accept_host_key": "servers.accept_host_key",
    }

    def get_queryset(self) -> QuerySet[Server]:
        rows = super().get_queryset()
        # An edit writes the whole row, so no test may end between its reading and its writing; and
        # of two deletions at once, only one finds the row.
        locked = self.action in ("update", "partial_update", "destroy")
        return rows.select_for_update(of=("self",)) if locked else rows

    @extend_schema(request=None, responses={202: ServerSerializer})
    @action(detail=True, methods=["post"], url_path="test-connection")
    def test_connection(self, request: Request, **kwargs: Any) -> Response:
        """Starts a connection test; its result arrives as events."""
        server = self.get_object()
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        services.request_test(server, request.user)
        return Response(self.get_serializer(server).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(responses=HostKeySerializer)
    @action(detail=True, url_path="host-key")
    def host_key(self, request: Request, **kwargs: Any) -> Response:
        """The fingerprints of the accepted host key and of one that waits to be accepted."""
        return Response(HostKeySerializer(self.get_object()).data)

    @extend_schema(
        request=HostKeySerializer,
        responses={
            200: HostKeySerializer,
            409: OpenApiResponse(description="The server offered no key, or another one."),
        },
    )
    @host_key.mapping.post
    def accept_host_key(self, request: Request, **kwargs: Any) -> Response:
        """Accepts the offered host key by its fingerprint."""
        server = self.get_object()
        body = HostKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            services.accept_host_key(server, body.validated_data["fingerprint"])
        except services.HostKeyMismatch:
            detail = "The server did not offer a key with this fingerprint."
            return Response({"detail": detail}, status=status.HTTP_409_CONFLICT)
        return Response(HostKeySerializer(server).data)
