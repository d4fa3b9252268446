"""What a web process writes about requests and streams, from the outside."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.portal import Portal, Web
from tests.readers import STREAM, bearer, make_user
from tests.services import wait_until

pytestmark = pytest.mark.stack("embedded")  # what it asserts comes from no database


def records(web: Web) -> list[dict[str, Any]]:
    """Every line but the greeting; a line that is no JSON fails."""
    lines = [line for line in web.read_output().splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in lines if not line.startswith("Serving on ")]


def about(web: Web, request_id: str) -> dict[str, Any]:
    """The one record of this request."""

    def find() -> list[dict[str, Any]]:
        return [row for row in records(web) if row["request_id"] == request_id]

    found = web.wait_until(find, 20, f"a record of {request_id}")
    assert len(found) == 1, found
    return found[0]


def open_stream(web: Web, token: str, request_id: str) -> None:
    """Reads a stream's first bytes, and leaves."""

    async def read() -> None:
        headers = bearer(token) | {"X-Request-ID": request_id}
        url = web.url(f"{STREAM}?types=server.*")
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            assert response.status_code == 200
            assert await anext(response.aiter_bytes())

    asyncio.run(read())


@pytest.fixture
def json_portal(portal_factory: Callable[..., Portal]) -> Portal:
    return portal_factory(LOG_FORMAT="json", EVENTS_DRAIN_SECONDS=0.2)


def test_requests_and_streams_are_told_as_json_with_their_ids(json_portal: Portal) -> None:
    token = make_user(json_portal, "viewer", "Viewer")
    web = json_portal.serve()
    headers = bearer(token) | {"X-Request-ID": "request-1"}
    url = web.url("/api/v1/servers/?search=secret")
    answer = httpx.get(url, headers=headers, trust_env=False)
    assert answer.headers["X-Request-ID"] == "request-1"
    line = about(web, "request-1")
    assert (line["logger"], line["level"]) == ("opsportal.access", "INFO")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/servers/", 200)
    assert line["user"] == "viewer"

    open_stream(web, token, "stream-1")
    line = about(web, "stream-1")
    assert line["logger"] == "events.stream_log"
    assert line["message"].startswith("Stream of user 1 ended: left, after ")
    web.stop()
    assert "secret" not in web.read_output()
    assert token not in web.read_output()
    assert records(web)


def test_a_stream_that_the_server_ends_says_why(json_portal: Portal) -> None:
    token = make_user(json_portal, "viewer", "Viewer")
    web = json_portal.serve()
    headers = bearer(token) | {"X-Request-ID": "drained"}
    with (
        httpx.Client(trust_env=False, timeout=30) as client,
        client.stream("GET", web.url(STREAM), headers=headers) as response,
    ):
        chunks = response.iter_bytes()
        next(chunks)
        web.send_signal(signal.SIGTERM)
        list(chunks)
    assert "ended: drain" in about(web, "drained")["message"]


def test_an_unfit_request_id_is_replaced(json_portal: Portal) -> None:
    token = make_user(json_portal, "viewer", "Viewer")
    web = json_portal.serve()
    for unfit in ("x" * 65, "a b", "{}", 'a"b'):
        open_stream(web, token, unfit)
    ended = wait_until(
        lambda: [r for r in records(web) if "ended: left" in r["message"]][3:], 20, "four records"
    )
    assert ended
    identifiers = {r["request_id"] for r in records(web) if "ended: left" in r["message"]}
    assert len(identifiers) == 4
    assert all(len(name) == 32 and name.isalnum() for name in identifiers)


def test_plain_lines_are_the_default(portal: Portal) -> None:
    web = portal.serve()
    httpx.get(web.url("/healthz"), headers={"X-Request-ID": "plain-1"}, trust_env=False)
    web.wait_until(
        lambda: "INFO opsportal.access [plain-1] GET /healthz 200 " in web.read_output(),
        20,
        "the request's line",
    )
