"""What the admin does for many incidents at once."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from incidents import markdown, services
from incidents.forms import assignable_users
from incidents.models import Incident
from incidents.models.incident import Status
from servers.confirmation import AskingActions, Question


class TransitionForm(forms.Form):
    comment = forms.CharField(
        required=False,
        max_length=markdown.LONGEST,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
        help_text="Told with it.",
    )


class AssignForm(forms.Form):
    assignee = forms.ModelChoiceField(assignable_users(), required=False, empty_label="Nobody")


FACTS: Final = {
    "Severity": lambda incident: incident.get_severity_display(),
    "Status": lambda incident: incident.get_status_display(),
    "Assignee": lambda incident: incident.assignee,
}


def transition(action: str, text: str = "") -> Question:
    name = action.capitalize()
    return Question(action, f"{name} these incidents?", text, name, TransitionForm, FACTS)


ACKNOWLEDGE: Final = transition(
    "acknowledge", "Those that opened by themselves do not end by themselves any more."
)
RESOLVE: Final = transition("resolve")
CLOSE: Final = transition("close")
REOPEN: Final = transition("reopen", "They count from now on.")
ASSIGN: Final = Question("assign", "Assign these incidents", "", "Assign", AssignForm, FACTS)


class IncidentActions(AskingActions):
    """The actions on the list of incidents."""

    actions = ("acknowledge", "resolve", "close", "reopen", "assign")

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.acknowledge_incident")

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.resolve_incident")

    def has_close_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.close_incident")

    def has_reopen_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.reopen_incident")

    def has_assign_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("incidents.assign_incident")

    @admin.action(description="Acknowledge …", permissions=["acknowledge"])
    def acknowledge(
        self, request: HttpRequest, queryset: QuerySet[Incident]
    ) -> HttpResponse | None:
        return self._bring(request, queryset, ACKNOWLEDGE, Status.ACKNOWLEDGED)

    @admin.action(description="Resolve …", permissions=["resolve"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Incident]) -> HttpResponse | None:
        return self._bring(request, queryset, RESOLVE, Status.RESOLVED)

    @admin.action(description="Close …", permissions=["close"])
    def close(self, request: HttpRequest, queryset: QuerySet[Incident]) -> HttpResponse | None:
        return self._bring(request, queryset, CLOSE, Status.CLOSED)

    @admin.action(description="Reopen …", permissions=["reopen"])
    def reopen(self, request: HttpRequest, queryset: QuerySet[Incident]) -> HttpResponse | None:
        return self._bring(request, queryset, REOPEN, Status.OPEN)

    @admin.action(description="Assign …", permissions=["assign"])
    def assign(self, request: HttpRequest, queryset: QuerySet[Incident]) -> HttpResponse | None:
        def assign(incidents: list[Incident], form: dict[str, Any]) -> None:
            for incident in incidents:
                services.assign(incident, form["assignee"])
            self.tell(request, f"Incidents of {form['assignee'] or 'nobody'}: {len(incidents)}.")

        return self.ask(request, queryset, ASSIGN, assign)

    def _bring(
        self, request: HttpRequest, queryset: QuerySet[Incident], question: Question, to: Status
    ) -> HttpResponse | None:
        def bring(incidents: list[Incident], form: dict[str, Any]) -> None:
            left = [
                incident
                for incident in incidents
                if not brought(incident, to, request.user, form["comment"])
            ]
            count = len(incidents) - len(left)
            self.tell(request, f"Incidents {to} now: {count}.", count)
            self.warn(request, f"Left alone, as from their status they cannot become {to}", left)

        return self.ask(request, queryset, question, bring)


def brought(incident: Incident, to: Status, user: Any, comment: str) -> bool:
    try:
        services.transition_to(incident, to, user, comment)
    except (services.TransitionRefused, Incident.DoesNotExist):  # changed since it was looked up
        return False
    return True
