"""What the servers' pages do: to one server, or to all that were ticked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse

from servers import bulk, checks, maintenance, services
from servers.actions import Action, cleaned
from servers.forms import ChosenForm, MaintenanceForm, TagsForm
from servers.models import Server


class PageAction(Action):
    refusals = (maintenance.InMaintenance, services.HostKeyMismatch)

    def back(self) -> str:
        return reverse("servers:list", query=self.request.GET)


class ServerAction(PageAction):
    def act(self, **kwargs: Any) -> str:
        return self.act_on(get_object_or_404(Server.objects.without_secrets(), **kwargs))

    def act_on(self, server: Server) -> str:
        raise NotImplementedError

    def back(self) -> str:
        return reverse("servers:detail", kwargs=self.kwargs)


class TestConnection(ServerAction):
    permission_required = "servers.test_server"

    def act_on(self, server: Server) -> str:
        checks.request_test(server, self.request.user)
        return ""

    def back(self) -> str:
        return super().back() if "detail" in self.request.POST else PageAction.back(self)


class AcceptHostKey(ServerAction):
    permission_required = "servers.accept_host_key"

    def act_on(self, server: Server) -> str:
        fingerprint = self.request.POST.get("fingerprint", "")
        try:
            services.accept_host_key(server, fingerprint, self.request.user)
        except services.HostKeyMismatch:
            message = f"Nothing was accepted: this is not the key that {server.name} offers now."
            raise services.HostKeyMismatch(message) from None
        return f"The host key of {server.name} is accepted, and a test is asked for."


class BeginMaintenance(ServerAction):
    permission_required = "servers.maintain_server"

    def act_on(self, server: Server) -> str:
        values = cleaned(MaintenanceForm(self.request.POST))
        maintenance.begin(server, values["reason"], values["until"])
        return f"{server.name} is in maintenance."


class EndMaintenance(ServerAction):
    permission_required = "servers.maintain_server"

    def act_on(self, server: Server) -> str:
        maintenance.end(server)
        return f"The maintenance of {server.name} has ended."


class BulkAction(PageAction):
    def act(self, **kwargs: Any) -> str:
        servers = bulk.chosen(
            cleaned(ChosenForm(self.request.POST), unnamed=("servers",))["servers"]
        )
        return self.act_on(servers)

    def act_on(self, servers: list[Server]) -> str:
        raise NotImplementedError


class TestMany(BulkAction):
    permission_required = "servers.test_server"

    def act_on(self, servers: list[Server]) -> str:
        asked, left = checks.request_checks(servers, self.request.user)
        text = f"Tests are asked for: {counted(asked)}."
        return f"{text} Not tested, as in maintenance: {named(left)}." if left else text


class BeginMaintenanceOfMany(BulkAction):
    permission_required = "servers.maintain_server"

    def act_on(self, servers: list[Server]) -> str:
        values = cleaned(MaintenanceForm(self.request.POST))
        maintenance.begin_many(servers, values["reason"], values["until"])
        return f"In maintenance: {counted(servers)}."


class EndMaintenanceOfMany(BulkAction):
    permission_required = "servers.maintain_server"

    def act_on(self, servers: list[Server]) -> str:
        maintenance.end_many(servers)
        return f"Not in maintenance any more: {counted(servers)}."


class TagMany(BulkAction):
    permission_required = "servers.change_server"

    def act_on(self, servers: list[Server]) -> str:
        values = cleaned(TagsForm(self.request.POST))
        changed = services.change_tags(servers, values["add"], values["remove"])
        return f"Tags changed: {changed} of {counted(servers)}."


def counted(servers: Sequence[Server]) -> str:
    return f"{len(servers)} server{'' if len(servers) == 1 else 's'}"


def named(servers: Sequence[Server], most: int = 5) -> str:
    names = ", ".join(server.name for server in servers[:most])
    return f"{names} and {len(servers) - most} more" if len(servers) > most else names
