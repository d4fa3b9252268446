"""Servers from and to CSV files, on the REST API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from servers import csv_files, importing
from servers.models import Server


class CSVParser(BaseParser):
    """A body of at most DATA_UPLOAD_MAX_MEMORY_SIZE, as bytes."""

    media_type = "text/csv"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        data = stream.read() if limit is None else stream.read(limit + 1)
        if limit is not None and len(data) > limit:
            raise RequestDataTooBig
        return data


class FileRenderer(JSONRenderer):
    """Takes requests for a file. What is left to render is why they are refused, which is JSON."""

    def render(
        self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None
    ) -> bytes:
        renderer_context["response"]["Content-Type"] = JSONRenderer.media_type
        rendered: bytes = super().render(data, JSONRenderer.media_type, renderer_context)
        return rendered


class CSVRenderer(FileRenderer):
    media_type = "text/csv"
    format = "csv"


class ImportQuerySerializer(serializers.Serializer):
    dry_run = serializers.BooleanField(default=False, help_text="Tell what it would do.")


class ImportSerializer(serializers.Serializer):
    """What was done, or by a dry run would be; servers by name."""

    dry_run = serializers.BooleanField()
    created = serializers.ListField(child=serializers.CharField())
    updated = serializers.ListField(child=serializers.CharField())
    unchanged = serializers.IntegerField()


class TransferMixin:
    """`servers/import/` and `servers/export/`."""

    action_permissions = {
        "import_servers": "servers.add_server",
        "export_servers": "servers.view_server",
    }

    @extend_schema(
        parameters=[ImportQuerySerializer],
        request={"text/csv": OpenApiTypes.STR},
        responses={
            200: ImportSerializer,
            201: ImportSerializer,
            400: OpenApiResponse(
                description="`errors` has each bad line: `line`, `name`, and `errors` by column."
            ),
            409: OpenApiResponse(description="One was created by somebody else meanwhile."),
            415: OpenApiResponse(description="The body is not CSV."),
        },
    )
    @action(detail=False, methods=["post"], url_path="import", parser_classes=[CSVParser])
    def import_servers(self, request: Request) -> Response:
        """Creates the servers of a CSV file, and updates those that there are: all, or none.

        The header names the columns: `name`, `host`, `port`, `username`, `shared_credential`,
        `environment`, `tags` (separated by spaces), `check_interval`; `status` is passed by. What
        has no column stays as it is; an empty cell is the default. A name that is taken also needs
        `servers.change_server`, and another shared credential `servers.view_credential`.
        """
        query = ImportQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        dry_run = query.validated_data["dry_run"]
        body: Any = request.data or b""
        try:
            text = csv_files.decode(body)
            plan = importing.run(text, request.user, dry_run=dry_run)
        except csv_files.BadFile as error:
            answer = {"detail": str(error), "errors": [asdict(bad) for bad in error.lines]}
            return Response(answer, status=status.HTTP_400_BAD_REQUEST)
        return Response(
            {
                "dry_run": dry_run,
                "created": [server.name for server in plan.created],
                "updated": [update.server.name for update in plan.updated],
                "unchanged": plan.unchanged,
            },
            status=status.HTTP_200_OK if dry_run else status.HTTP_201_CREATED,
        )

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR}, filters=True)
    @action(detail=False, url_path="export", pagination_class=None, renderer_classes=[CSVRenderer])
    def export_servers(self, request: Request) -> HttpResponse:
        """The list as a CSV file that can be imported again; cells are no formulas."""
        return exported(self.filter_queryset(self.get_queryset()))  # type: ignore[attr-defined]


def exported(rows: QuerySet[Server]) -> HttpResponse:
    """A file to be kept. In one piece: one that is cut off would look whole."""
    cells = rows.values_list(
        "name",
        "host",
        "port",
        "username",
        "shared_credential__name",
        "environment__name",
        "tags",
        "check_interval",
        "status",
    )
    lines = ((*row[:6], " ".join(row[6]), *row[7:]) for row in cells.iterator())
    return HttpResponse(
        csv_files.write(lines),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="servers.csv"'},
    )
