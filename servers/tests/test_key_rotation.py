from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core import checks as system_checks
from django.core.management import CommandError, call_command
from django.db import connection

from servers import encryption
from servers.models import Credential, Server
from servers.tests.cast import create_server, recorded_events

pytestmark = pytest.mark.django_db

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture(autouse=True)
def old_key(settings: Any) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [OLD]


def create_credential(name: str = "fleet", **values: Any) -> Credential:
    defaults = {"kind": Credential.Kind.PASSWORD, "secret": "swordfish"}
    return Credential.objects.create(name=name, **(defaults | values))


def rotate() -> str:
    output = StringIO()
    call_command("rotate_field_keys", stdout=output)
    return output.getvalue()


def tokens(table: str, column: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def test_after_it_the_old_key_is_not_needed(settings: Any) -> None:
    server, credential = create_server(), create_credential(passphrase="starfish")
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    assert "3" in rotate()
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert Server.objects.get(pk=server.pk).credential == "swordfish"
    read = Credential.objects.get(pk=credential.pk)
    assert (read.secret, read.passphrase) == ("swordfish", "starfish")


def test_it_tells_nobody_and_touches_nothing_else(settings: Any) -> None:
    create_server()
    create_credential()
    before = [Server.objects.values().get(), Credential.objects.values().get()]
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    with recorded_events() as events:
        rotate()
    assert events == []
    assert [Server.objects.values().get(), Credential.objects.values().get()] == before


def test_what_is_empty_stays_empty(settings: Any) -> None:
    create_server(credential="")
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    assert "first key: 0." in rotate()
    assert tokens("servers_server", "credential") == [""]


def test_more_rows_than_a_batch_are_all_rotated(settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(encryption, "BATCH", 3)
    for number in range(8):
        create_credential(f"fleet {number}")
    settings.FIELD_ENCRYPTION_KEYS = [NEW, OLD]
    rotate()
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert {row.secret for row in Credential.objects.all()} == {"swordfish"}


def test_what_no_key_opens_is_named_and_left_as_it_is(settings: Any) -> None:
    lost = create_credential("lost")
    [token] = tokens("servers_credential", "secret")
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    kept = create_credential("kept", secret="starfish")
    with pytest.raises(CommandError) as caught:
        rotate()
    assert f"servers.Credential.secret of {lost.pk}" in str(caught.value)
    assert f"of {kept.pk}" not in str(caught.value)
    assert "swordfish" not in str(caught.value)
    assert tokens("servers_credential", "secret")[0] == token
    assert Credential.objects.get(pk=kept.pk).secret == "starfish"


def warnings() -> list[Any]:
    found = system_checks.run_checks(tags=["database"], databases=["default"])
    return [warning for warning in found if warning.id == "servers.W001"]


def test_a_lost_key_is_told_by_a_check_that_names_what_it_opened(settings: Any) -> None:
    lost = create_credential()
    assert warnings() == []
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    [warning] = warnings()
    assert f"servers.Credential.secret of {lost.pk}" in warning.msg
    assert not warning.is_serious()  # or the next release could not migrate


def test_the_check_asks_no_database_unless_it_is_told_to(settings: Any) -> None:
    create_credential()
    settings.FIELD_ENCRYPTION_KEYS = [NEW]
    assert not [each for each in system_checks.run_checks() if each.id == "servers.W001"]
