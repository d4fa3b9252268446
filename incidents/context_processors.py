"""What every page shows of notifications."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from incidents import bell as bells


def bell(request: HttpRequest) -> dict[str, Any]:
    """`unread_notifications`: how many there are for this user; counted if the page asks."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    return {"unread_notifications": SimpleLazyObject(partial(bells.unread, user))}
