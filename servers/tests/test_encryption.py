from __future__ import annotations

import logging
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client

from events.models import Event
from servers import checks, ssh, tasks
from servers.encryption import DecryptionError, cipher
from servers.models import Server
from servers.tests.cast import Person, create_person, create_server, path_of, recorded_events

pytestmark = pytest.mark.django_db

SECRET = "swordfish-ünï"


@pytest.fixture
def server(db: None) -> Server:
    return create_server(credential=SECRET)


def stored() -> str:
    """The raw column."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT credential FROM servers_server")
        return str(cursor.fetchone()[0])


def rendered(*values: object) -> str:
    return "\n".join(f"{value!r} {value}" for value in values)


@pytest.mark.parametrize("way", ["create", "save", "update", "bulk_create", "bulk_update"])
def test_the_column_holds_ciphertext_whichever_way_it_is_written(way: str) -> None:
    if way == "create":
        create_server(credential=SECRET)
    elif way == "bulk_create":
        Server.objects.bulk_create([Server(name="a", host="h", username="u", credential=SECRET)])
    else:
        row = create_server(credential="")
        row.credential = SECRET
        if way == "save":
            row.save()
        elif way == "update":
            Server.objects.update(credential=SECRET)
        else:
            Server.objects.bulk_update([row], ["credential"])
    assert SECRET not in stored()
    assert cipher().decrypt(stored().encode()).decode() == SECRET
    assert Server.objects.get().credential == SECRET


def test_the_same_credential_never_looks_the_same_twice(server: Server) -> None:
    first = stored()
    server.save()
    assert stored() != first


def test_an_empty_credential_stays_empty() -> None:
    create_server(credential="")
    assert stored() == ""
    assert Server.objects.get().credential == ""


def test_a_longer_list_of_keys_rotates(server: Server, settings: Any) -> None:
    old = settings.FIELD_ENCRYPTION_KEYS
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, *old]
    row = Server.objects.get()
    assert row.credential == SECRET
    row.save()
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert Server.objects.get().credential == SECRET
    settings.FIELD_ENCRYPTION_KEYS = old
    with pytest.raises(DecryptionError):
        _ = Server.objects.get().credential


def test_a_wrong_key_is_an_error_that_names_the_field_and_no_value(
    server: Server, settings: Any
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(DecryptionError, match=r"servers\.Server\.credential") as caught:
        _ = Server.objects.get().credential
    assert stored() not in str(caught.value)
    assert caught.value.__cause__ is None
    with connection.cursor() as cursor:
        cursor.execute("UPDATE servers_server SET credential = 'plain text'")
    with pytest.raises(DecryptionError):
        _ = Server.objects.get().credential


def test_a_wrong_key_does_not_stop_the_list(
    server: Server, viewer: Person, settings: Any, client: Client
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert viewer.call("get").status_code == 200
    assert viewer.call("get", path_of(server)).status_code == 200
    client.force_login(viewer.user)
    assert client.get("/servers/").status_code == 200


def test_the_credential_is_in_no_event(server: Server, operator: Person) -> None:
    with recorded_events() as events:
        operator.call("patch", path_of(server), {"credential": f"new {SECRET}"})
        Server.objects.update(credential=f"newer {SECRET}")
        create_server("web-02", credential=SECRET).delete()
    changes = [event.data["changes"] for event in events if event.type == "server.updated"]
    assert changes == [{"credential": {"old": "********", "new": "********"}}] * 2
    for event in Event.objects.all():
        assert "swordfish" not in rendered(event.data, event.subject, event)


def test_no_text_form_of_a_server_holds_the_credential(server: Server) -> None:
    target = checks.target(server)
    assert target.password == SECRET
    assert "swordfish" not in rendered(server, target, Server.objects.all(), [server])


def test_the_credential_is_in_no_log_line(
    server: Server, operator: Person, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    with caplog.at_level(logging.DEBUG):
        operator.call("patch", path_of(server), {"credential": f"{SECRET}!", "port": "no"})
        operator.call("patch", path_of(server), {"credential": f"{SECRET}!"})
        assert checks.request_test(server, operator.user)
        assert server.test_id is not None
        checks.record_outcome(server.pk, server.test_id, ssh.Outcome(False, "No.", None))
    assert "swordfish" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_lost_key_stops_nothing_but_what_needs_the_credential(
    server: Server, operator: Person, settings: Any
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert operator.call("patch", path_of(server), {"port": 2222}).status_code == 200
    assert operator.call("get", path_of(server)).status_code == 200
    assert checks.request_test(Server.objects.defer("credential").get(), operator.user)
    server = Server.objects.defer("credential").get()
    tasks.test_connection(server.pk, str(server.test_id), operator.user.pk)
    server = Server.objects.defer("credential").get()
    assert server.status == Server.Status.FAILED
    assert "FIELD_ENCRYPTION_KEYS decrypts servers.Server.credential" in server.last_test_message


# The admin.


@pytest.fixture
def office(client: Client, admin: Person) -> Client:
    """A browser in the admin, where the credential is set."""
    type(admin.user).objects.filter(pk=admin.user.pk).update(is_staff=True)
    client.force_login(admin.user)
    return client


def fill_in(office: Client, server: Server, **values: str) -> str:
    """Saves the admin's form; returns all that the admin then shows of this server."""
    page = f"/admin/servers/server/{server.pk}/change/"
    form = {"name": "web-01", "host": "10.0.0.5", "port": "22", "username": "ops", "tags": ""}
    response = office.post(page, form | {"credential": ""} | values)
    assert response.status_code == 302, response.content.decode()
    history = f"/admin/servers/server/{server.pk}/history/"
    shown = [office.get(url).content.decode() for url in (page, history, "/admin/servers/server/")]
    return "".join(shown)


