"""`/api/v1/automations/` and `/api/v1/runs/`."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import SAFE_METHODS
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from automation import excerpt, log, runs, services
from automation.filters import AutomationFilter, RunFilter
from automation.models import Automation, Run
from automation.parameters import InvalidValues
from automation.serializers import (
    AutomationSerializer,
    FullRunSerializer,
    LogQuerySerializer,
    LogSerializer,
    ReasonSerializer,
    RunSerializer,
    StartSerializer,
    automations,
    runs_in_full,
)
from events.api import EventCursorMixin
from servers.api import InventoryViewSet, refuse_at_once
from servers.encryption import DecryptionError
from servers.serializers import NothingSerializer
from servers.transfer import FileRenderer


def told(run: Run, view: viewsets.GenericViewSet, status: int) -> Response:
    """The run as it is now, to whoever did something about it."""
    row = runs_in_full().get(pk=run.pk)
    content = FullRunSerializer(row, context=view.get_serializer_context()).data
    return Response(content, status=status)


def refused(reason: object) -> Response:
    return Response({"detail": str(reason)}, status=status.HTTP_409_CONFLICT)


class AutomationViewSet(InventoryViewSet):
    """What can be run on servers."""

    queryset = automations()
    serializer_class = AutomationSerializer
    filterset_class = AutomationFilter
    action_permissions = {
        # It is told what the automation asks for, and answered with the run.
        "run": (
            "automation.view_automation",
            "automation.view_run",
            "automation.run_automation",
        )
    }

    def perform_destroy(self, instance: Automation) -> None:
        services.delete(instance)

    @extend_schema(
        request=StartSerializer,
        responses={
            202: FullRunSerializer,
            409: OpenApiResponse(description="It is disabled, or there is no server to run on."),
        },
    )
    @action(detail=True, methods=["post"])
    def run(self, request: Request, **kwargs: Any) -> Response:
        """Starts a run of it; what becomes of that arrives as events."""
        automation = self.get_object()
        body = StartSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        targets = dict(body.validated_data)
        values, reason = targets.pop("parameters", {}), targets.pop("reason", "")
        try:
            run = runs.start(automation, request.user, values, reason=reason, **targets)
        except InvalidValues as error:
            by_name = {
                name or api_settings.NON_FIELD_ERRORS_KEY: said
                for name, said in error.errors.items()
            }
            raise serializers.ValidationError({"parameters": by_name}) from error
        except runs.Refused as error:
            return refused(error)
        return told(run, self, status.HTTP_202_ACCEPTED)


class LogRenderer(FileRenderer):
    media_type = "text/plain"
    format = "text"


class RunViewSet(EventCursorMixin, viewsets.ReadOnlyModelViewSet):
    """What was run, and how it went."""

    queryset = Run.objects.without_secrets().defer("script", "parameters", "values")
    serializer_class = RunSerializer
    filterset_class = RunFilter
    lookup_value_regex = "[0-9]+"
    action_permissions = {
        # These answer with the run.
        "cancel": ("automation.view_run", "automation.cancel_run"),
        "retry": ("automation.view_run", "automation.run_automation"),
    }

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            refuse_at_once()

    def get_queryset(self) -> Any:
        return runs_in_full() if self.action == "retrieve" else super().get_queryset()

    def get_serializer_class(self) -> Any:
        return FullRunSerializer if self.action == "retrieve" else RunSerializer

    @extend_schema(
        request=None,
        responses={
            200: OpenApiResponse(FullRunSerializer, "It had not begun, and is cancelled."),
            202: OpenApiResponse(FullRunSerializer, "What runs of it is being stopped."),
            409: OpenApiResponse(description="It is over."),
        },
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Cancels it; where it has begun, what is stopped arrives as events."""
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        try:
            run = runs.cancel(self.get_object(), request.user)
        except runs.Refused as error:
            return refused(error)
        done = status.HTTP_200_OK if run.is_finished else status.HTTP_202_ACCEPTED
        return told(run, self, done)

    @extend_schema(
        request=ReasonSerializer,
        responses={
            202: FullRunSerializer,
            409: OpenApiResponse(
                description="It is under way, there is no server left that it was not done on, or"
                " its secrets are kept no more."
            ),
        },
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, **kwargs: Any) -> Response:
        """Starts the same once more for those targets that it was not done on."""
        run = self.get_object()
        body = ReasonSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            again = runs.retry_failed(run, request.user, **body.validated_data)
        except runs.Refused as error:
            return refused(error)
        except DecryptionError:
            return refused(f"The secrets of {run} cannot be read: start it anew.")
        return told(again, self, status.HTTP_202_ACCEPTED)

    @extend_schema(
        parameters=[LogQuerySerializer],
        responses={
            (200, "application/json"): LogSerializer,
            (200, "text/plain"): OpenApiTypes.STR,
        },
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        renderer_classes=[JSONRenderer, LogRenderer],
    )
    def log(self, request: Request, **kwargs: Any) -> Response | HttpResponse:
        """What was printed, and what the portal remarked: lines in order, from one of them on.

        As text, it is all the bytes that were printed, without remarks; `after`, `limit` and
        `search` are refused then.
        """
        run = self.get_object()
        query = LogQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        asked = dict(query.validated_data)
        del asked["format"]  # which chose the renderer
        name = asked.pop("server")
        target = target_called(name, run) if name else None
        if request.accepted_renderer.format == LogRenderer.format:
            refuse_unfit(request)
            return downloaded(run, target, name, asked["stream"])
        found = excerpt.excerpt(run, excerpt.Question(target=target, **asked))
        return Response(
            {
                "lines": found.lines,
                "cursor": found.cursor,
                "more": found.more,
                "complete": run.is_finished and not found.more,
                "dropped": run.log_dropped,
            }
        )


def target_called(name: str, run: Run) -> int:
    """The position of the run's target of this name. Raises ValidationError."""
    target = run.targets.filter(name=name).first()
    if target is None:
        raise serializers.ValidationError({"server": ["It does not run on this server."]})
    return target.position


def refuse_unfit(request: Request) -> None:
    """Raises ValidationError for what asks for a part of a text."""
    unfit = {"after", "limit", "search"} & set(request.query_params)
    if unfit:
        raise serializers.ValidationError({name: ["Not of a text."] for name in sorted(unfit)})


def downloaded(run: Run, target: int | None, server: str, stream: str) -> HttpResponse:
    """The log as a file. In one piece, whose size the log's limit bounds: under ASGI, Django would
    gather what a plain iterator streams, too, and hold a thread for it.
    """
    of_server = slugify(server) or (str(target) if target else "")
    name = "-".join(filter(None, ("run", str(run.pk), of_server, stream)))
    return HttpResponse(
        log.raw(run, target, stream or None),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": content_disposition_header(True, f"{name}.log")},
    )
