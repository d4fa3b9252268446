"""Actions of the admin that ask before they do anything, also those of the apps above."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
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


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before `action` is run for rows of which these `facts` are shown."""

    action: str
    title: str
    text: str
    answer: str
    form: type[forms.Form] = forms.Form
    facts: dict[str, Callable[[Any], str]] = field(default_factory=dict)

    def facts_of(self, row: Any) -> list[tuple[str, str]]:
        return [(name, show(row)) for name, show in self.facts.items()]


class AskingAdmin(_Admin):
    """Asks, and says what came of it. Django asks for an action's permissions at both steps."""

    def ask(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        question: Question,
        do: Callable[[list[Any], dict[str, Any]], None],
        initial: Callable[[list[Any]], Mapping[str, Any]] = lambda rows: {},
    ) -> HttpResponse | None:
        """Does it for what was shown, once that is confirmed and the form is in order."""
        rows = chosen(request, queryset)
        if not rows:
            text = "There was nothing to be done for any of them."
            self.message_user(request, text, messages.WARNING)
            return None
        form = question.form(
            request.POST if self.is_confirmed(request) else None, initial=initial(rows)
        )
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
        }
        return TemplateResponse(request, "admin/confirm_action.html", context)

    @staticmethod
    def is_confirmed(request: HttpRequest) -> bool:
        return CONFIRMED in request.POST

    def tell(self, request: HttpRequest, text: str, count: int = 1) -> None:
        if count:
            self.message_user(request, text, messages.SUCCESS)

    def warn(self, request: HttpRequest, reason: str, rows: Sequence[Any]) -> None:
        if rows:
            named = ", ".join(map(str, rows[:NAMED]))
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


def refused(
    form: forms.Form, do: Callable[[list[Any], dict[str, Any]], None], rows: list[Any]
) -> bool:
    """What the services find wrong becomes an error of the form."""
    try:
        do(rows, form.cleaned_data)
    except ValidationError as error:
        form.add_error(None, error)
    return bool(form.errors)
