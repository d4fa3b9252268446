"""What the admin does for many servers at once."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from servers import checks, maintenance, services, ssh
from servers.admin_forms import ChangeTagsForm, HostKeysForm, MaintenanceForm, TestForm
from servers.confirmation import CONFIRMED, AskingActions, Question
from servers.models import Server


def fingerprint_or_none(host_key: str) -> str:
    return ssh.fingerprint(host_key) if host_key else "none"


def maintenance_of(server: Server) -> str:
    if not server.in_maintenance or server.maintenance_until is None:
        return "–"
    end = timezone.localtime(server.maintenance_until)
    return f"until {end:%Y-%m-%d %H:%M %Z}: {server.maintenance_reason}"


def address_of(server: Server) -> str:
    return f"{server.host}:{server.port}"


def seen_of(servers: list[Server]) -> dict[str, str]:
    """What HostKeysForm is to hold."""
    offering = [server for server in servers if server.offered_host_key]
    lines = [f"{server.pk} {ssh.fingerprint(server.offered_host_key)}" for server in offering]
    return {"seen": "\n".join(lines)}


TEST: Final = Question(
    "test_connection",
    "Test these connections?",
    "Each is logged in to as soon as there is room.",
    "Test",
    TestForm,
    {
        "Address": address_of,
        "Status": lambda server: server.get_status_display(),
        "Maintenance": maintenance_of,
    },
)
ACCEPT: Final = Question(
    "accept_host_key",
    "Accept these host keys?",
    "Compare each with what the machine itself tells. Where another key was accepted before, either"
    " the machine was given a new one, or somebody else answers in its place.",
    "Accept these keys",
    HostKeysForm,
    {
        "Address": address_of,
        "Accepted before": lambda server: fingerprint_or_none(server.host_key),
        "Offered": lambda server: fingerprint_or_none(server.offered_host_key),
    },
    seen_of,
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


class ServerActions(AskingActions):
    """The actions on the list of servers."""

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

    @admin.action(description="Test connection …", permissions=["test"])
    def test_connection(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        def test(servers: list[Server], form: dict[str, Any]) -> None:
            asked, left = checks.request_checks(servers, request.user)
            if form["force"]:
                for server in left:
                    checks.request_test(server, request.user, force=True)
                asked, left = servers, []
            self.tell(request, f"Connection tests requested: {len(asked)}.", len(asked))
            self.warn(request, "Not tested, as they are in maintenance", left)

        return self.ask(request, queryset, TEST, test)

    @admin.action(description="Accept the offered host key …", permissions=["accept"])
    def accept_host_key(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        def accept(servers: list[Server], form: dict[str, Any]) -> None:
            seen = form["seen"]
            known = [server for server in servers if str(server.pk) in seen]
            left = [row for row in known if not accepts(row, seen[str(row.pk)], request.user)]
            count = len(known) - len(left)
            self.tell(request, f"Host keys accepted: {count}.", count)
            self.warn(request, "Left alone, as they do not offer the key that was shown", left)

        if CONFIRMED not in request.POST:
            queryset = queryset.exclude(offered_host_key="")
        return self.ask(request, queryset, ACCEPT, accept)

    @admin.action(description="Begin maintenance …", permissions=["maintain"])
    def begin_maintenance(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        def begin(servers: list[Server], form: dict[str, Any]) -> None:
            maintenance.begin_many(servers, form["reason"], form["until"])
            self.tell(request, f"In maintenance now: {len(servers)}.")

        return self.ask(request, queryset, BEGIN, begin)

    @admin.action(description="End maintenance …", permissions=["maintain"])
    def end_maintenance(
        self, request: HttpRequest, queryset: QuerySet[Server]
    ) -> HttpResponse | None:
        def end(servers: list[Server], form: dict[str, Any]) -> None:
            maintenance.end_many(servers)
            self.tell(request, f"Maintenance ended: {len(servers)}.")

        return self.ask(request, queryset.exclude(maintenance_until=None), END, end)

    @admin.action(description="Add or remove tags …", permissions=["change"])
    def change_tags(self, request: HttpRequest, queryset: QuerySet[Server]) -> HttpResponse | None:
        def change(servers: list[Server], form: dict[str, Any]) -> None:
            changed = services.change_tags(servers, form["add"], form["remove"])
            self.tell(request, f"Servers whose tags were changed: {changed}.")

        return self.ask(request, queryset, TAGS, change)


def accepts(server: Server, fingerprint: str, actor: Any) -> bool:
    try:
        services.accept_host_key(server, fingerprint, actor)
    except (services.HostKeyMismatch, Server.DoesNotExist):  # deleted since it was looked up
        return False
    return True
