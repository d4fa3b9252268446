"""The admin's forms where somebody else was faster, its deletions, and what a lost key stops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction
from django.utils import timezone

from events.relay import relay
from servers import history, services
from servers.models import Credential, Environment, Sample, Server, StatusPeriod
from servers.tests.cast import Person, create_person, create_server, recorded_events
from servers.tests.desk import (
    CREDENTIALS,
    ENVIRONMENTS,
    PAGE,
    confirm,
    desk,
    errors,
    filled,
    run_action,
    save,
)

# On one stack: what the admin does is tested on both by its services.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]


@pytest.fixture
def credential(db: None) -> Credential:
    row = Credential(name="deploy", kind="password", secret="swordfish")
    services.save_credential(row)
    return row


@pytest.fixture
def history_of(db: None) -> Server:
    """A server with a past."""
    server = create_server("old")
    history.note(server)
    for _ in range(3):
        history.add_sample(server, 12.5)
    return server


# Somebody else was faster.


@pytest.mark.parametrize(
    "meanwhile", [{"host": "theirs"}, {"credential": "theirs"}, {"tags": ["theirs"]}]
)
def test_a_stale_form_of_a_server_says_so_and_writes_nothing(
    operator: Person, server: Server, meanwhile: dict[str, Any]
) -> None:
    browser, url = desk(operator), f"{PAGE}{server.pk}/change/"
    form = filled(browser, url, name="mine", credential="mine")
    Server.objects.update(**meanwhile)
    with recorded_events() as events:
        response = browser.post(url, form)
    [message] = errors(response)["__all__"]
    assert "changed meanwhile, and nothing was saved" in message
    assert f'href="{PAGE}{server.pk}/history/"' in response.content.decode()
    # Sent again as it is, it is as stale as before.
    assert errors(browser.post(url, form))
    assert events == []
    row = Server.objects.get()
    assert (row.name, row.credential) == (server.name, meanwhile.get("credential", "swordfish"))
    assert not LogEntry.objects.exists()


def test_stale_forms_of_credentials_and_environments_write_nothing(
    admin: Person, credential: Credential, environment: Environment
) -> None:
    browser = desk(admin)
    pages: list[tuple[str, Any, dict[str, Any]]] = [
        (CREDENTIALS, credential, {"secret": "theirs"}),
        (ENVIRONMENTS, environment, {"accept_new_host_keys": True}),
    ]
    for page, row, meanwhile in pages:
        url = f"{page}{row.pk}/change/"
        form = filled(browser, url, name="mine")
        type(row).objects.filter(pk=row.pk).update(**meanwhile)
        assert "changed meanwhile" in errors(browser.post(url, form))["__all__"][0]
        assert type(row).objects.get(pk=row.pk).name == row.name


def test_what_a_test_or_maintenance_writes_makes_no_form_stale(
    operator: Person, server: Server
) -> None:
    browser, url = desk(operator), f"{PAGE}{server.pk}/change/"
    form = filled(browser, url, tags="web")
    Server.objects.update(status="success", maintenance_until=timezone.now() + timedelta(hours=1))
    assert browser.post(url, form).status_code == 302
    row = Server.objects.get()
    assert (row.tags, row.status) == (["web"], "success")
    assert LogEntry.objects.get().get_change_message() == "Changed tags."


def test_a_form_of_what_was_deleted_meanwhile_is_no_error(operator: Person, server: Server) -> None:
    browser, url = desk(operator), f"{PAGE}{server.pk}/change/"
    form = filled(browser, url)
    Server.objects.all().delete()
    response = browser.post(url, form)
    assert response.status_code == 302
    assert not Server.objects.exists()


@pytest.mark.stack("scaled")
@pytest.mark.django_db(transaction=True)
def test_a_form_that_is_sent_while_another_is_being_saved_is_stale() -> None:
    """SQLite's transactions take turns from their beginning."""
    server, operator = create_server(), create_person("operator")
    browser, url = desk(operator), f"{PAGE}{server.pk}/change/"
    form = filled(browser, url, host="mine")

    def send() -> dict[str, list[str]]:
        try:
            return errors(browser.post(url, form))
        finally:
            connection.close()

    try:
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                Server.objects.update(host="theirs")
                answer = pool.submit(send)
                while not answer.done() and not somebody_waits():
                    wait([answer], 0.02)
            assert "changed meanwhile" in answer.result(20)["__all__"][0]
    finally:
        relay.stop()
    assert Server.objects.get().host == "theirs"


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


# Deletions.


def test_a_server_is_deleted_with_its_history(admin: Person, history_of: Server) -> None:
    browser, url = desk(admin), f"{PAGE}{history_of.pk}/delete/"
    page = browser.get(url).content.decode()
    assert "<li>Samples: 3</li>" in page
    assert "12.5 ms" not in page
    with recorded_events() as events:
        assert browser.post(url, {"post": "yes"}).status_code == 302
    assert [(event.type, event.actor_username) for event in events] == [("server.deleted", "admin")]
    assert not Server.objects.exists()
    assert not Sample.objects.exists()
    assert not StatusPeriod.objects.exists()


def test_many_servers_are_deleted_with_an_event_for_each(
    admin: Person, history_of: Server, server: Server
) -> None:
    browser = desk(admin)
    question = run_action(browser, "delete_selected", history_of, server)
    assert "<li>Samples: 3</li>" in question.content.decode()
    data = {
        "action": "delete_selected",
        "_selected_action": [history_of.pk, server.pk],
        "post": "yes",
    }
    with recorded_events() as events:
        assert browser.post(PAGE, data).status_code == 302
    assert sorted(event.data["name"] for event in events) == ["old", "web-01"]
    assert {event.type for event in events} == {"server.deleted"}
    assert not Server.objects.exists()


