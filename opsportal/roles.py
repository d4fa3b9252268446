"""The roles: Django groups with the permissions each needs, made after every migrate."""

from __future__ import annotations

from typing import Any, Final

from django.apps import AppConfig, apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import router

VIEWER: Final = {
    "servers.view_server",
    "servers.view_environment",
    "incidents.view_incident",
    "automation.view_automation",
    "automation.view_run",
}
RESPONDER: Final = VIEWER | {
    "servers.test_server",
    "incidents.add_incident",
    "incidents.acknowledge_incident",
    "incidents.resolve_incident",
    "incidents.reopen_incident",
    "incidents.assign_incident",
    "incidents.comment_incident",
    "automation.run_automation",
    "automation.cancel_run",
}
OPERATOR: Final = RESPONDER | {
    "servers.add_server",
    "servers.change_server",
    "servers.accept_host_key",
    "servers.maintain_server",
    "servers.view_credential",
    "servers.add_credential",
    "servers.change_credential",
    "incidents.change_incident",
    "incidents.close_incident",
    "incidents.view_notification",
    "incidents.view_notificationchannel",
    "incidents.test_notificationchannel",
    "automation.add_automation",
    "automation.change_automation",
    "events.view_event",
}
ADMIN: Final = OPERATOR | {
    "servers.delete_server",
    "servers.delete_credential",
    "incidents.delete_incident",
    "incidents.add_notificationchannel",
    "incidents.change_notificationchannel",
    "incidents.delete_notificationchannel",
    "incidents.view_automaticincidents",
    "incidents.change_automaticincidents",
    "automation.delete_automation",
    "servers.add_environment",
    "servers.change_environment",
    "servers.delete_environment",
    "events.emit_event",
    "auth.view_user",
    "auth.add_user",
    "auth.change_user",
    "auth.view_group",
}
ROLES: Final = {"Viewer": VIEWER, "Responder": RESPONDER, "Operator": OPERATOR, "Admin": ADMIN}


def grant_roles(app_config: AppConfig, using: str, **_: Any) -> None:
    """Gives each role what it lacks, once the last app is migrated; takes nothing away."""
    # Of an app without models there is no signal.
    last = [config for config in apps.get_app_configs() if config.models_module][-1]
    if app_config.label != last.label or not router.allow_migrate_model(using, Group):
        return
    for config in apps.get_app_configs():
        create_permissions(config, verbosity=0, using=using)
    for name, wanted in ROLES.items():
        group, _created = Group.objects.using(using).get_or_create(name=name)
        group.permissions.add(*_permissions(wanted, using))


def _permissions(names: set[str], using: str) -> list[Permission]:
    """Raises LookupError for a name that no app has: a typing error must not be silent."""
    rows = Permission.objects.using(using).select_related("content_type")
    found = {f"{row.content_type.app_label}.{row.codename}": row for row in rows}
    if missing := names - set(found):
        raise LookupError(f"roles name permissions that do not exist: {sorted(missing)}")
    return [found[name] for name in names]
