from __future__ import annotations

import html
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.test import Client

from events.api import acting, emit
from servers import ssh
from servers.admin import ServerForm
from servers.models import Environment, Server
from servers.tests.cast import Job, Person, create_server, place_events, recorded_events
from servers.tests.keys import new_host_key

pytestmark = pytest.mark.django_db

PAGE = "/admin/servers/server/"


def desk(person: Person) -> Client:
    """A browser of this person, who is on the staff."""
    person.user.is_staff = True
    person.user.save()
    browser = Client()
    browser.force_login(person.user)
    return browser


def names(response: Any) -> list[str]:
    """The servers that the list shows."""
    assert response.status_code == 200, response
    return [server.name for server in response.context["cl"].result_list]


def run_action(browser: Client, action: str, *servers: Server) -> Any:
    keys = [server.pk for server in servers]
    return browser.post(PAGE, {"action": action, "_selected_action": keys}, follow=True)


@pytest.fixture
def fleet(environment: Environment) -> list[Server]:
    return [
        create_server("api-01", host="10.0.0.3", environment=environment, tags=["edge"]),
        create_server("db-01", host="db.example", status="failed"),
        create_server("web-01", environment=environment, status="failed", last_test_latency=7.4),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["api-01", "db-01", "web-01"]),
        ("status__exact=failed", ["db-01", "web-01"]),
        ("environment__id__exact={environment}", ["api-01", "web-01"]),
        ("q=db.example", ["db-01"]),
        ("q=EDGE", ["api-01"]),
        ("q=web failed", []),
        ("q=swordfish", []),
        ("o=-1", ["db-01", "web-01", "api-01"]),
    ],
)
def test_the_list_filters_searches_and_sorts(
    viewer: Person, fleet: list[Server], environment: Environment, query: str, expected: list[str]
) -> None:
    response = desk(viewer).get(f"{PAGE}?{query.format(environment=environment.pk)}")
    assert names(response) == expected


def test_the_list_tells_a_latency_or_that_there_is_none(
    viewer: Person, fleet: list[Server]
) -> None:
    page = desk(viewer).get(PAGE).content.decode()
    assert "7 ms" in page
    assert '<td class="field-latency">–</td>' in page


def test_those_without_the_right_see_no_servers(outsider: Person, server: Server) -> None:
    assert desk(outsider).get(PAGE).status_code == 403
    assert desk(outsider).get(f"{PAGE}{server.pk}/change/").status_code == 403


def test_who_is_not_on_the_staff_is_sent_to_the_login(operator: Person, client: Client) -> None:
    client.force_login(operator.user)
    assert client.get(PAGE).headers["Location"].startswith("/admin/login/")


