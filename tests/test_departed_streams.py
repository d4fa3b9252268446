"""Streams that ended are freed at once, as full collections of garbage are made seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from tests import crowd
from tests.portal import Portal
from tests.readers import STREAM, bearer, make_user
from tests.services import wait_until

STREAMS = 20

DEACTIVATE = """
from django.contrib.auth.models import User
user = User.objects.get(username="dismissed")
user.is_active = False
user.save()
"""


@pytest.mark.stack("embedded")
def test_a_stream_leaves_nothing_to_the_garbage_collection(
    portal_factory: Callable[..., Portal],
) -> None:
    portal = portal_factory(
        DJANGO_SETTINGS_MODULE="tests.uncollected_settings",
        EVENTS_MAX_STREAMS_PER_USER=2 * STREAMS,
        EVENTS_HEARTBEAT=0.5,  # whose write finds who left with another request unread
    )
    leaving_token = make_user(portal, "leaving", "Viewer")
    dismissed_token = make_user(portal, "dismissed", "Viewer")
    web = portal.serve()

    def living() -> dict[str, int]:
        answer = httpx.get(web.url("/living/"), trust_env=False, timeout=60)
        found: dict[str, int] = answer.raise_for_status().json()
        return found

    async def open_and_end() -> None:
        left = await crowd.open_many(2 * STREAMS, crowd.open_quick, web.port, leaving_token)
        await crowd.open_many(STREAMS, crowd.open_quick, web.port, dismissed_token)
        assert living() == {name: count + 3 * STREAMS for name, count in before.items()}
        for reader in left[STREAMS:]:  # sends a request before the answer of the one before
            reader.transport.write(crowd.request(leaving_token))
        for reader in left:
            reader.transport.abort()
        portal.shell(DEACTIVATE)
        await asyncio.to_thread(wait_until, lambda: living() == before, 60, "all has been freed")

    wait_until(lambda: living() == living(), 60, "what asked for its health is gone")
    before = living()
    for token in ("x", leaving_token[:-1]):
        assert httpx.get(web.url(STREAM), headers=bearer(token), trust_env=False).status_code == 401
    asyncio.run(open_and_end())
