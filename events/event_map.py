"""What the event system tells itself."""

from rest_framework import serializers

from events.audience import INTERNAL
from events.catalogue import SystemEvent, declare


class AccessEvent(SystemEvent):
    CHANGED = "access.changed", "Access changed"


class AccessChange(serializers.Serializer):
    """`user` is a user's audience key, or empty for everybody's rights."""

    user = serializers.CharField(allow_blank=True)
    reason = serializers.CharField()
    ended = serializers.BooleanField()


declare({AccessEvent.CHANGED: AccessChange}, permission=INTERNAL)
