"""The pages on which an automation is made, or edited."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views import View

from automation import services
from automation.forms import AutomationForm, ParameterFormSet, ParameterRows
from automation.models import Automation
from servers.preconditions import etag

CHANGED: Final = (
    "Somebody else has changed it meanwhile. What you typed is still here: save again if yours is"
    " to stand."
)


class Editor(LoginRequiredMixin, PermissionRequiredMixin, View):
    """A form that comes back with what was typed, where something is wrong with it."""

    http_method_names = ["get", "head", "post"]

    def page(self, status: int = 200, **context: Any) -> HttpResponse:
        return render(self.request, "automation/form.html", context, status=status)

    def forms(self, automation: Automation) -> dict[str, Any]:
        data = self.request.POST if self.request.method == "POST" else None
        initial = ParameterRows.initial_of(automation.parameters)
        return {
            "form": AutomationForm(data, instance=automation),
            "rows": ParameterFormSet(data, initial=initial, prefix="parameters"),
        }

    def values(self, form: AutomationForm, rows: ParameterRows) -> dict[str, Any] | None:
        """What is to be written; None where something is wrong with it, which the forms tell."""
        if not all([form.is_valid(), rows.is_valid()]):
            return None
        return form.cleaned_data | {"parameters": rows.definitions()}


def tell(error: ValidationError, form: AutomationForm) -> None:
    """Puts what a service finds wrong where the form shows it."""
    for name, messages in error.message_dict.items():
        form.add_error(name if name in form.fields else None, messages)


class NewAutomation(Editor):
    permission_required = ("automation.view_automation", "automation.add_automation")

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(**self.forms(Automation()))

    def post(self, request: HttpRequest) -> HttpResponse:
        forms = self.forms(Automation())
        values = self.values(**forms)
        if values is None:
            return self.page(400, **forms)
        links = {name: values.pop(name) for name in services.LINKS}
        automation = Automation(**values)
        try:
            services.create(automation, **links)
        except ValidationError as error:
            tell(error, forms["form"])
            return self.page(400, **forms)
        return redirect("automations:detail", pk=automation.pk)


class EditAutomation(Editor):
    permission_required = ("automation.view_automation", "automation.change_automation")

    def get(self, request: HttpRequest, pk: int) -> HttpResponse:
        version = etag(Automation, pk)  # from before it is read
        automation = get_object_or_404(Automation, pk=pk)
        return self.page(**self.forms(automation), automation=automation, version=version)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        automation = get_object_or_404(Automation.objects.select_for_update(), pk=pk)
        # The form writes into its instance also what is not valid.
        forms = self.forms(Automation.objects.get(pk=pk))
        context = {"automation": automation, "version": request.POST.get("version", "")}
        values, now = self.values(**forms), etag(Automation, pk)
        if values is not None and context["version"] != now:
            forms["form"].add_error(None, CHANGED)
            return self.page(409, **forms, **context | {"version": now, "is_stale": True})
        if values is None:
            return self.page(400, **forms, **context)
        try:
            services.edit(automation, values)
        except ValidationError as error:
            tell(error, forms["form"])
            return self.page(400, **forms, **context)
        return redirect("automations:detail", pk=pk)
