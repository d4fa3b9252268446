"""From a model's signals to its mapped events."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, models
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save
from django.db.transaction import TransactionManagementError

from events import payload
from events.bus import Draft, emit_many
from events.catalogue import EventMap, SystemEvent, catalogue
from events.querysets import rows_created, rows_updated

MASK = "********"
_BEFORE = "_event_before"


def connect() -> None:
    """Listens to every mapped model. Called once, after autodiscovery; safe to repeat."""
    for model in catalogue.maps:
        connect_model(model)


def connect_model(model: type[models.Model]) -> None:
    uid = "events"
    pre_save.connect(remember, sender=model, dispatch_uid=uid)
    post_save.connect(emit_saved, sender=model, dispatch_uid=uid)
    pre_delete.connect(remember, sender=model, dispatch_uid=uid)
    post_delete.connect(emit_deleted, sender=model, dispatch_uid=uid)
    rows_created.connect(emit_rows_created, sender=model, dispatch_uid=uid)
    rows_updated.connect(emit_rows_updated, sender=model, dispatch_uid=uid)


def subject_of(instance: models.Model) -> str:
    """What an event about this row is about: `servers.server/42`."""
    return f"{instance._meta.label_lower}/{instance.pk}"


def remember(
    sender: type[models.Model],
    instance: models.Model,
    using: str,
    raw: bool = False,
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> None:
    """Reads and locks the row as it is before the change, so that no other slips between.

    A secret that does not change is not read: what cannot be decrypted must not stop the rest.
    """
    if raw or sender not in catalogue.maps or instance.pk is None:
        return
    event_map, connection = catalogue.maps[sender], connections[using]
    if connection.features.has_select_for_update and connection.get_autocommit():
        raise TransactionManagementError(f"a change of {sender._meta.label} needs a transaction")
    statement = _locking_statement(event_map, using, *event_map.untouched_secrets(update_fields))
    key = sender._meta.pk.get_db_prep_value(instance.pk, connection)
    rows: Iterable[Any] = models.QuerySet(sender, using=using).raw(statement, [key])
    setattr(instance, _BEFORE, next(iter(rows), None))


@cache
def _locking_statement(event_map: EventMap, using: str, *unread: str) -> str:
    """With the key as its one parameter. To compile it takes longer than to execute it."""
    rows: models.QuerySet[Any] = models.QuerySet(event_map.model, using=using)
    locked = event_map.read(rows, unread).select_for_update().order_by()
    statement, _ = locked.filter(pk=models.Value(0)).query.get_compiler(using).as_sql()
    return str(statement)


def emit_saved(
    sender: type[models.Model],
    instance: models.Model,
    created: bool,
    raw: bool,
    update_fields: Collection[str] | None,
    **_: Any,
) -> None:
    before = instance.__dict__.pop(_BEFORE, None)
    if raw or sender not in catalogue.maps:
        return
    event_map = catalogue.maps[sender]
    if created or before is None:
        emit_many(_drafts(event_map.created, _stored(instance)))
    else:
        after = _stored(instance, before, update_fields)
        emit_many(_change_drafts(event_map, before, after))


def emit_deleted(sender: type[models.Model], instance: models.Model, **_: Any) -> None:
    """Tells of the row as it was stored; of one that somebody else has deleted, nothing."""
    before = instance.__dict__.pop(_BEFORE, None)
    if sender in catalogue.maps and before is not None:
        emit_many(_drafts(catalogue.maps[sender].deleted, before))


def emit_rows_created(sender: type[models.Model], instances: list[models.Model], **_: Any) -> None:
    if sender in catalogue.maps:
        created = catalogue.maps[sender].created
        emit_many(d for instance in instances for d in _drafts(created, _stored(instance)))


def emit_rows_updated(
    sender: type[models.Model], changes: list[tuple[models.Model, models.Model]], **_: Any
) -> None:
    if sender in catalogue.maps:
        event_map = catalogue.maps[sender]
        emit_many(draft for pair in changes for draft in _change_drafts(event_map, *pair))


def _stored(
    instance: models.Model,
    before: models.Model | None = None,
    update_fields: Collection[str] | None = None,
) -> models.Model:
    """The row as it is in the database now, without asking it where that can be known.

    Attributes may hold what was not saved (`update_fields`), was saved in another form ("22" for
    22), or is an expression that only the database can tell the value of.
    """
    model, database = type(instance), instance._state.db
    saved = None if before is None or update_fields is None else set(update_fields)
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        name = field.attname
        if saved is not None and saved.isdisjoint((field.name, name)):
            if name in before.__dict__:
                values[name] = before.__dict__[name]
        elif name in instance.__dict__:
            value = getattr(instance, name)
            if hasattr(value, "resolve_expression"):
                return model._base_manager.using(database).get(pk=instance.pk)
            values[name] = field.to_python(value)
    return model.from_db(database, list(values), list(values.values()))


def _drafts(
    event_type: SystemEvent | None, instance: models.Model, **extra: Any
) -> Iterator[Draft]:
    if event_type is not None:
        data = payload.represent(catalogue.type(event_type.value), instance, extra)
        yield Draft(event_type.value, data, subject=subject_of(instance))


def _change_drafts(
    event_map: EventMap, before: models.Model, after: models.Model
) -> Iterator[Draft]:
    # As they were read: of a secret that is lost the attribute itself would raise.
    old, new = before.__dict__, after.__dict__
    changed = [
        name
        for name, attname in event_map.watched.items()
        if attname in old and old[attname] != new[attname]
    ]
    changes = {
        name: {"old": MASK, "new": MASK}
        if name in event_map.masked
        else {"old": _shown(before, name), "new": _shown(after, name)}
        for name in changed
        if name not in event_map.transitions
    }
    if changes:
        yield from _drafts(event_map.updated, after, changes=changes)
    for name, event_type in event_map.transitions.items():
        if name in changed:
            values = {f"old_{name}": _shown(before, name), f"new_{name}": _shown(after, name)}
            yield from _drafts(event_type, after, **values)


def _shown(instance: models.Model, name: str) -> Any:
    """A field's value as JSON; of a related object its text, for which its secrets are not read."""
    field = instance._meta.get_field(name)
    if isinstance(field, models.ForeignKey):
        return _related_text(instance, field)
    value = getattr(instance, name)
    if type(value) in (str, int, bool):
        return value
    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))


def _related_text(instance: models.Model, field: models.ForeignKey[Any, Any]) -> str | None:
    if field.is_cached(instance) or instance.serializable_value(field.name) is None:
        related = getattr(instance, field.name)
        return None if related is None else str(related)
    model = field.related_model
    secrets = catalogue.maps[model].masked if model in catalogue.maps else ()
    rows = model._base_manager.using(instance._state.db).defer(*secrets)
    return str(rows.get(**{field.target_field.name: instance.serializable_value(field.name)}))
