"""What the forms of the incidents' pages hold, and the admin's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from incidents import markdown, services
from incidents.models import Incident
from servers.forms import Keys
from servers.models import Server


class IncidentForm(forms.ModelForm):
    servers = forms.ModelMultipleChoiceField(
        Server.objects.without_secrets(), required=False, help_text="What it affects."
    )
    description = forms.CharField(
        required=False,
        strip=False,
        max_length=markdown.LONGEST,
        widget=forms.Textarea(attrs={"rows": 8, "cols": 80}),
        help_text="Markdown.",
    )

    class Meta:
        model = Incident
        fields = ("title", "description", "severity", "assignee")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            rows = self.instance.affected.exclude(server=None)
            self.initial["servers"] = list(rows.values_list("server", flat=True))

    def clean(self) -> dict[str, Any] | None:
        if "assignee" in self.changed_data:
            services.check_assignee(self.cleaned_data.get("assignee"))
        return super().clean()


class IncidentPageForm(IncidentForm):
    """For a user: without the assignee where they may not assign."""

    class Meta(IncidentForm.Meta):
        fields = ("title", "severity", "description", "assignee")

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["servers"].widget = forms.CheckboxSelectMultiple(
            choices=self.fields["servers"].choices  # type: ignore[attr-defined]
        )
        if user.has_perm("incidents.assign_incident"):
            assignable = assignable_users(self.instance.assignee_id)
            self.fields["assignee"].queryset = assignable  # type: ignore[attr-defined]
            self.fields["assignee"].empty_label = "Nobody"  # type: ignore[attr-defined]
        else:
            del self.fields["assignee"]


def assignable_users(held: int | None = None) -> QuerySet[Any]:
    """Those who may look at incidents, and who has the one in question now."""
    users = get_user_model().objects
    seeing = users.with_perm("incidents.view_incident").values("pk")
    return users.filter(Q(pk__in=seeing) | Q(pk=held)).order_by("username")


class TransitionForm(forms.Form):
    to = forms.ChoiceField(choices=Incident.Status.choices)
    comment = forms.CharField(required=False, max_length=markdown.LONGEST)


class AssignForm(forms.Form):
    assignee = forms.ModelChoiceField(
        get_user_model().objects.filter(is_active=True),
        to_field_name="username",
        required=False,
        error_messages={"invalid_choice": "There is no such user."},
    )


class CommentForm(forms.Form):
    comment = forms.CharField(
        max_length=markdown.LONGEST, error_messages={"required": "Say something first."}
    )


class ChosenForm(forms.Form):
    incidents = Keys(error_messages={"required": "Choose incidents first."})
