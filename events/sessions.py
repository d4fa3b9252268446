"""Django's session and authentication middleware, for many requests in two queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth import get_user as django_get_user
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string


def load(requests: Sequence[HttpRequest]) -> list[Any]:
    """Gives each request its `session` and `user`, as the two middlewares do.

    Returns the user that each session names, also one that Django does not take, or None.
    """
    keys = [session_key(request) for request in requests]
    store = import_module(settings.SESSION_ENGINE).SessionStore
    sessions = _sessions(store, {key for key in keys if key})
    for request, key in zip(requests, keys, strict=True):
        request.session = sessions[key] if key else store()
    users = _users([request.session.get(SESSION_KEY) for request in requests])
    for request in requests:
        request.user = _verified(request, users)
    return [users.get(str(request.session.get(SESSION_KEY))) for request in requests]


def session_key(request: HttpRequest) -> str | None:
    """What the session's cookie holds, unless it cannot be a key: PostgreSQL refuses NUL."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    return key if key and key.isprintable() else None


def _sessions(store: Any, keys: set[str]) -> dict[str, SessionBase]:
    """The session of each key; those in the database are read together."""
    sessions: dict[str, SessionBase] = {key: store(key) for key in keys}
    if store is DatabaseStore and sessions:
        model = store.get_model_class()
        rows = model.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
        found = {row.session_key: store().decode(row.session_data) for row in rows}
        for key, session in sessions.items():
            session._session_cache = found.get(key, {})  # type: ignore[attr-defined]
    return sessions


def _users(keys: Sequence[Any]) -> Mapping[str, Any]:
    """Users by the text that sessions hold of their primary keys."""
    model = get_user_model()
    wanted = set()
    for key in keys:
        try:
            wanted.add(model._meta.pk.to_python(key))
        except ValidationError:  # a session of another installation
            continue
    found = model._default_manager.filter(pk__in=wanted - {None}) if wanted - {None} else []
    return {model._meta.pk.value_to_string(user): user for user in found}


def _verified(request: HttpRequest, users: Mapping[str, Any]) -> Any:
    """The session's user, if Django would take it for that: see django.contrib.auth.get_user."""
    session = request.session
    path = session.get(BACKEND_SESSION_KEY)
    if path is None or path not in settings.AUTHENTICATION_BACKENDS:
        return AnonymousUser()
    backend = import_string(path)()
    if type(backend) is not ModelBackend:
        return django_get_user(request)
    user = users.get(str(session.get(SESSION_KEY)))
    if user is None or not backend.user_can_authenticate(user):
        return AnonymousUser()
    known = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    offered = session.get(HASH_SESSION_KEY) or ""
    return user if any(constant_time_compare(offered, each) for each in known) else AnonymousUser()
