"""All that happened to an incident, in order: from the event log, and the comments.

The log forgets after EVENTS_RETENTION_DAYS; comments stay, and stand then for their events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from events.api import events_about, format_timestamp, public, subject_of
from incidents import markdown
from incidents.event_map import IncidentEvent
from incidents.models import Comment, Incident
from incidents.services import comment_data


class Timeline:
    """What this user may read of it, the oldest first, each in an event's public form.

    `id` is None for an event without a position yet, and for a comment that the log forgot. Only
    what is asked for, as by a page, is read in full.
    """

    def __init__(self, incident: Incident, user: Any) -> None:
        self.incident = incident
        # Before the events, so that each of these has its own.
        said = list(incident.comments.values_list("pk", flat=True))
        self._events = events_about(incident, user)
        first = self._first_told(said)
        self._forgotten = [pk for pk in said if first is None or pk < first]

    def _first_told(self, said: list[int]) -> int | None:
        """The first comment that has an event: the log forgets its oldest first."""
        events = self._events.filter(type=IncidentEvent.COMMENTED.value)
        told = (event.data["comment"] for event in events.iterator(chunk_size=20))
        known = set(said)  # an event that was published by hand may name any number
        return next((pk for pk in told if pk in known), None)

    def __len__(self) -> int:
        return len(self._forgotten) + self._events.count()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self[:])

    def __getitem__(self, wanted: slice) -> list[dict[str, Any]]:
        start, stop, _ = wanted.indices(len(self))
        keys, count = self._forgotten[start:stop], len(self._forgotten)
        rows = Comment.objects.in_bulk(keys)
        comments = [self._from_comment(rows[pk]) for pk in keys if pk in rows]
        events = self._events[max(start - count, 0) : max(stop - count, 0)]
        return comments + [public(event) for event in events]

    def _from_comment(self, said: Comment) -> dict[str, Any]:
        actor = {"id": said.author_id, "username": said.author_name} if said.author_name else None
        return {
            "id": None,
            "type": IncidentEvent.COMMENTED.value,
            "timestamp": format_timestamp(said.created_at),
            "subject": subject_of(self.incident),
            "actor": actor,
            "data": comment_data(said, markdown.render(said.text)),
        }


class NewestFirst:
    """A timeline from its end on, for a page."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._length = len(timeline)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self[:])

    def __getitem__(self, wanted: slice) -> list[dict[str, Any]]:
        start, stop, _ = wanted.indices(self._length)
        return self._timeline[self._length - stop : self._length - start][::-1]
