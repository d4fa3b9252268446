from __future__ import annotations

import itertools

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from opsportal import roles
from servers.tests.cast import Person

pytestmark = pytest.mark.django_db


def granted(name: str) -> set[str]:
    rows = Group.objects.get(name=name).permissions.select_related("content_type")
    return {f"{row.content_type.app_label}.{row.codename}" for row in rows}


def migrate() -> None:
    call_command("migrate", verbosity=0)


@pytest.mark.parametrize("name", roles.ROLES)
def test_a_role_has_its_permissions_after_migrate(name: str) -> None:
    assert granted(name) == roles.ROLES[name]


def test_each_role_may_what_the_one_before_may_and_more() -> None:
    sets = list(roles.ROLES.values())
    assert all(less < more for less, more in itertools.pairwise(sets))


def test_migrate_gives_back_what_a_role_lost_and_takes_nothing_away() -> None:
    viewer = Group.objects.get(name="Viewer")
    extra = Permission.objects.get(codename="delete_server")
    viewer.permissions.set([extra])
    Group.objects.get(name="Responder").delete()
    own = Group.objects.create(name="Auditors")
    migrate()
    assert granted("Viewer") == roles.VIEWER | {"servers.delete_server"}
    assert granted("Responder") == roles.RESPONDER
    assert not own.permissions.exists()


def test_migrate_changes_nobodys_membership(viewer: Person, outsider: Person) -> None:
    migrate()
    assert [group.name for group in viewer.user.groups.all()] == ["Viewer"]
    assert not outsider.user.groups.exists()


def test_a_misspelt_permission_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "ROLES", {"Viewer": {"servers.view_sever"}})
    last = apps.get_app_config("automation")
    with pytest.raises(LookupError, match=r"servers\.view_sever"):
        roles.grant_roles(last, using="default")


@pytest.mark.parametrize(
    ("name", "may", "may_not"),
    [
        ("viewer", "servers.view_server", "servers.test_server"),
        ("viewer", "servers.view_server", "servers.change_server"),
        ("viewer", "incidents.view_incident", "incidents.comment_incident"),
        ("responder", "incidents.resolve_incident", "incidents.close_incident"),
        ("responder", "incidents.assign_incident", "incidents.change_incident"),
        ("responder", "incidents.add_incident", "incidents.view_notification"),
        ("operator", "incidents.close_incident", "incidents.delete_incident"),
        ("operator", "incidents.view_notification", "incidents.change_notificationchannel"),
        ("operator", "incidents.change_incident", "incidents.change_automaticincidents"),
        ("admin", "incidents.change_automaticincidents", "incidents.add_automaticincidents"),
        ("viewer", "automation.view_run", "automation.run_automation"),
        ("responder", "automation.run_automation", "automation.change_automation"),
        ("operator", "automation.change_automation", "automation.delete_automation"),
        ("responder", "servers.test_server", "servers.accept_host_key"),
        ("operator", "servers.accept_host_key", "servers.delete_server"),
        ("operator", "events.view_event", "events.emit_event"),
        ("operator", "servers.change_server", "auth.change_user"),
        ("admin", "events.emit_event", "auth.delete_user"),
        ("admin", "auth.change_user", "auth.change_permission"),
    ],
)
def test_where_one_role_ends(people: dict[str, Person], name: str, may: str, may_not: str) -> None:
    user = get_user_model().objects.get(pk=people[name].user.pk)
    assert user.has_perm(may)
    assert not user.has_perm(may_not)


def test_an_outsider_may_nothing(outsider: Person) -> None:
    assert outsider.user.get_all_permissions() == set()


def test_an_app_without_models_at_the_end_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django signals no migration of it."""
    configs = [*apps.get_app_configs(), apps.get_app_config("staticfiles")]
    monkeypatch.setattr(apps, "get_app_configs", lambda: configs)
    Group.objects.get(name="Viewer").delete()
    roles.grant_roles(apps.get_app_config("automation"), using="default")
    assert granted("Viewer") == roles.VIEWER
