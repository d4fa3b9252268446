"""`/api/v1/servers/`, `/api/v1/credentials/` and `/api/v1/environments/`."""

from __future__ import annotations

from typing import Any

from django.db import connection
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from events.api import EventCursorMixin
from servers import checks, history, maintenance, services
from servers.bulk import BulkMixin
from servers.filters import ServerFilter
from servers.models import Credential, Environment, Server
from servers.preconditions import ConditionalEditsMixin
from servers.serializers import (
    BucketSerializer,
    CredentialSerializer,
    EnvironmentSerializer,
    HostKeySerializer,
    MaintenanceSerializer,
    NothingSerializer,
    PeriodSerializer,
    ServerSerializer,
    TestSerializer,
    UptimesSerializer,
    told_by_field,
)
from servers.transfer import TransferMixin


class InventoryViewSet(ConditionalEditsMixin, EventCursorMixin, viewsets.ModelViewSet):
    """What the inventory consists of."""

    lookup_value_regex = "[0-9]+"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            refuse_at_once()


class ServerViewSet(BulkMixin, TransferMixin, InventoryViewSet):
    """The inventory."""

    queryset = Server.objects.without_secrets().select_related("environment", "shared_credential")
    serializer_class = ServerSerializer
    filterset_class = ServerFilter
    action_permissions = (
        BulkMixin.action_permissions
        | TransferMixin.action_permissions
        | {
            "test_connection": "servers.test_server",
            "accept_host_key": "servers.accept_host_key",
            "begin_maintenance": "servers.maintain_server",
            "end_maintenance": "servers.maintain_server",
        }
    )

    @extend_schema(
        request=TestSerializer,
        responses={
            202: ServerSerializer,
            409: OpenApiResponse(description="It is in maintenance, and was not forced."),
        },
    )
    @action(detail=True, methods=["post"], url_path="test-connection")
    def test_connection(self, request: Request, **kwargs: Any) -> Response:
        """Starts a connection test; its result arrives as events."""
        server = self.get_object()
        body = TestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            checks.request_test(server, request.user, force=body.validated_data["force"])
        except maintenance.InMaintenance as error:
            detail = f"{error} Send force to test it nevertheless."
            return Response({"detail": detail}, status=status.HTTP_409_CONFLICT)
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
        """Accepts the offered host key by its fingerprint, and has the server tested."""
        server = self.get_object()
        body = HostKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            services.accept_host_key(server, body.validated_data["fingerprint"], request.user)
        except services.HostKeyMismatch:
            detail = "The server did not offer a key with this fingerprint."
            return Response({"detail": detail}, status=status.HTTP_409_CONFLICT)
        return Response(HostKeySerializer(server).data)

    @extend_schema(request=MaintenanceSerializer, responses=ServerSerializer)
    @action(detail=True, methods=["post"], url_path="maintenance")
    def begin_maintenance(self, request: Request, **kwargs: Any) -> Response:
        """Until its end: no regular checks, no automatic incidents, no runs."""
        server = self.get_object()
        body = MaintenanceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        with told_by_field():
            maintenance.begin(server, **body.validated_data)
        return Response(self.get_serializer(server).data)

    @extend_schema(request=None, responses=ServerSerializer)
    @begin_maintenance.mapping.delete
    def end_maintenance(self, request: Request, **kwargs: Any) -> Response:
        """Ends it now."""
        server = self.get_object()
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        maintenance.end(server)
        return Response(self.get_serializer(server).data)

    @extend_schema(responses=PeriodSerializer(many=True))
    @action(detail=True, filterset_class=None)
    def history(self, request: Request, **kwargs: Any) -> Response:
        """The states that the server was in, the present one first."""
        page = self.paginate_queryset(self.get_object().periods.all())
        return self.get_paginated_response(PeriodSerializer(page, many=True).data)

    @extend_schema(responses=UptimesSerializer)
    @action(detail=True)
    def uptime(self, request: Request, **kwargs: Any) -> Response:
        """How long it was up and down; maintenance counts as neither."""
        pk = self.get_object().pk
        found = {n: history.uptimes([pk], window)[pk] for n, window in history.WINDOWS.items()}
        return Response(UptimesSerializer(found).data)

    @extend_schema(responses=BucketSerializer(many=True))
    @action(detail=True, pagination_class=None, filterset_class=None)
    def latency(self, request: Request, **kwargs: Any) -> Response:
        """What the checks of the last 24 hours measured, a quarter of an hour each."""
        series = history.latency_series(self.get_object(), history.WINDOWS["last_24_hours"])
        return Response(BucketSerializer(series, many=True).data)


def refuse_at_once() -> None:
    """References to what somebody deletes meanwhile fail where they are written.

    Django's are looked at no sooner than at COMMIT on PostgreSQL, when nobody is left to answer.
    SQLite has one writer at a time.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class CredentialViewSet(InventoryViewSet):
    """What servers are logged in with; one may be shared by many."""

    queryset = Credential.objects.defer("secret", "passphrase")
    serializer_class = CredentialSerializer


class EnvironmentViewSet(InventoryViewSet):
    """Where servers belong."""

    queryset = Environment.objects.all()
    serializer_class = EnvironmentSerializer
