"""Every change of somebody's rights, as an event in the log, whoever made it.

Bulk changes of Django's own tables send no signals: what does `User.objects.update(...)` calls
`access_changed` itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_out
from django.db import models
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from events import tickets
from events.audience import user_key
from events.bus import emit
from events.event_map import AccessEvent

# What a change of each means: True ends what was opened with the credentials of before.
WATCHED: Final = {"is_active": True, "password": True, "is_superuser": False}
RELATION_CHANGES: Final = {"post_add", "post_remove", "post_clear"}
_BEFORE: Final = "_access_before"


def access_changed(user: Any, reason: str, *, ended: bool = False) -> None:
    """Appends `access.changed` for a user or primary key. Raises ValueError for None.

    Streams that are open hold at its position until the rights have been read again; `ended` ends
    them, and their clients must bring good credentials.
    """
    key = user_key(user)
    if ended:
        tickets.withdraw(user)
    emit(AccessEvent.CHANGED, {"user": key, "reason": reason, "ended": ended})


def everyones_access_changed(reason: str, *, ended: bool = False) -> None:
    """`access_changed` for whoever there is: `ended` ends every stream."""
    if ended:
        tickets.withdraw_all()
    emit(AccessEvent.CHANGED, {"user": "", "reason": reason, "ended": ended})


def connect() -> None:
    """Listens to users, groups and permissions. Called once, when the apps are ready."""
    users, uid = get_user_model(), "events.access"
    pre_save.connect(_remember_user, sender=users, dispatch_uid=uid)
    post_save.connect(_user_saved, sender=users, dispatch_uid=uid)
    post_delete.connect(_user_deleted, sender=users, dispatch_uid=uid)
    for relation in ("groups", "user_permissions"):
        through = users._meta.get_field(relation).remote_field.through  # type: ignore[union-attr]
        m2m_changed.connect(_user_relation_changed, sender=through, dispatch_uid=uid)
    m2m_changed.connect(_rights_changed, sender=Group.permissions.through, dispatch_uid=uid)
    post_delete.connect(_rights_deleted, sender=Group, dispatch_uid=uid)
    post_delete.connect(_rights_deleted, sender=Permission, dispatch_uid=uid)
    user_logged_out.connect(_logged_out, dispatch_uid=uid)


def _remember_user(
    sender: type[models.Model],
    instance: models.Model,
    raw: bool,
    update_fields: Collection[str] | None,
    **_: Any,
) -> None:
    relevant = update_fields is None or set(update_fields) & set(WATCHED)
    if instance.pk is not None and relevant and not raw:
        before = sender._base_manager.filter(pk=instance.pk).values(*WATCHED).first()
        setattr(instance, _BEFORE, before)


def _user_saved(instance: models.Model, **_: Any) -> None:
    before = instance.__dict__.pop(_BEFORE, None)
    if before is None:
        return
    changed = [name for name in WATCHED if before[name] != getattr(instance, name)]
    if changed:
        ended = any(WATCHED[name] for name in changed)
        access_changed(instance, ", ".join(changed), ended=ended)


def _user_deleted(instance: models.Model, **_: Any) -> None:
    access_changed(instance, "deleted", ended=True)


def _user_relation_changed(
    sender: type[models.Model],
    instance: models.Model,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    **_: Any,
) -> None:
    """A user's groups or permissions, changed from either side."""
    if action not in RELATION_CHANGES or pk_set == set():
        return
    if reverse and pk_set is None:
        everyones_access_changed(sender.__name__)
        return
    for user in pk_set or [] if reverse else [instance]:
        access_changed(user, sender.__name__)


def _rights_changed(
    sender: type[models.Model],
    instance: models.Model,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    **_: Any,
) -> None:
    """A group's permissions: those of whoever is in it, and the database knows that best."""
    if action not in RELATION_CHANGES or pk_set == set():
        return
    groups = [instance.pk] if not reverse else pk_set
    users = get_user_model()._default_manager.all()
    if groups is None or users.filter(groups__in=groups).exists():
        everyones_access_changed(sender.__name__)


def _rights_deleted(sender: type[models.Model], **_: Any) -> None:
    everyones_access_changed(f"{sender.__name__} deleted")


def _logged_out(user: Any, **_: Any) -> None:
    if user is not None:
        access_changed(user, "logout", ended=True)
