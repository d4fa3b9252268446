"""The demo: users for every role, the fleet's servers, and a little that happens to them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet

from events.api import acting
from opsportal import demo_automations, demo_incidents
from servers import checks
from servers.fleet import FleetServer
from servers.models import Environment, Server

# Login, role; the password is the login.
LOGINS: Final = [
    ("viewer", "Viewer"),
    ("responder", "Responder"),
    ("operator", "Operator"),
    ("admin", "Admin"),
]
ENVIRONMENTS: Final = {"backup-01": "staging", "legacy-01": "development"}


def create_users() -> bool:
    """Makes the demo logins where there is no user at all; returns whether it did."""
    users = get_user_model()
    with transaction.atomic():
        if users.objects.exists():
            return False
        for login, role in LOGINS:
            user = users.objects.create_user(login, password=login, is_staff=role != "Viewer")
            user.groups.add(Group.objects.get(name=role))
        users.objects.filter(username="admin").update(is_superuser=True)
    return True


def register(fleet: list[FleetServer]) -> None:
    """Makes the fleet's servers where there is none at all, and keeps their addresses true."""
    with acting(_demo_user), transaction.atomic():
        first_start = not Server.objects.exists()
        for member in fleet:
            row = Server.objects.select_for_update().filter(name=member.name).first()
            if row is None and first_start:
                environment = ENVIRONMENTS.get(member.name, "production")
                tags = [member.name.split("-")[0], "demo"]
                row = Server(
                    name=member.name,
                    tags=tags,
                    environment=_trusting(environment),
                )
            if row is not None and "demo" in row.tags:
                row.host, row.port, row.username = member.host, member.port, member.username
                row.credential = member.password
                row.save()
        demo_automations.create()
        if first_start:
            demo_incidents.create(_demo_user())


def _trusting(name: str) -> Environment:
    """The fleet makes its keys at its first start: there is nothing to compare them with."""
    values = {"accept_new_host_keys": True}
    return Environment.objects.update_or_create(name=name, defaults=values)[0]


def _demo_servers() -> QuerySet[Server]:
    return Server.objects.filter(tags__icontains='"demo"')


def _demo_user() -> object:
    return get_user_model().objects.filter(username="operator").first()


def test_all() -> None:
    """Tests every demo server once, so that the first minute has real results."""
    with acting(_demo_user), transaction.atomic():
        for server in _demo_servers():
            checks.request_test(server, _demo_user())


def act() -> None:
    """One small thing that happens: mostly a connection test, now and then an edit or a run."""
    deeds: list[Callable[[Server], object]] = [
        lambda server: checks.request_test(server, _demo_user()),
        lambda server: checks.request_test(server, _demo_user()),
        _toggle_tag,
        lambda server: demo_automations.run_one(_demo_user()),
    ]
    with acting(_demo_user), transaction.atomic():
        server = _demo_servers().select_for_update().order_by("?").first()
        if server is not None:
            random.choice(deeds)(server)


def _toggle_tag(server: Server) -> None:
    tags = [tag for tag in server.tags if tag != "on-call"]
    server.tags = tags if len(tags) < len(server.tags) else [*tags, "on-call"]
    server.save()
