"""What the automations' pages do."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from automation import runs, services
from automation.forms import RunForm
from automation.models import Automation, Run
from automation.parameters import InvalidValues
from servers.actions import Action, cleaned
from servers.encryption import DecryptionError


class Undecipherable(Exception):
    """A run's secrets cannot be read any more."""


class Starter(Action):
    """Starts a run, and goes to its page."""

    refusals = (runs.Refused, Undecipherable)
    started: Run | None = None

    def act(self, **kwargs: Any) -> str:
        self.started = self.start(**kwargs)
        return ""

    def start(self, **kwargs: Any) -> Run:
        raise NotImplementedError

    def page(self) -> str:
        """The path of the page with the form."""
        raise NotImplementedError

    def back(self) -> str:
        return path_of(self.started) if self.started else self.page()

    def tell(self, text: str, status: int) -> HttpResponse:
        response = super().tell(text, status)
        if self.started and self.request.htmx:
            response["HX-Redirect"] = self.back()
        return response


class StartRun(Starter):
    permission_required = (
        "automation.view_automation",
        "automation.view_run",
        "automation.run_automation",
    )

    def start(self, **kwargs: Any) -> Run:
        automation = get_object_or_404(Automation, **kwargs)
        form = RunForm(self.request.POST)
        values = cleaned(form)
        try:
            return runs.start(automation, self.request.user, form.values(automation), **values)
        except InvalidValues as error:
            raise ValidationError(said(error, automation)) from None

    def page(self) -> str:
        return reverse("automations:detail", kwargs=self.kwargs)


def said(error: InvalidValues, automation: Automation) -> list[str]:
    """What is wrong with each value, by what the form calls it."""
    labels = {one["name"]: one.get("label") or one["name"] for one in automation.parameters}
    return [
        f"{labels[name]}: {message}" if name in labels else message
        for name, messages in error.errors.items()
        for message in messages
    ]


class RetryRun(Starter):
    permission_required = ("automation.view_run", "automation.run_automation")

    def start(self, **kwargs: Any) -> Run:
        run = get_object_or_404(Run.objects.without_secrets(), **kwargs)
        try:
            return runs.retry_failed(run, self.request.user)
        except DecryptionError:
            message = f"The secrets of {run} cannot be read: start it anew."
            raise Undecipherable(message) from None

    def page(self) -> str:
        return reverse("automations:run", kwargs=self.kwargs)


class CancelRun(Action):
    permission_required = ("automation.view_run", "automation.cancel_run")
    refusals = (runs.Refused,)

    def act(self, **kwargs: Any) -> str:
        run = get_object_or_404(Run.objects.without_secrets(), **kwargs)
        runs.cancel(run, self.request.user)
        return ""

    def back(self) -> str:
        return reverse("automations:run", kwargs=self.kwargs)


class DeleteAutomation(Action):
    """Whoever did it on the page is told there, as all are."""

    permission_required = ("automation.view_automation", "automation.delete_automation")
    is_gone = False

    def act(self, **kwargs: Any) -> str:
        automation = get_object_or_404(Automation.objects.select_for_update(), **kwargs)
        services.delete(automation)
        self.is_gone = True
        return f"{automation.name} is deleted. Its runs are kept."

    def back(self) -> str:
        if self.is_gone:
            return reverse("automations:list")
        return reverse("automations:detail", kwargs=self.kwargs)


def path_of(run: Run) -> str:
    return reverse("automations:run", args=[run.pk])