def test_the_action_tests_what_was_chosen(
    operator: Person,
    fleet: list[Server],
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    browser = desk(operator)
    with recorded_events() as events, committing():
        response = run_action(browser, "test_connection", fleet[0], fleet[2])
    assert "Connection tests started: 2." in response.content.decode()
    statuses = dict(Server.objects.values_list("name", "status"))
    assert statuses == {"api-01": "testing", "db-01": "failed", "web-01": "testing"}
    assert sorted(job.arguments[0] for job in jobs()) == [fleet[0].pk, fleet[2].pk]
    assert [event.type for event in events] == ["server.status_changed"] * 2
    assert {event.actor_username for event in events} == {"operator"}
    # A test that runs is not started again, and the page says so.
    response = run_action(browser, "test_connection", *fleet)
    assert "Connection tests started: 1." in response.content.decode()


@pytest.mark.parametrize("action", ["test_connection", "accept_host_key", "delete_selected"])
def test_a_viewer_is_offered_no_action_and_may_not_run_it(
    viewer: Person, server: Server, action: str
) -> None:
    Server.objects.update(offered_host_key=new_host_key())
    browser = desk(viewer)
    assert f'value="{action}"' not in browser.get(PAGE).content.decode()
    with recorded_events() as events:
        run_action(browser, action, server)
    assert events == []
    server.refresh_from_db()
    assert (server.status, server.host_key) == ("unknown", "")


def test_a_responder_may_test_but_accept_no_key(responder: Person, server: Server) -> None:
    page = desk(responder).get(PAGE).content.decode()
    assert 'value="test_connection"' in page
    assert 'value="accept_host_key"' not in page


def test_the_offered_host_keys_of_what_was_chosen_are_accepted(
    operator: Person, fleet: list[Server]
) -> None:
    key = new_host_key()
    Server.objects.filter(name__in=["api-01", "db-01"]).update(offered_host_key=key)
    browser = desk(operator)
    page = browser.get(f"{PAGE}{fleet[0].pk}/change/").content.decode()
    assert ssh.fingerprint(key) in page.replace("&#x2B;", "+")
    response = run_action(browser, "accept_host_key", fleet[0], fleet[2])
    assert "Host keys accepted: 1." in response.content.decode()
    assert [row.host_key for row in Server.objects.order_by("name")] == [key, "", ""]


def test_saving_emits_with_the_actor(operator: Person, environment: Environment) -> None:
    browser = desk(operator)
    form = {"name": "db-01", "host": "db", "port": "22", "username": "u", "tags": "db"}
    with recorded_events() as events:
        browser.post(f"{PAGE}add/", form | {"credential": "swordfish"})
        server = Server.objects.get()
        changed = {"host": "db2", "environment": str(environment.pk), "credential": "starfish"}
        browser.post(f"{PAGE}{server.pk}/change/", form | changed)
    assert [event.type for event in events] == ["server.created", "server.updated"]
    assert {(event.actor_id, event.actor_username) for event in events} == {
        (operator.user.pk, "operator")
    }
    assert all(event.request_id for event in events)
    assert events[1].data["changes"] == {
        "host": {"old": "db", "new": "db2"},
        "environment": {"old": None, "new": "production"},
        "credential": {"old": "********", "new": "********"},
    }


def test_saving_without_a_change_emits_nothing(operator: Person, server: Server) -> None:
    form = {"name": server.name, "host": server.host, "port": "22", "username": "ops", "tags": ""}
    with recorded_events() as events:
        response = desk(operator).post(f"{PAGE}{server.pk}/change/", form)
    assert response.status_code == 302
    assert events == []


def test_a_form_that_was_open_during_a_test_does_not_undo_its_result(
    operator: Person, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish_test(form: ServerForm) -> dict[str, Any]:
        Server.objects.update(status="success", last_test_message="Logged in.")
        return form.cleaned_data

    monkeypatch.setattr(ServerForm, "clean", finish_test)
    form = {"name": server.name, "host": "b", "port": "22", "username": "ops", "tags": ""}
    desk(operator).post(f"{PAGE}{server.pk}/change/", form)
    server.refresh_from_db()
    assert (server.host, server.status) == ("b", "success")
    assert server.last_test_message == "Logged in."


@pytest.mark.parametrize("tags", ["Web", '"web"', "web; db", "a, a", "x" * 51])
def test_wrong_tags_are_refused_in_the_form(operator: Person, server: Server, tags: str) -> None:
    form = {"name": server.name, "host": "b", "port": "22", "username": "ops", "tags": tags}
    response = desk(operator).post(f"{PAGE}{server.pk}/change/", form)
    assert response.status_code == 200
    assert "tags" in response.context["adminform"].form.errors


def test_tags_are_text_with_commas(operator: Person) -> None:
    server = create_server(tags=["web", "on-call"])
    browser = desk(operator)
    assert 'value="web, on-call"' in browser.get(f"{PAGE}{server.pk}/change/").content.decode()
    form = {"name": server.name, "host": server.host, "port": "22", "username": "ops"}
    browser.post(f"{PAGE}{server.pk}/change/", form | {"tags": " db,web  on-call,"})
    server.refresh_from_db()
    assert server.tags == ["db", "web", "on-call"]


@pytest.mark.parametrize("tags", ["", " ", ",", " , "])
def test_tags_that_are_emptied_are_an_empty_list(operator: Person, tags: str) -> None:
    server = create_server(tags=["web"])
    form = {"name": server.name, "host": "b", "port": "22", "username": "ops", "tags": tags}
    response = desk(operator).post(f"{PAGE}{server.pk}/change/", form)
    assert response.status_code == 302
    server.refresh_from_db()
    assert server.tags == []


def test_deleting_emits(admin: Person, server: Server) -> None:
    with recorded_events() as events:
        desk(admin).post(f"{PAGE}{server.pk}/delete/", {"post": "yes"})
    [event] = events
    assert (event.type, event.actor_username) == ("server.deleted", "admin")


def test_an_environment_with_servers_is_not_deleted(
    admin: Person, environment: Environment, fleet: list[Server]
) -> None:
    page = f"/admin/servers/environment/{environment.pk}/delete/"
    desk(admin).post(page, {"post": "yes"})
    assert Environment.objects.filter(pk=environment.pk).exists()


def test_a_servers_history_tells_every_change_that_its_reader_may_see(
    viewer: Person, admin: Person, server: Server
) -> None:
    with acting(lambda: admin.user):
        Server.objects.filter(pk=server.pk).update(port=2222, credential="other")
    emit("server.updated", updated(server), permissions=["auth.delete_user"], subject=about(server))
    place_events()
    page = html.unescape(desk(viewer).get(f"{PAGE}{server.pk}/history/").content.decode())
    assert "<strong>port</strong>: 22 → 2222" in page
    assert "<strong>credential</strong>: ******** → ********" in page
    assert "Server created" in page
    assert "<td>admin</td>" in page
    assert "unreadable" not in page
    assert "swordfish" not in page


def about(server: Server) -> str:
    return f"servers.server/{server.pk}"


def updated(server: Server) -> dict[str, Any]:
    data = {"id": server.pk, "name": "unreadable", "host": "h", "status": "unknown"}
    return data | {"changes": {"host": {"old": "unreadable", "new": "unreadable"}}}