@pytest.mark.parametrize("used", ["credential", "environment"])
def test_what_servers_use_is_not_deleted_and_they_are_named(
    admin: Person, credential: Credential, environment: Environment, used: str
) -> None:
    create_server("own", environment=environment)
    create_server("shared", credential="", shared_credential=credential)
    row, user = {"credential": (credential, "shared"), "environment": (environment, "own")}[used]
    page = f"/admin/servers/{used}/"
    browser = desk(admin)
    action = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    with recorded_events() as events:
        answers = [
            browser.get(f"{page}{row.pk}/delete/"),
            browser.post(f"{page}{row.pk}/delete/", {"post": "yes"}),
            browser.post(page, action),
        ]
    for answer in answers:
        assert answer.status_code == 200
        assert f">{user}</a>" in answer.content.decode()
    assert events == []
    assert type(row)._base_manager.filter(pk=row.pk).exists()
    assert not LogEntry.objects.exists()


def test_what_no_server_uses_is_deleted(
    admin: Person, credential: Credential, environment: Environment
) -> None:
    browser = desk(admin)
    for page, row in ((CREDENTIALS, credential), (ENVIRONMENTS, environment)):
        assert browser.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Credential.objects.exists()
    assert not Environment.objects.filter(pk=environment.pk).exists()


def test_an_environments_trust_is_explained(admin: Person, environment: Environment) -> None:
    browser, url = desk(admin), f"{ENVIRONMENTS}{environment.pk}/change/"
    assert "A changed key is never accepted by itself." in browser.get(url).content.decode()
    save(browser, url, accept_new_host_keys="on")
    environment.refresh_from_db()
    assert environment.accept_new_host_keys


# A lost key.


@pytest.fixture
def lost(
    server: Server, credential: Credential, environment: Environment, settings: Any
) -> tuple[Server, Credential]:
    """A server and a credential whose secrets no key opens any more."""
    Server.objects.update(environment=environment)
    create_server("shared", credential="", shared_credential=credential)
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    return server, credential


def test_a_lost_key_breaks_no_page(
    admin: Person, environment: Environment, lost: tuple[Server, Credential]
) -> None:
    browser = desk(admin)
    for row in (*lost, environment, Server.objects.get(name="shared")):
        page = f"/admin/servers/{row._meta.model_name}/"
        one = [f"{page}{row.pk}/{view}/" for view in ("change", "history", "delete")]
        for url in (page, f"{page}add/", *one):
            assert browser.get(url).status_code == 200, url


def test_other_fields_are_edited_without_the_key(
    operator: Person, lost: tuple[Server, Credential]
) -> None:
    server, credential = lost
    browser = desk(operator)
    assert save(browser, f"{PAGE}{server.pk}/change/", host="b").status_code == 302
    assert save(browser, f"{CREDENTIALS}{credential.pk}/change/", name="b").status_code == 302
    assert Server.objects.filter(host="b").exists()
    assert Credential.objects.filter(name="b").exists()
    question = run_action(browser, "change_tags", server)
    confirm(browser, question, add="web")
    assert Server.objects.filter(tags=["web"]).exists()


def test_a_lost_secret_is_given_anew(operator: Person, lost: tuple[Server, Credential]) -> None:
    server, credential = lost
    browser = desk(operator)
    with recorded_events() as events:
        save(browser, f"{PAGE}{server.pk}/change/", credential="new")
        save(browser, f"{CREDENTIALS}{credential.pk}/change/", secret="new")
    assert Server.objects.get(pk=server.pk).credential == "new"
    assert Credential.objects.get().secret == "new"
    masked = {"old": "********", "new": "********"}
    changes = [event.data["changes"] for event in events if "changes" in event.data]
    assert changes == [{"credential": masked}, {"secret": masked}]


def test_a_lost_secret_gives_way_to_a_shared_one(
    operator: Person, lost: tuple[Server, Credential]
) -> None:
    server, credential = lost
    url = f"{PAGE}{server.pk}/change/"
    assert save(desk(operator), url, shared_credential=credential.pk).status_code == 302
    row = Server.objects.get(pk=server.pk)
    assert (row.credential, row.shared_credential_id) == ("", credential.pk)


def test_what_holds_a_lost_secret_is_deleted(
    admin: Person, environment: Environment, lost: tuple[Server, Credential]
) -> None:
    server, credential = lost
    browser = desk(admin)
    # While a server is in it, it is protected, whether or not that server's secret can be read.
    response = browser.post(f"{ENVIRONMENTS}{environment.pk}/delete/", {"post": "yes"})
    assert f">{server.name}</a>" in response.content.decode()
    data = {"action": "delete_selected", "post": "yes"}
    keys = list(Server.objects.values_list("pk", flat=True))
    with recorded_events() as events:
        assert browser.post(PAGE, data | {"_selected_action": keys}).status_code == 302
        browser.post(f"{CREDENTIALS}{credential.pk}/delete/", {"post": "yes"})
        browser.post(f"{ENVIRONMENTS}{environment.pk}/delete/", {"post": "yes"})
    kinds = {event.type.partition(".")[0] for event in events}
    assert kinds == {"server", "credential", "environment"}
    assert {event.type.partition(".")[2] for event in events} == {"deleted"}
    for model in (Server, Credential):
        assert not model._base_manager.exists()
    assert not Environment.objects.filter(pk=environment.pk).exists()
