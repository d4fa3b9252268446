"""What the incidents' pages do: to one incident, or to all that were ticked."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.shortcuts import get_object_or_404
from django.urls import reverse

from events.api import events_about
from incidents import services
from incidents.event_map import IncidentEvent
from incidents.forms import AssignForm, ChosenForm, CommentForm, TransitionForm
from incidents.models import Incident
from servers.actions import Action, cleaned

VIEW = "incidents.view_incident"


class Overtaken(Exception):
    """Somebody else has moved the incident on; the text says who and whither."""


class IncidentAction(Action):
    refusals = (Overtaken,)

    def act(self, **kwargs: Any) -> str:
        self.act_on(get_object_or_404(Incident, **kwargs))
        return ""

    def act_on(self, incident: Incident) -> None:
        raise NotImplementedError

    def back(self) -> str:
        if "board" in self.request.POST:
            return reverse("incidents:board")
        return reverse("incidents:detail", kwargs=self.kwargs)


class Transition(IncidentAction):
    """Which right it takes, the transition says."""

    permission_required = VIEW

    def act_on(self, incident: Incident) -> None:
        values = cleaned(TransitionForm(self.request.POST))
        move(incident, values["to"], self.request.user, values["comment"])


class Assign(IncidentAction):
    permission_required = (VIEW, "incidents.assign_incident")

    def act_on(self, incident: Incident) -> None:
        services.assign(incident, cleaned(AssignForm(self.request.POST))["assignee"])


class Comment(IncidentAction):
    permission_required = (VIEW, "incidents.comment_incident")

    def act_on(self, incident: Incident) -> None:
        text = cleaned(CommentForm(self.request.POST), ("comment",))["comment"]
        services.comment(incident, self.request.user, text)


def move(incident: Incident, to: str, user: Any, comment: str = "") -> None:
    """Raises Overtaken where its status does not lead there any more, and PermissionDenied."""
    try:
        services.transition_to(incident, to, user, comment)
    except services.NotPermitted:
        raise PermissionDenied from None
    except services.TransitionRefused:
        incident.refresh_from_db()
        raise Overtaken(how_it_was_overtaken(incident, user)) from None


def how_it_was_overtaken(incident: Incident, user: Any) -> str:
    moved = events_about(incident, user).filter(type=IncidentEvent.STATUS_CHANGED.value).last()
    who = moved.actor_username if moved else ""
    quicker = f"{who} was quicker: it" if who not in ("", user.get_username()) else "It"
    return f"{quicker} is {incident.status} already."


class BulkAction(Action):
    def act(self, **kwargs: Any) -> str:
        keys = cleaned(ChosenForm(self.request.POST), ("incidents",))["incidents"]
        return self.act_on(list(Incident.objects.filter(pk__in=keys).order_by("pk")))

    def act_on(self, incidents: list[Incident]) -> str:
        raise NotImplementedError

    def back(self) -> str:
        return reverse("incidents:list", query=self.request.GET)


class TransitionMany(BulkAction):
    permission_required = VIEW

    def act_on(self, incidents: list[Incident]) -> str:
        to = cleaned(TransitionForm(self.request.POST))["to"]
        left = [each for each in incidents if not self.was_moved(each, to)]
        text = f"{to.capitalize()}: {counted(len(incidents) - len(left))}."
        names = ", ".join(f"{each} ({each.status})" for each in left[:5])
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        return f"{text} Left as they are: {names}{more}." if left else text

    def was_moved(self, incident: Incident, to: str) -> bool:
        try:
            move(incident, to, self.request.user)
        except Overtaken:
            return False
        return True


class AssignMany(BulkAction):
    permission_required = (VIEW, "incidents.assign_incident")

    def act_on(self, incidents: list[Incident]) -> str:
        assignee = cleaned(AssignForm(self.request.POST))["assignee"]
        for incident in incidents:
            services.assign(incident, assignee)
        return f"Given to {assignee or 'nobody'}: {counted(len(incidents))}."


def counted(number: int) -> str:
    return f"{number} incident{'' if number == 1 else 's'}"
