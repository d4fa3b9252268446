"""What users may read, as it is in the database now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from events.audience import EVERYONE


def rights_of(pks: Sequence[Any]) -> dict[Any, frozenset[str]]:
    """The audience keys that each of these users shares with others, by primary key.

    A user who is gone or inactive is left out. Rights are those of Django's ModelBackend, read in
    three or four queries however many users there are; `has_perm` would take two for each, and
    remember. What a group may do is read once, not once for each of its users.
    """
    users = get_user_model()._default_manager.filter(pk__in=pks, is_active=True).order_by()
    groups: dict[Any, set[Any]] = defaultdict(set)
    superusers = set()
    for pk, is_superuser, group in users.values_list("pk", "is_superuser", "groups"):
        groups[pk] |= {group} - {None}
        if is_superuser:
            superusers.add(pk)
    everything = {".".join(name) for name in _permissions()} if superusers else set()
    own = _held("user", groups)
    of_groups = _held("group", set().union(*groups.values()))
    return {
        pk: frozenset({EVERYONE}).union(
            everything if pk in superusers else own[pk], *(of_groups[each] for each in members)
        )
        for pk, members in groups.items()
    }


def _held(holder: str, keys: Collection[Any]) -> dict[Any, set[str]]:
    """The permissions that each of these has by itself; `holder` is `user` or `group`."""
    found: dict[Any, set[str]] = defaultdict(set)
    for key, *name in _permissions(holder, keys):
        found[key].add(".".join(name))
    return found


def _permissions(holder: str = "", keys: Collection[Any] = ()) -> Any:
    rows = Permission.objects.order_by()
    held = rows.filter(**{f"{holder}__in": keys}) if holder else rows
    return held.values_list(*filter(None, [holder]), "content_type__app_label", "codename")
