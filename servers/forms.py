"""What the pages' forms hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.utils import timezone

from servers.models import Server, validate_tags
from servers.serializers import MANY

LENGTHS: Final = [("1", "1 hour"), ("4", "4 hours"), ("24", "1 day"), ("", "Until a time")]
LARGEST_KEY: Final = 2**63 - 1


class MaintenanceForm(forms.Form):
    """`until` is the end in the cleaned data, whichever way it was given."""

    reason = forms.CharField(max_length=Server._meta.get_field("maintenance_reason").max_length)
    length = forms.ChoiceField(choices=LENGTHS, required=False)
    until = forms.DateTimeField(required=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if length := cleaned.get("length"):
            cleaned["until"] = timezone.now() + timedelta(hours=int(length))
        elif "until" in cleaned and cleaned["until"] is None:
            self.add_error("until", "Say when it ends.")
        return cleaned


class TagList(forms.CharField):
    """A list of tags as text, separated by commas or spaces."""

    default_validators = [validate_tags]

    def to_python(self, value: Any) -> Any:
        return (value or "").replace(",", " ").split()


class TagsForm(forms.Form):
    add = TagList(required=False)
    remove = TagList(required=False)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors and not cleaned["add"] and not cleaned["remove"]:
            raise forms.ValidationError("Name a tag to add or to remove.")
        return cleaned


class Keys(forms.Field):
    """The keys of the rows that were ticked: a list of integers."""

    widget = forms.MultipleHiddenInput
    default_error_messages = {"required": "Choose servers first."}

    def to_python(self, value: Any) -> Any:
        if len(value or []) > MANY:
            raise forms.ValidationError(f"Choose at most {MANY:,} servers.")
        key = forms.IntegerField(min_value=1, max_value=LARGEST_KEY)
        return [key.clean(text) for text in value or []]


class ChosenForm(forms.Form):
    servers = Keys()
