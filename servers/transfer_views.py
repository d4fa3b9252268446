"""The pages that take servers from CSV files, and give them as one."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.core import signing
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views import View

from servers import csv_files, importing
from servers.filters import ServerFilter
from servers.importing import Plan
from servers.models import Server
from servers.transfer import exported

SALT: Final = "servers.import"
CHANGED: Final = "The inventory has changed meanwhile, and so has what the import would do."


class FileForm(forms.Form):
    """A chosen file, or pasted text."""

    file = forms.FileField(required=False, label="File")
    text = forms.CharField(
        required=False,
        strip=False,  # or lines were counted from another one on
        label="Or its text",
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "autocapitalize": "none"}),
    )
    file.widget.attrs["accept"] = ".csv,.tsv,.txt,text/csv"

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if file and limit is not None and file.size > limit:
            raise forms.ValidationError("The file is larger than 1 MB.")
        return file

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        file, text = cleaned.get("file"), cleaned.get("text", "")
        if not self.errors and bool(file) == bool(text.strip()):
            raise forms.ValidationError("Choose a file, or paste its text.")
        return cleaned

    def content(self) -> str:
        """Of a valid form. Raises BadFile for what is no UTF-8."""
        file = self.cleaned_data["file"]
        return csv_files.decode(file.read()) if file else str(self.cleaned_data["text"])


class ImportServers(LoginRequiredMixin, PermissionRequiredMixin, View):
    """First a dry run; what it shows, and nothing else, is done when it is confirmed.

    What was read comes back with the confirmation, signed, as a browser may change a text's line
    ends, and takes no file a second time.
    """

    permission_required = "servers.add_server"
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(FileForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        checked = request.POST.get("checked")
        form = FileForm() if checked else FileForm(request.POST, request.FILES)
        if not checked and not form.is_valid():
            return self.page(form, 400)
        try:
            return self.confirm(checked) if checked else self.show(form.content())
        except csv_files.BadFile as error:
            return self.page(form, 400, bad=error.lines)

    def show(self, text: str, problem: str = "", status: int = 200) -> HttpResponse:
        plan = importing.run(text, self.request.user, dry_run=True)
        checked = signing.dumps([text, plan.fingerprint], salt=SALT, compress=True)
        return self.page(FileForm(), status, plan=plan, checked=checked, problem=problem)

    def confirm(self, checked: str) -> HttpResponse:
        try:
            text, expected = signing.loads(checked, salt=SALT)
        except signing.BadSignature:
            return self.page(FileForm(), 400, problem="Check the file once more.")
        try:
            plan = importing.run(text, self.request.user, dry_run=False, expected=expected)
        except IntegrityError:  # a name was taken in the same moment
            return self.show(text, CHANGED, 409)
        if plan.fingerprint != expected:
            return self.show(text, CHANGED, 409)
        messages.success(self.request, summary(plan))
        sees = self.request.user.has_perm("servers.view_server")
        return redirect("servers:list" if sees else "servers:import")

    def page(self, form: FileForm, status: int = 200, **context: Any) -> HttpResponse:
        known = {"form": form, "columns": csv_files.COLUMNS}
        return render(self.request, "servers/import.html", known | context, status=status)


def summary(plan: Plan) -> str:
    created, updated = len(plan.created), len(plan.updated)
    return f"Imported: {created} created, {updated} updated, {plan.unchanged} unchanged."


class ExportServers(LoginRequiredMixin, PermissionRequiredMixin, View):
    """What the list shows under the same filter, on all its pages, as a CSV file."""

    permission_required = "servers.view_server"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        filters = ServerFilter(request.GET, queryset=Server.objects.all())
        if not filters.is_valid():
            return redirect(reverse("servers:list", query=request.GET))  # which says why
        return exported(filters.qs)
