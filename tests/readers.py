"""Clients of a running portal, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
from httpx_sse import aconnect_sse

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
    printed: str = portal.manage("shell", "--verbosity=0", "-c", code)
    return printed.split("TOKEN ")[1].strip()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def frames(
    url: str, token: str, last_id: str = "", query: str = ""
) -> AsyncGenerator[tuple[str, str, Any], None]:
    """The frames of one connection, as (id, name, data), until the server ends it."""
    headers = bearer(token) | ({"Last-Event-ID": last_id} if last_id else {})
    timeout = httpx.Timeout(30)
    async with (
        httpx.AsyncClient(timeout=timeout, trust_env=False) as client,
        aconnect_sse(client, "GET", f"{url}{query}", headers=headers) as source,
    ):
        source.response.raise_for_status()
        async for event in source.aiter_sse():
            yield event.id, event.event, json.loads(event.data)
