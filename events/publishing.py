"""Events that come from outside the process, as JSON objects."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from events import log
from events.audience import INTERNAL
from events.bus import Draft, InvalidSubject, append, prepare
from events.catalogue import UnknownEventType, catalogue
from events.lease import release_connections
from events.models import Event
from events.payload import InvalidEventData
from events.relay import relay

PLACING_TIMEOUT: Final = 2.0  # seconds a publisher waits for the positions of its events


class PublishedEvent(serializers.Serializer):
    """`{"type", "data", "permissions"?, "users"?, "subject"?}`; users are primary keys."""

    type = serializers.CharField(max_length=100)
    data = serializers.DictField()  # type: ignore[assignment]
    permissions = serializers.ListField(
        child=serializers.CharField(max_length=200), required=False, allow_null=True
    )
    users = serializers.ListField(child=serializers.IntegerField(min_value=1), required=False)
    subject = serializers.CharField(max_length=200, required=False, allow_blank=True)


def parse(item: Any) -> Event:
    """The prepared event. Raises DRF's ValidationError, by field, for whatever is wrong with it."""
    if isinstance(item, dict) and (unknown := set(item) - set(PublishedEvent().fields)):
        errors = {str(name): ["This field is not known."] for name in sorted(unknown)}
        raise serializers.ValidationError(errors)
    serializer = PublishedEvent(data=item)
    serializer.is_valid(raise_exception=True)
    try:
        if INTERNAL in catalogue.type(serializer.validated_data["type"]).audience:
            raise serializers.ValidationError({"type": ["This type is internal."]})
        return prepare(Draft(**serializer.validated_data))
    except UnknownEventType as error:
        raise serializers.ValidationError({"type": [str(error.args[0])]}) from error
    except InvalidEventData as error:
        raise serializers.ValidationError({"data": error.errors}) from error
    except InvalidSubject as error:
        raise serializers.ValidationError({"subject": [str(error)]}) from error
    except ValueError as error:
        raise serializers.ValidationError({"permissions": [str(error)]}) from error


def parse_all(items: list[Any]) -> list[Event]:
    """The prepared events, or ValidationError with the errors of each bad one by its index."""
    events: list[Event] = []
    errors: dict[str, Any] = {}
    for index, item in enumerate(items):
        try:
            events.append(parse(item))
        except serializers.ValidationError as error:
            errors[str(index)] = error.detail
    if errors:
        raise serializers.ValidationError(errors)
    return events


def publish(events: list[Event]) -> list[dict[str, Any]]:
    """Appends prepared events, and returns them in their public form once they are placed.

    To be called outside of a transaction, as nothing is placed before its commit. The `id` of an
    event that has no position after PLACING_TIMEOUT is None; it is in the log all the same.
    """
    append(events)
    release_connections()  # the relay may need the one that this thread would hold meanwhile
    relay.placed(PLACING_TIMEOUT)
    placed = Event.objects.only("position").in_bulk([event.pk for event in events])
    for event in events:
        if event.pk in placed:  # and not pruned by now
            event.position = placed[event.pk].position
    return [log.public(event) for event in events]
