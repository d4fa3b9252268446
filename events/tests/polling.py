"""A client of the log's REST side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from events import log

EVENTS = "/api/v1/events/"
LONGEST_WALK = 10_000  # pages; a walk that does not end must fail


def client_of(user: User) -> APIClient:
    return APIClient(headers={"Authorization": f"Bearer {AccessToken.for_user(user)}"})


def poll(user: User, query: str = "") -> dict[str, Any]:
    """The answer's body."""
    response = client_of(user).get(f"{EVENTS}?{query}")
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def pages(user: User, query: str, by: str, start: int) -> Iterator[dict[str, Any]]:
    """The answers on the way through the log, `by` "after" or "before", until there is no more."""
    for _ in range(LONGEST_WALK):
        page = poll(user, f"{query}&{by}={start}")
        yield page
        if not page["more"]:
            return
        start = page["cursor"]
    raise AssertionError("this walk does not end")


def place() -> int:
    """Gives the events so far their positions; returns the head's."""
    while log.sequence():
        pass
    return log.head().position
