"""How automations are written: API, pages, admin and commands come through here."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from django.db import transaction

from automation.event_map import AutomationEvent
from automation.models import Automation
from events.api import emit, subject_of
from servers.models import Environment, Server

LINKS: Final = ("servers", "environments")


def create(
    automation: Automation,
    servers: Iterable[Server] = (),
    environments: Iterable[Environment] = (),
) -> None:
    """Writes a new automation, with its targets. Raises ValidationError, by field."""
    _check(automation)
    with transaction.atomic():
        automation.save()
        automation.servers.set(servers)
        automation.environments.set(environments)
        _tell(automation, "created")


def edit(automation: Automation, values: Mapping[str, Any]) -> None:
    """Sets these fields of an automation whose row is locked, `servers` and `environments` too.

    Raises ValidationError, by field.
    """
    fields = {name: value for name, value in values.items() if name not in LINKS}
    before = {name: getattr(automation, name) for name in fields}
    for name, value in fields.items():
        setattr(automation, name, value)
    _check(automation)
    changes = {
        name: {"old": _shown(name, old), "new": _shown(name, getattr(automation, name))}
        for name, old in before.items()
        if old != getattr(automation, name)
    }
    with transaction.atomic():
        for name in LINKS:
            if name in values:
                changes |= _link(automation, name, values[name])
        if changes:
            automation.save(update_fields={*changes, "updated_at"} - set(LINKS))
            _tell(automation, "updated", changes=changes)


def _link(automation: Automation, name: str, wanted: Collection[Any]) -> dict[str, Any]:
    """Sets what an automation is linked to; returns what changed by it, as an event tells it."""
    links = getattr(automation, name)
    old = dict(links.values_list("pk", "name"))
    new = {each.pk: each.name for each in wanted}
    if old.keys() == new.keys():
        return {}
    links.set(new)
    return {name: {"old": sorted(old.values()), "new": sorted(new.values())}}


def delete(automation: Automation) -> None:
    """Its runs stay, and keep its name."""
    with transaction.atomic():
        _tell(automation, "deleted")
        automation.delete()


def with_line_ends(script: str) -> str:
    """Its lines end as sh wants it, the last one too."""
    script = script.replace("\r\n", "\n")
    return script if script.endswith("\n") else f"{script}\n"


def _check(automation: Automation) -> None:
    """Raises ValidationError, by field."""
    automation.script = with_line_ends(automation.script)
    automation.full_clean()


def _shown(name: str, value: Any) -> Any:
    """A script itself would make the event as large as two of them."""
    if name != "script":
        return value
    digest = hashlib.sha256(value.encode()).hexdigest()[:12]
    return f"{len(value.splitlines())} lines, SHA-256 {digest}"


def _tell(automation: Automation, change: str, **more: Any) -> None:
    data = {"id": automation.pk, "name": automation.name, "change": change, **more}
    emit(AutomationEvent.DEFINITION_CHANGED, data, subject=subject_of(automation))
