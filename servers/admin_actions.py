"""What the admin does for many servers at once, most of it after it has asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from servers import checks, maintenance, services, ssh
from servers.admin_forms import ChangeTagsForm, HostKeysForm, MaintenanceForm
from servers.forms import LARGEST_KEY
from servers.models import Server

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin

CONFIRMED: Final = "confirmed"  # in the form that asks: the keys of the servers that it showed
NAMED: Final = 10  # servers in a message


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked before `action` is run for servers of which these `facts` are shown."""

    action: str
    title: str
    text: str
    answer: str
    form: type[forms.Form] = forms.Form
    facts: dict[str, Callable[[Server], str]] = field(default_factory=dict)

    def facts_of(self, server: Server) -> list[tuple[str, str]]:
        return [(name, show(server)) for name, show in self.facts.items()]


def fingerprint_or_none(host_key: str) -> str:
    return ssh.fingerprint(host_key) if host_key else "none"


def maintenance_of(server: Server) -> str:
    if not server.in_maintenance or server.maintenance_until is None:
        return "–"
    end = timezone.localtime(server.maintenance_until)
    return f"until {end:%Y-%m-%d %H:%M %Z}: {server.maintenance_reason}"


ACCEPT: Final = Question(
    "accept_host_key",
    "Accept these host keys?",
    "Compare each with what the machine itself tells. Where another key was accepted before, either"
    " the machine was given a new one, or somebody else answers in its place.",
    "Accept these keys",
    HostKeysForm,
    {
        "Accepted before": lambda server: fingerprint_or_none(server.host_key),
        "Offered": lambda server: fingerprint_or_none(server.offered_host_key),
    },
)
BEGIN: Final = Question(
    "begin_maintenance",
    "Begin maintenance?",
    "Until its end there are no regular checks, no automatic incidents and no runs. Where it has"
    " begun already, its reason and end are changed.",
    "Begin maintenance",
    MaintenanceForm,
    {"Maintenance": maintenance_of},
)
END: Final = Question(
    "end_maintenance",
    "End maintenance now?",
    "They are checked soon.",
    "End maintenance",
    facts={"Maintenance": maintenance_of},
)
TAGS: Final = Question(
    "change_tags",
    "Add or remove tags",
    "They are changed for all of these servers, or where one would have too many, for none.",
    "Change tags",
    ChangeTagsForm,
    {"Tags": lambda server: ", ".join(server.tags) or "–"},
)


