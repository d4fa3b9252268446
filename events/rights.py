"""What users may read, as it is in the database now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from events.audience import EVERYONE


def rights_of(pks: Sequence[Any]) -> dict[Any, frozenset[str]]:
    """The audience keys that each of these users shares with others, by primary key.

    A user who is gone or inactive is left out. Rights are those of Django's ModelBackend, read in
    three queries however many users there are; `has_perm` would take two for each, and remember.
    """
    users = get_user_model()._default_manager.filter(pk__in=pks, is_active=True)
    superusers = dict(users.values_list("pk", "is_superuser"))
    granted: dict[Any, set[str]] = defaultdict(set)
    for path in ("user", "group__user"):
        for pk, *permission in _permissions(f"{path}__in", list(superusers), path):
            granted[pk].add(".".join(permission))
    everything: set[str] = set()
    if any(superusers.values()):
        everything = {".".join(permission) for permission in _permissions()}
    return {
        pk: frozenset({EVERYONE} | (everything if is_superuser else granted[pk]))
        for pk, is_superuser in superusers.items()
    }


def _permissions(lookup: str = "", pks: Sequence[Any] = (), *fields: str) -> Any:
    rows = Permission.objects.filter(**{lookup: pks}) if lookup else Permission.objects.all()
    return rows.order_by().values_list(*fields, "content_type__app_label", "codename")
