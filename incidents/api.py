"""`/api/v1/incidents/`, `/api/v1/notification-channels/` and `/api/v1/notifications/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils.decorators import method_decorator
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import get_object_or_404
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events.api import EventCursorMixin, deduplicate
from incidents import bell, deliveries, services
from incidents.channels import Checked
from incidents.filters import IncidentFilter, NotificationFilter
from incidents.models import Incident, Notification, NotificationChannel
from incidents.serializers import (
    AssignSerializer,
    ChannelSerializer,
    CommentSerializer,
    EntrySerializer,
    FiguresSerializer,
    IncidentSerializer,
    NotificationSerializer,
    TransitionSerializer,
)
from incidents.stats import stats
from incidents.timeline import Timeline
from servers.api import InventoryViewSet, refuse_at_once
from servers.serializers import NothingSerializer, told_by_field


class IncidentViewSet(InventoryViewSet):
    """What is wrong, and what is done about it."""

    queryset = Incident.objects.select_related("reporter", "assignee").prefetch_related("affected")
    serializer_class = IncidentSerializer
    filterset_class = IncidentFilter
    action_permissions = {
        # Which transition needs which right is asked for with the incident.
        "transition": "incidents.view_incident",
        # These answer with what they tell of it.
        "assign": ("incidents.view_incident", "incidents.assign_incident"),
        "comment": ("incidents.view_incident", "incidents.comment_incident"),
        "timeline": "incidents.view_incident",
    }

    def handle_exception(self, exc: Exception) -> Response:
        """Between its being found and its being locked, somebody may delete it."""
        return super().handle_exception(
            Http404() if isinstance(exc, Incident.DoesNotExist) else exc
        )

    @extend_schema(
        request=TransitionSerializer,
        responses={
            200: IncidentSerializer,
            409: OpenApiResponse(description="Not from here; `allowed` is where it can go."),
        },
    )
    @action(detail=True, methods=["post"])
    def transition(self, request: Request, **kwargs: Any) -> Response:
        """Brings it to another status."""
        incident = self.get_object()
        body = TransitionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            services.transition_to(
                incident,
                body.validated_data["to"],
                request.user,
                body.validated_data.get("comment", ""),
            )
        except services.TransitionRefused as error:
            content = {"detail": str(error), "allowed": error.allowed}
            return Response(content, status=status.HTTP_409_CONFLICT)
        except services.NotPermitted:
            raise PermissionDenied from None
        return Response(self.get_serializer(incident).data)

    @extend_schema(request=AssignSerializer, responses=IncidentSerializer)
    @action(detail=True, methods=["post"])
    def assign(self, request: Request, **kwargs: Any) -> Response:
        """Gives it to a user, or to nobody."""
        incident = self.get_object()
        body = AssignSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        with told_by_field():
            services.assign(incident, body.validated_data["assignee"])
        return Response(self.get_serializer(incident).data)

    @extend_schema(request=CommentSerializer, responses={201: EntrySerializer})
    @action(detail=True, methods=["post"])
    def comment(self, request: Request, **kwargs: Any) -> Response:
        """Adds to its timeline what you say, in Markdown."""
        incident = self.get_object()
        body = CommentSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        entry = services.comment(incident, request.user, body.validated_data["text"])
        return Response(entry, status=status.HTTP_201_CREATED)

    @extend_schema(responses=EntrySerializer(many=True))
    @action(detail=True, filterset_class=None)
    def timeline(self, request: Request, **kwargs: Any) -> Response:
        """All that happened to it, the oldest first."""
        entries: Any = Timeline(self.get_object(), request.user)
        page = self.paginate_queryset(entries)
        return self.get_paginated_response(page)


class Period(serializers.Serializer):
    days = serializers.IntegerField(min_value=1, max_value=366, default=30)


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class IncidentStats(EventCursorMixin, APIView):
    """`/api/v1/incidents/stats/`."""

    queryset = Incident.objects.all()  # whose `view` permission is asked for

    @extend_schema(
        description="Incidents in figures, kept for a second.",
        parameters=[OpenApiParameter("days", int, description="The period, 30 by default.")],
        responses=FiguresSerializer,
    )
    @deduplicate(ttl=1)
    def get(self, request: Request) -> Response:
        period = Period(data=request.query_params)
        period.is_valid(raise_exception=True)
        return Response(stats(timedelta(days=period.validated_data["days"])))


@contextmanager
def writing() -> Iterator[None]:
    """For views that look at something first, which takes too long for a transaction."""
    with transaction.atomic():
        refuse_at_once()
        yield


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class ChannelViewSet(InventoryViewSet):
    """Where notifications are sent to."""

    checked: Checked | None = None

    queryset = NotificationChannel.objects.defer("url", "secret").prefetch_related("environments")
    serializer_class = ChannelSerializer
    action_permissions = {"test": "incidents.test_notificationchannel"}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action in ("create", "update", "partial_update"):
            self.checked = self._check_url()

    def _check_url(self) -> Checked | None:
        """With no row locked, nor SQLite's one lock taken: Apprise needs time."""
        key = self.kwargs.get("pk")
        found = get_object_or_404(self.get_queryset(), pk=key) if key else None
        partial = self.action == "partial_update"
        serializer = ChannelSerializer(
            found, self.request.data, partial=partial, context=self.get_serializer_context()
        )
        serializer.is_valid(raise_exception=True)
        return serializer.check_url()

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "checked": self.checked}

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, OperationalError):  # the database has no time for a transaction
            raise exc
        # REST framework rolls back the transaction that it is called in.
        with transaction.atomic():
            return super().handle_exception(exc)

    @writing()
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().create(request, *args, **kwargs)

    @writing()
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().update(request, *args, **kwargs)

    @writing()
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().destroy(request, *args, **kwargs)

    @extend_schema(request=None, responses={202: NotificationSerializer})
    @action(detail=True, methods=["post"])
    @writing()
    def test(self, request: Request, **kwargs: Any) -> Response:
        """Sends a test, as all notifications are sent; its end arrives as an event."""
        channel = self.get_object()
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        notification = deliveries.test(channel.pk, channel.name)
        content = NotificationSerializer(notification).data
        return Response(content, status=status.HTTP_202_ACCEPTED)


class NotificationViewSet(EventCursorMixin, viewsets.ReadOnlyModelViewSet):
    """What was sent: all of it for those who may view notifications, else what was sent to you."""

    queryset = Notification.objects.all()
    serializer_class = NotificationSerializer
    filterset_class = NotificationFilter
    lookup_value_regex = "[0-9]+"
    permission_classes = (IsAuthenticated,)

    def get_queryset(self) -> QuerySet[Notification]:
        return Notification.objects.visible_to(self.request.user)

    @extend_schema(request=None, responses=NotificationSerializer)
    @action(detail=True, methods=["post"])
    def read(self, request: Request, **kwargs: Any) -> Response:
        """Marks one of yours as read."""
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        notification = self.get_object()
        if notification.user_id != request.user.pk:
            raise PermissionDenied
        bell.mark_read(request.user, notification.pk)
        notification.refresh_from_db()
        return Response(self.get_serializer(notification).data)

    @extend_schema(request=None, responses={204: None})
    @action(detail=False, methods=["post"], url_path="read-all", filterset_class=None)
    def read_all(self, request: Request) -> Response:
        """Marks all of yours as read."""
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        bell.mark_read(request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
