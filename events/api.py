"""What other apps use of the event system; everything else in it is its own affair."""

from events.access_changes import access_changed, everyones_access_changed
from events.audience import EVERYONE, INTERNAL
from events.bus import Draft, InvalidSubject, aemit, emit, emit_many
from events.catalogue import (
    EventMap,
    SystemEvent,
    UnknownEventType,
    declare,
    register,
)
from events.context import acting, actor
from events.cursor import EventCursorMixin, event_cursor
from events.deduplication import deduplicate
from events.fields import JSONTextField
from events.log import public
from events.models import EmittingModel
from events.payload import InvalidEventData
from events.permissions import ModelPermissions
from events.querysets import EventQuerySet
from events.signals import subject_of
from events.stats import publish_stats
from events.subscriptions import subscribe, summarize
from events.trail import EventTrailMixin, events_about, trail
from events.wire import format_timestamp

__all__ = [
    "EVERYONE",
    "INTERNAL",
    "Draft",
    "EmittingModel",
    "EventCursorMixin",
    "EventMap",
    "EventQuerySet",
    "EventTrailMixin",
    "InvalidEventData",
    "InvalidSubject",
    "JSONTextField",
    "ModelPermissions",
    "SystemEvent",
    "UnknownEventType",
    "access_changed",
    "acting",
    "actor",
    "aemit",
    "declare",
    "deduplicate",
    "emit",
    "emit_many",
    "event_cursor",
    "events_about",
    "everyones_access_changed",
    "format_timestamp",
    "public",
    "publish_stats",
    "register",
    "subject_of",
    "subscribe",
    "summarize",
    "trail",
]
