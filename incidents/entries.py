"""The entries of a timeline, as its page shows them. `timeline.js` shows those that come later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString, mark_safe

from incidents import markdown

PORTAL: Final = "OpsPortal"
NOTHING: Final = "–"
# What somebody did, by the event's type, or its type and what it changed to.
DEEDS: Final = {
    "incident.created": "opened this incident",
    "incident.updated": "edited",
    "incident.status_changed": "changed the status",
    "incident.status_changed/open": "reopened",
    "incident.status_changed/acknowledged": "acknowledged",
    "incident.status_changed/resolved": "resolved",
    "incident.status_changed/closed": "closed",
    "incident.commented": "commented",
    "notification.sent": "told",
    "notification.failed": "could not tell",
}


@dataclass(frozen=True, slots=True)
class Change:
    """A field's values before and after, as text. Long ones are shown when somebody asks."""

    field: str
    old: str
    new: str

    @property
    def is_long(self) -> bool:
        return max(len(self.old), len(self.new)) > 80 or "\n" in self.old + self.new


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, told to people. `key` is the same on the page and on the stream, also while the
    event has no position yet; `kind` is the event's type, or where it led."""

    key: str
    kind: str
    who: str
    deed: str
    at: datetime | None
    text: str
    html: SafeString
    changes: list[Change]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Entry:
        """Of an event in its public form, which may have been published by hand."""
        kind, data = kind_of(event), event["data"]
        return cls(
            key=f"{event['type']} {event['timestamp']}",
            kind=kind,
            who=event["actor"]["username"] if event["actor"] else PORTAL,
            deed=" ".join(filter(None, (DEEDS.get(kind, event["type"]), told(event)))),
            at=parse_datetime(event["timestamp"]),
            text=str(data.get("error") or data.get("comment") or "") if "html" not in data else "",
            html=mark_safe(markdown.clean(data.get("html", ""))),
            changes=changes_of(data),
        )


def kind_of(event: Mapping[str, Any]) -> str:
    status = event["data"].get("new_status")
    return f"{event['type']}/{status}" if status else str(event["type"])


def told(event: Mapping[str, Any]) -> str:
    """Who was told by a notification: a channel, or else the reader."""
    is_notification = event["type"].startswith("notification.")
    return str(event["data"].get("channel") or "you") if is_notification else ""


def changes_of(data: Mapping[str, Any]) -> list[Change]:
    return [
        Change(name.replace("_", " "), shown(change.get("old")), shown(change.get("new")))
        for name, change in data.get("changes", {}).items()
    ]


def shown(value: Any) -> str:
    """A field's value, which in an event that was published by hand may be any of JSON's."""
    if value in (None, "", []):
        return NOTHING
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
