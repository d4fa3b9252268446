"""Clients of a running portal, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse

STREAM = "/api/v1/events/stream"
OWN_FRAMES = ("stream.open", "heartbeat", "stream.reset", "stream.closing")

MAKE_USER = """
import json
from django.contrib.auth.models import Group, User
from rest_framework_simplejwt.tokens import AccessToken
user = User.objects.create(username={name!r}, is_superuser={superuser!r})
user.groups.add(*Group.objects.filter(name__in={roles!r}))
print("TOKEN", AccessToken.for_user(user))
"""


def make_user(portal: Any, name: str, *roles: str, superuser: bool = False) -> str:
    """A user with these roles in the portal's database; returns an access token."""
    code = MAKE_USER.format(name=name, roles=list(roles), superuser=superuser)
    printed: str = portal.shell(code)
    return printed.split("TOKEN ")[1].strip()


MAKE_SESSION = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.get(username={name!r}))
print("SESSION", client.cookies["sessionid"].value)
"""


def make_session(portal: Any, name: str) -> dict[str, str]:
    """The cookie of a login of this user, who exists: {"sessionid": …}."""
    printed: str = portal.shell(MAKE_SESSION.format(name=name))
    return {"sessionid": printed.split("SESSION ")[1].strip()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def connection(
    url: str, token: str, last_id: str = "", query: str = ""
) -> AsyncGenerator[ServerSentEvent, None]:
    """What one connection brings, until the server ends it. Raises httpx's errors."""
    headers = bearer(token) | ({"Last-Event-ID": last_id} if last_id else {})
    timeout = httpx.Timeout(30)
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False) as client,
        aconnect_sse(client, "GET", f"{url}{query}", headers=headers) as source,
    ):
        source.response.raise_for_status()
        async for event in source.aiter_sse():
            yield event


async def frames(
    url: str, token: str, last_id: str = "", query: str = ""
) -> AsyncGenerator[tuple[str, str, Any], None]:
    """The same, as (id, name, data)."""
    async with aclosing(connection(url, token, last_id, query)) as stream:
        async for event in stream:
            yield event.id, event.event, json.loads(event.data)