def test_the_admins_form_does_not_show_the_credential(office: Client, server: Server) -> None:
    assert "swordfish" not in fill_in(office, server)


@pytest.mark.parametrize("name", ["viewer", "responder"])
def test_whoever_may_only_look_does_not_see_the_credential(
    client: Client, server: Server, name: str
) -> None:
    """Without the right to change, the admin renders values, not the form."""
    person = create_person(name)
    type(person.user).objects.filter(pk=person.user.pk).update(is_staff=True)
    client.force_login(person.user)
    response = client.get(f"/admin/servers/server/{server.pk}/change/")
    assert response.status_code == 200
    page = response.content.decode()
    assert server.name in page
    assert "swordfish" not in page
    assert server.credential not in page


def test_a_form_that_is_refused_does_not_show_the_stored_credential(
    office: Client, server: Server
) -> None:
    response = office.post(f"/admin/servers/server/{server.pk}/change/", {"port": "0"})
    assert response.status_code == 200
    assert "swordfish" not in response.content.decode()


def test_an_empty_form_keeps_the_credential(office: Client, server: Server) -> None:
    before = stored()
    with recorded_events() as events:
        fill_in(office, server, port="2222")
    assert stored() == before
    assert Server.objects.get().credential == SECRET
    assert list(events[0].data["changes"]) == ["port"]


def test_a_filled_form_replaces_it_and_the_history_tells_only_that(
    office: Client, server: Server
) -> None:
    with recorded_events() as events:
        shown = fill_in(office, server, credential=" starfish\n")
    assert Server.objects.get().credential.replace("\r", "") == " starfish\n"
    assert list(events[0].data["changes"]) == ["credential"]
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Changed credential."
    assert "starfish" not in shown + rendered(entry, entry.change_message, events[0].data)


def test_deleting_in_the_admin_leaves_no_credential_behind(office: Client, server: Server) -> None:
    response = office.post(f"/admin/servers/server/{server.pk}/delete/", {"post": "yes"})
    assert response.status_code == 302
    assert not Server.objects.exists()
    entry = LogEntry.objects.get()
    assert "swordfish" not in rendered(entry, entry.change_message, entry.object_repr)


def test_lists_of_the_admin_do_not_decrypt(office: Client, server: Server, settings: Any) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert office.get("/admin/servers/server/").status_code == 200
