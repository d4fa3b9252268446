"""Who writes for whom, and who reads: the people of a fault run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from tests.portal import Portal

# Each event's name says whom it is for: `writer-audience-number`. So what a reader must not see is
# told apart without a look at what the portal made of it.
AUDIENCES: Final = ("viewers", "auditors", "everyone", "outsider")

MAKE = """
import json
from datetime import timedelta
from django.contrib.auth.models import Group, Permission, User
from rest_framework_simplejwt.tokens import AccessToken

def make(name, *codenames, superuser=False):
    user = User.objects.create(username=name, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=timedelta(days=7))
    keys = sorted(User.objects.get(pk=user.pk).get_all_permissions())
    return {"token": str(token), "keys": [*keys, f"user:{user.pk}", "everyone"], "id": user.pk}

print("CAST", json.dumps({
    "writer": make("writer", superuser=True),
    "viewer": make("viewer", "view_server"),
    "auditor": make("auditor", "view_incident"),
    "outsider": make("outsider"),
    "wavering": make("wavering"),
}))
"""


@dataclass(frozen=True)
class Person:
    """A user. `keys` are the audience keys that it holds; `id` is its primary key."""

    name: str
    token: str
    keys: frozenset[str]
    id: int


def make_cast(portal: Portal) -> dict[str, Person]:
    """The people, by name, new in the portal's database."""
    printed = portal.shell(MAKE).split("CAST")[1]
    return {
        name: Person(name, made["token"], frozenset(made["keys"]), made["id"])
        for name, made in json.loads(printed).items()
    }


def key_of(audience: str, outsider: int) -> str:
    """The one audience key that an event of this audience is for."""
    return {
        "viewers": "servers.view_server",
        "auditors": "incidents.view_incident",
        "everyone": "everyone",
        "outsider": f"user:{outsider}",
    }[audience]


def addressed(audience: str, outsider: int) -> dict[str, Any]:
    """The arguments of `emit`, and fields of the API, that an event is addressed with."""
    if audience == "outsider":
        return {"users": [outsider]}
    key = key_of(audience, outsider)
    return {"permissions": [] if audience == "everyone" else [key]}