class ServerActions(_Admin):
    """The actions on the list of servers. Django asks for their permissions at both steps."""

    actions = (
        "test_connection",
        "accept_host_key",
        "begin_maintenance",
        "end_maintenance",
        "change_tags",
    )

    def has_test_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("servers.test_server")

    def has_accept_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("servers.accept_host_key")

    def has_maintain_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("servers.maintain_server")

    @admin.action(description="Test connection", permissions=["test"])
    def test_connection(self, request: HttpRequest, queryset: QuerySet[Server]) -> None:
        asked, left = checks.request_checks(queryset, request.user)
        self._tell(request, f"Connection tests requested: {len(asked)}.", len(asked))
        self._warn(request, "Not tested, as they are in maintenance", left)

    @admin.action(description="Accept the offered host key …", permissions=["accept"])
    def accept_host_key(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        def accept(servers: list[Server], form: dict[str, Any]) -> None:
            seen = form["seen"]
            known = [server for server in servers if str(server.pk) in seen]
            left = [row for row in known if not accepts(row, seen[str(row.pk)], request.user)]
            count = len(known) - len(left)
            self._tell(request, f"Host keys accepted: {count}.", count)
            self._warn(request, "Left alone, as they do not offer the key that was shown", left)

        if CONFIRMED not in request.POST:
            queryset = queryset.exclude(offered_host_key="")
        return self._ask(request, queryset, ACCEPT, accept)

    @admin.action(description="Begin maintenance …", permissions=["maintain"])
    def begin_maintenance(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        def begin(servers: list[Server], form: dict[str, Any]) -> None:
            maintenance.begin_many(servers, form["reason"], form["until"])
            self._tell(request, f"In maintenance now: {len(servers)}.")

        return self._ask(request, queryset, BEGIN, begin)

    @admin.action(description="End maintenance …", permissions=["maintain"])
    def end_maintenance(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        def end(servers: list[Server], form: dict[str, Any]) -> None:
            maintenance.end_many(servers)
            self._tell(request, f"Maintenance ended: {len(servers)}.")

        return self._ask(request, queryset.exclude(maintenance_until=None), END, end)

    @admin.action(description="Add or remove tags …", permissions=["change"])
    def change_tags(self, request: HttpRequest, queryset: QuerySet[Server]) -> HttpResponse | None:
        def change(servers: list[Server], form: dict[str, Any]) -> None:
            changed = services.change_tags(servers, form["add"], form["remove"])
            self._tell(request, f"Servers whose tags were changed: {changed}.")

        return self._ask(request, queryset, TAGS, change)

    def _ask(
        self,
        request: HttpRequest,
        queryset: QuerySet[Server],
        question: Question,
        do: Callable[[list[Server], dict[str, Any]], None],
    ) -> HttpResponse | None:
        """Does it for what was shown, once that is confirmed and the form is in order."""
        servers = chosen(request, queryset)
        if not servers:
            text = "There was nothing to be done for any of them."
            self.message_user(request, text, messages.WARNING)
            return None
        form = question.form(
            request.POST if CONFIRMED in request.POST else None, initial={"seen": seen_of(servers)}
        )
        if form.is_valid() and not refused(form, do, servers):
            return None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": question.title,
            "question": question,
            "form": form,
            "rows": [(server, question.facts_of(server)) for server in servers],
            "keys": ",".join(str(server.pk) for server in servers),
            "confirmed_name": CONFIRMED,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/servers/confirm_action.html", context)

    def _tell(self, request: HttpRequest, text: str, count: int = 1) -> None:
        if count:
            self.message_user(request, text, messages.SUCCESS)

    def _warn(self, request: HttpRequest, reason: str, servers: Sequence[Server]) -> None:
        if servers:
            named = ", ".join(server.name for server in servers[:NAMED])
            more = f" and {len(servers) - NAMED} more" if len(servers) > NAMED else ""
            self.message_user(request, f"{reason}: {named}{more}.", messages.WARNING)


def chosen(request: HttpRequest, queryset: QuerySet[Server]) -> list[Server]:
    """What was selected; of what is confirmed, that which was shown."""
    if CONFIRMED in request.POST:
        keys = request.POST[CONFIRMED].split(",")
        queryset = queryset.filter(pk__in=[int(key) for key in keys if is_key(key)])
    return list(queryset)


def is_key(text: str) -> bool:
    """Whether a row may have it: no database takes a larger number, and Python no longer text."""
    return text.isdecimal() and len(text) <= len(str(LARGEST_KEY)) and int(text) <= LARGEST_KEY


def seen_of(servers: list[Server]) -> str:
    return "\n".join(
        f"{server.pk} {ssh.fingerprint(server.offered_host_key)}"
        for server in servers
        if server.offered_host_key
    )


def accepts(server: Server, fingerprint: str, actor: Any) -> bool:
    try:
        services.accept_host_key(server, fingerprint, actor)
    except (services.HostKeyMismatch, Server.DoesNotExist):  # deleted since it was looked up
        return False
    return True


def refused(
    form: forms.Form, do: Callable[[list[Server], dict[str, Any]], None], servers: list[Server]
) -> bool:
    """What the services find wrong becomes an error of the form."""
    try:
        do(servers, form.cleaned_data)
    except ValidationError as error:
        form.add_error(None, error)
    return bool(form.errors)
