"""All that happened to an incident, in order: from the event log, and the comments.

The log forgets after EVENTS_RETENTION_DAYS; comments stay, and stand then for their events.
"""

from __future__ import annotations

from typing import Any

from events.api import events_about, format_timestamp, subject_of
from incidents.event_map import IncidentEvent
from incidents.models import Comment, Incident
from incidents.services import comment_data


def timeline(incident: Incident, user: Any) -> list[dict[str, Any]]:
    """What this user may read of it, the oldest first, each in an event's public form.

    `id` is None for an event without a position yet, and for a comment that the log forgot.
    """
    said = list(incident.comments.all())  # before the events, so that each of these has its own
    events = events_about(incident, user)
    comments = (each["data"] for each in events if each["type"] == IncidentEvent.COMMENTED)
    told = {data["comment"] for data in comments}
    forgotten = [comment for comment in said if comment.pk not in told]
    return [_from_comment(comment) for comment in forgotten] + events


def _from_comment(said: Comment) -> dict[str, Any]:
    actor = {"id": said.author_id, "username": said.author_name} if said.author_name else None
    return {
        "id": None,
        "type": IncidentEvent.COMMENTED.value,
        "timestamp": format_timestamp(said.created_at),
        "subject": subject_of(said.incident),
        "actor": actor,
        "data": comment_data(said),
    }
