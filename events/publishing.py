"""Events that come from outside the process, as JSON objects."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from events.audience import INTERNAL
from events.bus import Draft, InvalidSubject, prepare
from events.catalogue import UnknownEventType, catalogue
from events.models import Event
from events.payload import InvalidEventData


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
