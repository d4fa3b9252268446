"""Static files, as both protocols' servers get them."""

from __future__ import annotations

import pytest
from django.test import AsyncClient

from tests.services import ROOT


@pytest.mark.asyncio
async def test_a_static_file_is_served_whole_and_as_what_it_is() -> None:
    """Under ASGI without the warning that would fail this test."""
    response = await AsyncClient().get("/static/opsportal/servers.js")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert response.content == (ROOT / "static/opsportal/servers.js").read_bytes()


@pytest.mark.asyncio
async def test_a_file_the_browser_has_is_not_sent_again() -> None:
    first = await AsyncClient().get("/static/opsportal/servers.js")
    headers = {"If-Modified-Since": first.headers["Last-Modified"]}
    second = await AsyncClient().get("/static/opsportal/servers.js", headers=headers)
    assert (second.status_code, second.content) == (304, b"")
