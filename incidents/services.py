"""Every rule about incidents: API, pages, admin and the portal itself come through here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_fsm import can_proceed

from events.api import emit, public, subject_of
from incidents import markdown
from incidents.event_map import IncidentEvent
from incidents.models import AffectedServer, Comment, Incident
from incidents.models.incident import UNRESOLVED
from servers.models import Server

Status = Incident.Status

# The transition that leads to each status.
TRANSITIONS: Final = {
    Status.ACKNOWLEDGED: "acknowledge",
    Status.RESOLVED: "resolve",
    Status.CLOSED: "close",
    Status.OPEN: "reopen",
}


class TransitionRefused(Exception):
    """From its present status the incident cannot go there. `allowed` is where it can."""

    def __init__(self, incident: Incident, to: str, allowed: list[str]) -> None:
        super().__init__(f"An incident that is {incident.status} cannot become {to}.")
        self.allowed = allowed


class NotPermitted(Exception):
    """The user has no right to this transition."""


def create(incident: Incident, servers: Iterable[Server] = ()) -> None:
    """Writes a new incident, with the servers it affects. Raises ValidationError, by field."""
    check_assignee(incident.assignee)
    with transaction.atomic():
        incident.save()
        rows = [AffectedServer(incident=incident, server=s, name=s.name) for s in servers]
        AffectedServer.objects.bulk_create(rows)


def edit(
    incident: Incident, values: Mapping[str, Any], servers: Collection[Server] | None = None
) -> None:
    """Sets these fields of an incident whose row is locked, and what it affects if given.

    Raises ValidationError, by field.
    """
    changed = [name for name, value in values.items() if getattr(incident, name) != value]
    for name in changed:
        setattr(incident, name, values[name])
    save(incident, changed, servers)


def save(
    incident: Incident, changed: Collection[str], servers: Collection[Server] | None = None
) -> None:
    """Writes these fields, which hold new values, and no others.

    Raises ValidationError, by field.
    """
    if "assignee" in changed:
        check_assignee(incident.assignee)
    with transaction.atomic():
        affected = {} if servers is None else _set_servers(incident, servers)
        if affected:
            _save_and_tell(incident, changed, affected)
        elif changed:
            incident.save(update_fields={*changed, "updated_at"})


def check_assignee(user: Any) -> None:
    """Raises ValidationError, by field, for one who could not even look at the incident."""
    if user is not None and not user.has_perm("incidents.view_incident"):
        raise ValidationError({"assignee": f"{user.get_username()} may not view incidents."})


def _set_servers(incident: Incident, servers: Collection[Server]) -> dict[str, Any]:
    """Those of servers that are gone stay: nobody can choose them again.

    Returns what changed by it, as an event tells it.
    """
    _lock(incident)
    old = {row.server_id: row for row in incident.affected.exclude(server=None)}
    new = {server.pk: server for server in servers}
    gone = [row for key, row in old.items() if key not in new]
    come = [server for key, server in new.items() if key not in old]
    if not gone and not come:
        return {}
    before = affected_names(incident)
    incident.affected.filter(pk__in=[row.pk for row in gone]).delete()
    AffectedServer.objects.bulk_create(
        AffectedServer(incident=incident, server=server, name=server.name) for server in come
    )
    return {"servers": {"old": before, "new": affected_names(incident)}}


def _save_and_tell(
    incident: Incident, changed: Collection[str], affected: Mapping[str, Any]
) -> None:
    """One event of both: a save's own could not tell of the servers."""
    before = _lock(incident)
    incident.updated_at = timezone.now()
    values = {name: getattr(incident, name) for name in (*changed, "updated_at")}
    QuerySet(Incident).filter(pk=incident.pk).update(**values)  # Django's, which tells nothing
    pairs = {name: (_shown(before, name), _shown(incident, name)) for name in changed}
    changes = {n: {"old": old, "new": new} for n, (old, new) in pairs.items() if old != new}
    _emit_updated(incident, {**changes, **affected})


def _shown(incident: Incident, name: str) -> str | None:
    value = getattr(incident, name)
    return None if value is None else str(value)


