"""The forms of automations and runs in the admin."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from automation import parameters, services
from automation.models import Automation
from automation.runs import LONGEST_REASON
from servers.admin_forms import ConditionalForm, TagsField

CODE = {"class": "vLargeTextField code", "spellcheck": "false", "autocapitalize": "off"}


class DefinitionsField(forms.JSONField):
    """A list of parameters as JSON, an indented line for each of their values."""

    empty_values = [None, "", []]  # an empty object is no list

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs=CODE | {"rows": 12})
        super().__init__(required=False, widget=widget, **options)

    def to_python(self, value: Any) -> Any:
        """None is an empty list. Beyond Django's, numbers of many digits and depth are no JSON."""
        try:
            found = super().to_python(value)
        except (ValueError, RecursionError):
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None
        return [] if found is None else found

    def bound_data(self, data: Any, initial: Any) -> Any:
        """As it was entered."""
        return data

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, str):  # what was entered and refused
            return value
        return json.dumps(value or [], ensure_ascii=False, indent=2)


class AutomationForm(ConditionalForm):
    script = forms.CharField(strip=False, widget=forms.Textarea(attrs=CODE | {"rows": 20}))
    parameters = DefinitionsField(
        validators=[parameters.check_definitions],
        help_text='A list such as [{"name": "mode", "type": "choice", "choices": ["a", "b"]}].'
        " Types are string, integer, choice and secret; the script finds the value in PARAM_MODE.",
    )
    tags = TagsField(required=False, help_text="All servers with one of these, such as web, db.")

    class Meta:
        model = Automation
        fields = (
            "name",
            "description",
            "enabled",
            "interpreter",
            "script",
            "parameters",
            "servers",
            "environments",
            "tags",
            "timeout",
            "concurrency",
            "max_failures",
        )

    def clean_script(self) -> str:
        return services.with_line_ends(self.cleaned_data["script"])


class ReasonForm(forms.Form):
    reason = forms.CharField(
        required=False, max_length=LONGEST_REASON, widget=forms.TextInput(attrs={"size": 60})
    )


class StartForm(ReasonForm):
    force = forms.BooleanField(
        required=False, label="Also on servers in maintenance", help_text="They are skipped else."
    )
