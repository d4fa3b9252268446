"""The OpenAPI: of every endpoint the ways to be refused, and all of those that `events` has.

`events` is to be used without drf-spectacular, so what it would say of itself is said here.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_view,
)
from rest_framework import serializers

from events.publishing import PublishedEvent
from events.question import LARGEST

PREFIX: Final = "/api/v1/"
METHODS: Final = {"get", "post", "put", "patch", "delete"}
ERROR: Final = {
    "type": "object",
    "description": "`detail` is for people; `errors` tells what is wrong with which field.",
    "properties": {"detail": {"type": "string"}, "errors": {}},
    "required": ["detail"],
}
EVERYWHERE: Final = {
    "401": "No credentials, or bad ones.",
    "403": "This user has no right to it.",
    "404": "There is no such thing.",
    "406": "It cannot be given in the form that was asked for.",
}
WITH_INPUT: Final = {
    "400": "The input is not valid.",
    "413": "The body is larger than 1 MB.",
    "415": "The body is not JSON.",
}
ON_WRITES: Final = {
    "409": "What refers to it, or was written at the same moment, stands against it.",
    "412": "`If-Match` names another state than the present one, which is `current`.",
}


def declare_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: adds the answers below 500 that its views do not name themselves."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR
    for path, methods in result["paths"].items():
        for method, operation in methods.items():
            if path.startswith(PREFIX) and method in METHODS:
                _add(operation, EVERYWHERE | (WITH_INPUT if _takes_input(operation) else {}))
                if method in {"put", "patch", "delete"}:
                    _add(operation, ON_WRITES)
    return result


def _takes_input(operation: dict[str, Any]) -> bool:
    queries = any(parameter["in"] == "query" for parameter in operation.get("parameters", ()))
    return "requestBody" in operation or queries


def _add(operation: dict[str, Any], answers: dict[str, str]) -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses = operation["responses"]
    for status, description in answers.items():
        responses.setdefault(status, {"description": description})
    for status, response in responses.items():
        if status.startswith("4"):
            response.setdefault("content", content)


class TokenScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "opsportal.tokens.TokenAuthentication"


class Actor(serializers.Serializer):
    id = serializers.IntegerField(allow_null=True)
    username = serializers.CharField()


class EventForm(serializers.Serializer):
    """An event in its public form. `id` is its position, and grows."""

    id = serializers.IntegerField(allow_null=True)
    type = serializers.CharField()
    timestamp = serializers.DateTimeField()
    subject = serializers.CharField()
    actor = Actor(allow_null=True)
    data = serializers.DictField()  # type: ignore[assignment]


class EventPage(serializers.Serializer):
    events = EventForm(many=True)
    cursor = serializers.IntegerField(help_text="How far the page reaches.")
    more = serializers.BooleanField(help_text="The log goes on beyond the cursor.")
    reset = serializers.BooleanField(help_text="It cannot be gone on from the position asked for.")


class EventTypeForm(serializers.Serializer):
    type = serializers.CharField()
    description = serializers.CharField()
    permission = serializers.CharField(help_text="Django's, or `everyone`.")
    schema = serializers.DictField(help_text="JSON Schema 2020-12 of the events' `data`.")


def _one_or_many(name: str, form: type[serializers.Serializer]) -> PolymorphicProxySerializer:
    return PolymorphicProxySerializer(name, [form, form(many=True)], None, many=False)


def _position(name: str, description: str) -> OpenApiParameter:
    schema = {"type": "integer", "minimum": 0}
    return OpenApiParameter(name, schema, description=description)


def _described(view: Any, **methods: Any) -> Any:
    """A class of its own, or the methods of the view itself would be written to."""
    return extend_schema_view(**methods)(type(view.__name__, (view,), {"__doc__": view.__doc__}))


class EventsDescription(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "events.views.EventsView"

    def view_replacement(self) -> Any:
        read = extend_schema(
            description="What you may read of the event log, in order.",
            parameters=[
                _position("after", "The events that follow this position."),
                _position("before", "The last events before this position, instead of `after`."),
                OpenApiParameter("types", description="Comma list; `server.*` is all below."),
                OpenApiParameter("subject", description="Such as `servers.server/42`."),
                OpenApiParameter("actor", description="The user name of whoever acted."),
                OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": LARGEST}),
            ],
            responses={
                200: EventPage,
                304: OpenApiResponse(description="You have it: `If-None-Match` names its ETag."),
            },
        )
        publish = extend_schema(
            description="Publishes one event, or a list of them: all or none.",
            request=_one_or_many("Publication", PublishedEvent),
            responses={201: _one_or_many("Published", EventForm)},
        )
        return _described(self.target_class, get=read, post=publish)


class EventTypesDescription(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "events.views.EventTypesView"

    def view_replacement(self) -> Any:
        read = extend_schema(
            description="The types of events, and what their data holds.",
            responses=EventTypeForm(many=True),
        )
        return _described(self.target_class, get=read)


class TicketForm(serializers.Serializer):
    ticket = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class TicketDescription(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "events.views.TicketView"

    def view_replacement(self) -> Any:
        ask = extend_schema(
            description="A ticket that opens one stream, as its parameter `ticket`.",
            request=None,
            responses=TicketForm,
        )
        return _described(self.target_class, post=ask)
