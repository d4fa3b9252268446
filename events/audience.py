"""Who may read an event: audience keys, and the channel-layer groups named after them.

An audience is a set of keys, and one key in common is enough. A key is a Django permission
(`servers.view_server`), `user:<id>`, `everyone`, or `internal`, which no reader holds.
"""

import hashlib
import re
from collections.abc import Collection, Iterable
from typing import Any, Final

EVERYONE: Final = "everyone"
INTERNAL: Final = "internal"  # held by no reader: what only hubs may know
USER_PREFIX: Final = "user:"
GROUP_PREFIX: Final = "events."

_PERMISSION = re.compile(r"[A-Za-z_][\w]*\.[\w.-]+", re.ASCII)
_GROUP = re.compile(r"[A-Za-z0-9_.-]{1,99}", re.ASCII)


def user_key(user: Any) -> str:
    """The key of one user, given as a user or as a primary key. Raises ValueError for None."""
    key = getattr(user, "pk", user)
    if key is None:
        raise ValueError("a user without primary key cannot be addressed")
    return f"{USER_PREFIX}{key}"


def permission_key(permission: str) -> str:
    """The permission itself. Raises ValueError where it is not of the form app.codename."""
    if not isinstance(permission, str) or not _PERMISSION.fullmatch(permission):
        raise ValueError(f"{permission!r} is not a permission such as 'servers.view_server'")
    return permission


def audience(
    declared: Collection[str], permissions: Iterable[str] | None, users: Iterable[Any]
) -> list[str]:
    """The keys of one event, sorted.

    The type's own keys hold where neither permissions nor users are named; permissions named as
    an empty list mean everyone; users alone mean just those users. An internal type
    stays so, whatever is named.
    """
    if INTERNAL in declared:
        return [INTERNAL]
    if isinstance(users, str):
        raise ValueError("users must be a list of users, not a text")
    keys = {user_key(user) for user in users}
    if permissions is None:
        return sorted(keys or declared)
    if isinstance(permissions, str):
        raise ValueError("permissions must be a list of permissions, not a text")
    named = {permission_key(permission) for permission in permissions}
    return sorted(keys | (named or {EVERYONE}))


def group_name(key: str) -> str:
    """The channel-layer group of a key: ASCII letters, digits, `-_.`, under 100 characters.

    A user's is `events.user-5`: no permission is called so, as an app's label holds no hyphen.
    """
    name = GROUP_PREFIX + key.replace(":", "-")
    if _GROUP.fullmatch(name):
        return name
    return f"{GROUP_PREFIX}sha256.{hashlib.sha256(key.encode()).hexdigest()}"