def _lock(incident: Incident) -> Incident:
    """The row as it is now. Raises Incident.DoesNotExist where it is gone."""
    return Incident.objects.select_for_update().get(pk=incident.pk)


def affected_names(incident: Incident) -> list[str]:
    """As they are stored: what was fetched with the incident may be from before."""
    return sorted(str(row) for row in AffectedServer.objects.filter(incident=incident))


def keep_names(server: Server) -> None:
    """Incidents name a server that is about to be deleted as it is called now."""
    rows = Server.objects.select_for_update().filter(pk=server.pk)
    name = rows.values_list("name", flat=True).first()
    if name is not None:  # else somebody else has deleted it, and its name is kept
        AffectedServer.objects.filter(server=server).update(name=name)


def _emit_updated(incident: Incident, changes: dict[str, Any]) -> None:
    assignee = incident.assignee.username if incident.assignee else None
    data = {
        "id": incident.pk,
        "title": incident.title,
        "severity": incident.severity,
        "status": incident.status,
        "assignee": assignee,
        "changes": changes,
    }
    emit(IncidentEvent.UPDATED, data, subject=subject_of(incident))


def allowed_for(incident: Incident, user: Any) -> list[str]:
    """The statuses that this user may bring the incident to now; of nobody, the portal itself."""
    transitions = (
        incident.get_available_status_transitions()  # type: ignore[attr-defined]
        if user is None
        else incident.get_available_user_status_transitions(user)  # type: ignore[attr-defined]
    )
    found = {str(each.target) for each in transitions}
    return [status for status in Status.values if status in found]


def moves_of(user: Any) -> dict[str, list[str]]:
    """From each status, those that this user may bring an incident to."""
    return {status: allowed_for(Incident(status=status), user) for status in Status.values}


def transition_to(incident: Incident, to: str, user: Any, comment: str = "") -> None:
    """Brings an incident to another status, on behalf of a user, or of the portal (None).

    Of two who do it at once, the second finds it done. Raises TransitionRefused where its status
    does not lead there, NotPermitted where only the user's right is missing.
    """
    with transaction.atomic():
        if to == Status.OPEN:
            _lock_watched(incident)
        row = _lock(incident)
        method = getattr(row, TRANSITIONS[Status(to)])
        if not can_proceed(method):
            raise TransitionRefused(row, to, allowed_for(row, user))
        if user is not None and to not in allowed_for(row, user):
            raise NotPermitted
        method()
        if to == Status.OPEN and _has_successor(row):
            row.watched = None
        row.status_comment = comment
        row.save()
    incident.refresh_from_db()


def _lock_watched(incident: Incident) -> None:
    """Before the incident's own row, as whoever opens and resolves them by themselves."""
    rows = Server.objects.select_for_update().filter(pk=incident.watched_id or 0)
    rows.values_list("pk").first()


def _has_successor(incident: Incident) -> bool:
    """Whether another incident was opened for the same server since: that one is added to."""
    others = Incident.objects.filter(watched=incident.watched_id, status__in=UNRESOLVED)
    return incident.watched_id is not None and others.exists()


def assign(incident: Incident, assignee: Any) -> None:
    """Gives it to a user, or to nobody (None). Raises ValidationError, by field."""
    with transaction.atomic():
        edit(_lock(incident), {"assignee": assignee})
    incident.refresh_from_db()


def comment(incident: Incident, author: Any, text: str) -> dict[str, Any]:
    """Adds what a user says, in Markdown; of nobody (None), it is a note of the portal.

    Returns the event of it in its public form, which has no position yet.
    """
    name = author.get_username() if author else ""
    said = Comment(incident=incident, author=author, author_name=name, text=text)
    html = markdown.render(text)  # before anything is locked: it takes its time
    with transaction.atomic():
        _lock(incident)
        said.save()
        data = comment_data(said, html)
        event = emit(IncidentEvent.COMMENTED, data, subject=subject_of(incident))
    return public(event)


def comment_data(said: Comment, html: str) -> dict[str, Any]:
    """A comment, and its text as HTML, as events and the timeline tell it."""
    return {
        "id": said.incident_id,
        "comment": said.pk,
        "author": said.author_name or None,
        "text": said.text,
        "html": html,
    }
