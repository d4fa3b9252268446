"""What is done for many servers in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from servers import checks, maintenance, services
from servers.models import Server
from servers.serializers import (
    ManyMaintenanceSerializer,
    ManyResultSerializer,
    ManySerializer,
    ManyTagsSerializer,
    told_by_field,
)


class BulkMixin:
    """The actions below `servers/bulk/`. Each names those servers for which it did nothing."""

    action_permissions = {
        "bulk_test": "servers.test_server",
        "bulk_maintenance": "servers.maintain_server",
        "bulk_tags": "servers.change_server",
    }

    @extend_schema(request=ManySerializer, responses={202: ManyResultSerializer})
    @action(detail=False, methods=["post"], url_path="bulk/test")
    def bulk_test(self, request: Request) -> Response:
        """Has each tested as soon as there is room, but for those in maintenance."""
        body = validated(ManySerializer, request)
        asked, left = checks.request_checks(chosen(body["servers"]), request.user)
        reasons = {server.pk: str(maintenance.InMaintenance(server)) for server in left}
        return answer(body["servers"], asked, reasons, status.HTTP_202_ACCEPTED)

    @extend_schema(request=ManyMaintenanceSerializer, responses=ManyResultSerializer)
    @action(detail=False, methods=["post"], url_path="bulk/maintenance")
    def bulk_maintenance(self, request: Request) -> Response:
        """Begins maintenance, or changes its reason and end; an `until` of null ends it."""
        body = validated(ManyMaintenanceSerializer, request)
        servers = chosen(body["servers"])
        with told_by_field():
            if body["until"] is None:
                maintenance.end_many(servers)
            else:
                maintenance.begin_many(servers, body["reason"], body["until"])
        return answer(body["servers"], servers)

    @extend_schema(request=ManyTagsSerializer, responses=ManyResultSerializer)
    @action(detail=False, methods=["post"], url_path="bulk/tags")
    def bulk_tags(self, request: Request) -> Response:
        """Adds and removes tags: for all of them, or where one would have too many, for none."""
        body = validated(ManyTagsSerializer, request)
        servers = chosen(body["servers"])
        with told_by_field():
            services.change_tags(servers, body["add"], body["remove"])
        return answer(body["servers"], servers)


def validated(form: Callable[..., serializers.Serializer], request: Request) -> Any:
    body = form(data=request.data)
    body.is_valid(raise_exception=True)
    return body.validated_data


def chosen(keys: Iterable[int]) -> list[Server]:
    """Those that there are, without their credentials."""
    return list(Server.objects.without_secrets().filter(pk__in=set(keys)))


def answer(
    wanted: Iterable[int],
    done: Iterable[Server],
    reasons: dict[int, str] | None = None,
    status: int = 200,
) -> Response:
    keys = [server.pk for server in done]
    told = reasons or {}
    lacking = sorted(set(wanted) - set(keys))
    skipped = [{"id": k, "reason": told.get(k, "There is no such server.")} for k in lacking]
    return Response({"done": keys, "skipped": skipped}, status=status)
