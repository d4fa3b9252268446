"""Streams that ended are freed at once, as full collections of garbage are made seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from tests import crowd
from tests.portal import Portal
from tests.readers import make_user
from tests.services import wait_until

STREAMS = 20

DEACTIVATE = """
from django.contrib.auth.models import User
user = User.objects.get(username="dismissed")
user.is_active = False
user.save()
"""


@pytest.mark.stack("embedded")
def test_a_stream_that_ended_leaves_nothing_to_the_garbage_collection(
    portal_factory: Callable[..., Portal],
) -> None:
    portal = portal_factory(
        EVENTS_MAX_STREAMS_PER_USER=STREAMS, DJANGO_SETTINGS_MODULE="tests.uncollected_settings"
    )
    leaving_token = make_user(portal, "leaving", "Viewer")
    dismissed_token = make_user(portal, "dismissed", "Viewer")
    web = portal.serve()

    async def open_and_end() -> None:
        left = await crowd.open_many(STREAMS, crowd.open_quick, web.port, leaving_token)
        await crowd.open_many(STREAMS, crowd.open_quick, web.port, dismissed_token)
        assert living() == {name: count + 2 * STREAMS for name, count in before.items()}
        for reader in left:
            reader.transport.abort()
        portal.shell(DEACTIVATE)
        await asyncio.to_thread(wait_until, lambda: living() == before, 60, "all has been freed")

    # One connection for all: what Django's own requests leave as garbage holds theirs.
    with httpx.Client(base_url=web.url(), trust_env=False, timeout=60) as client:

        def living() -> dict[str, int]:
            found: dict[str, int] = client.get("/living/").raise_for_status().json()
            return found

        before = living()
        asyncio.run(open_and_end())
