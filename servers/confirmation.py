"""Actions of the admin that ask before they do anything, for the admins of all apps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import display_for_value
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from servers.forms import LARGEST_KEY

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin

CONFIRMED: Final = "confirmed"  # in the form that asks: the keys of the rows that it showed
NAMED: Final = 10  # rows in a message

# Does it for rows that were shown, with the form's values. What ValidationError says is an error
# of the form, and then nothing was done.
Do = Callable[[list[Any], dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before `action` is run for rows of which these `facts` are shown.

    `initial` makes of the rows what the form holds at first; `keep` is the word for doing nothing.
    """

    action: str
    title: str
    text: str
    answer: str
    form: type[forms.Form] = forms.Form
    facts: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    initial: Callable[[list[Any]], dict[str, Any]] = lambda rows: {}
    keep: str = "Cancel"

    def facts_of(self, row: Any) -> list[tuple[str, str]]:
        return [(name, display_for_value(show(row), "–")) for name, show in self.facts.items()]


class AskingActions(_Admin):
    """Django asks for an action's permissions at both steps."""

    def ask(
        self, request: HttpRequest, queryset: QuerySet[Any], question: Question, do: Do
    ) -> HttpResponse | None:
        """Does it for what was shown, once that is confirmed and the form is in order."""
        rows = chosen(request, queryset)
        if not rows:
            text = "There was nothing to be done for any of them."
            self.message_user(request, text, messages.WARNING)
            return None
        given = request.POST if CONFIRMED in request.POST else None
        form = question.form(given, initial=question.initial(rows))
        if form.is_valid() and not refused(form, do, rows):
            return None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": question.title,
            "question": question,
            "form": form,
            "rows": [(row, question.facts_of(row)) for row in rows],
            "keys": ",".join(str(row.pk) for row in rows),
            "confirmed_name": CONFIRMED,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "list_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist",
            "change_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_change",
        }
        return TemplateResponse(request, "admin/confirm_action.html", context)

    def tell(self, request: HttpRequest, text: str, count: int = 1) -> None:
        """Unless it was done for none."""
        if count:
            self.message_user(request, text, messages.SUCCESS)

    def warn(self, request: HttpRequest, reason: str, rows: Sequence[Any]) -> None:
        """Names the rows for which it was not done, if there are any."""
        if rows:
            named = ", ".join(str(row) for row in rows[:NAMED])
            more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
            self.message_user(request, f"{reason}: {named}{more}.", messages.WARNING)


def chosen(request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
    """What was selected; of what is confirmed, that which was shown."""
    if CONFIRMED in request.POST:
        keys = request.POST[CONFIRMED].split(",")
        queryset = queryset.filter(pk__in=[int(key) for key in keys if is_key(key)])
    return list(queryset)


def is_key(text: str) -> bool:
    """Whether a row may have it: no database takes a larger number, and Python no longer text."""
    return text.isdecimal() and len(text) <= len(str(LARGEST_KEY)) and int(text) <= LARGEST_KEY


def refused(form: forms.Form, do: Do, rows: list[Any]) -> bool:
    """What the services find wrong becomes an error of the form."""
    try:
        with transaction.atomic():
            do(rows, form.cleaned_data)
    except ValidationError as error:
        form.add_error(None, error)
    return bool(form.errors)
