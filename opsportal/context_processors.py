"""What every page of the site is given."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django.utils.functional import SimpleLazyObject


def stream_identity(request: HttpRequest) -> dict[str, object]:
    """`stream_identity` is the same on all pages of one login, and on no page of another.

    The browser's tabs share a stream by it. It is made of the session's key, and does not tell it.
    Empty without a user.
    """
    return {"stream_identity": SimpleLazyObject(lambda: _identity(request))}


def _identity(request: HttpRequest) -> str:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return ""
    login = f"{user.pk}:{request.session.session_key}"
    return salted_hmac("opsportal.stream_identity", login, algorithm="sha256").hexdigest()[:32]
