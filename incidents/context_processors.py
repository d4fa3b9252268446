"""What every page shows of notifications."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from incidents import bell as bells


def bell(request: HttpRequest) -> dict[str, Any]:
    """`unread_notifications` is how many there are for this user, `last_notification` the key of
    the newest; both are read if the page asks."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    return {
        "last_notification": SimpleLazyObject(partial(bells.last, user)),
        "unread_notifications": SimpleLazyObject(partial(bells.unread, user)),
    }
