from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from events.api import acting, emit
from servers import services
from servers.admin_forms import ServerForm
from servers.models import Credential, Environment, Server
from servers.tests.cast import Person, create_server, place_events, recorded_events
from servers.tests.desk import PAGE, desk, save

# On one stack: what the admin shows is the same on every database.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]


def names(response: Any) -> list[str]:
    """The servers that the list shows."""
    assert response.status_code == 200, response
    return [server.name for server in response.context["cl"].result_list]


@pytest.fixture
def fleet(environment: Environment) -> list[Server]:
    return [
        create_server("api-01", host="10.0.0.3", environment=environment, tags=["edge"]),
        create_server(
            "db-01",
            host="db.example",
            status="failed",
            maintenance_until=timezone.now() + timedelta(hours=1),
            maintenance_reason="<b>disks</b>",
        ),
        create_server(
            "web-01",
            environment=environment,
            status="failed",
            last_test_latency=7.4,
            maintenance_until=timezone.now() - timedelta(seconds=1),
            maintenance_reason="over",
        ),
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
        ("maintenance=yes", ["db-01"]),
        ("maintenance=no", ["api-01", "web-01"]),
        ("maintenance=perhaps", ["api-01", "db-01", "web-01"]),
        ("shared_credential__id__exact=0", []),
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


def test_the_list_tells_of_maintenance_until_its_end(viewer: Person, fleet: list[Server]) -> None:
    page = desk(viewer).get(PAGE).content.decode()
    assert "UTC: &lt;b&gt;disks&lt;/b&gt;" in page
    assert "over" not in re.findall(r'<td class="field-maintenance[^"]*">(.*?)</td>', page)
    assert page.count("until ") == 1


def test_the_list_asks_as_few_questions_for_many_servers(
    operator: Person, fleet: list[Server], django_assert_max_num_queries: Any
) -> None:
    browser = desk(operator)
    shared = Credential(name="deploy", kind="password", secret="swordfish")
    services.save_credential(shared)
    for number in range(20):
        place = Environment.objects.create(name=f"place-{number}")
        create_server(f"x-{number}", environment=place, credential="", shared_credential=shared)
    with django_assert_max_num_queries(20):  # the bell and the feed have some of their own
        assert len(names(browser.get(PAGE))) == 23


def test_those_without_the_right_see_no_servers(outsider: Person, server: Server) -> None:
    assert desk(outsider).get(PAGE).status_code == 403
    assert desk(outsider).get(f"{PAGE}{server.pk}/change/").status_code == 403


def test_who_is_not_on_the_staff_is_sent_to_the_login(operator: Person, client: Client) -> None:
    client.force_login(operator.user)
    assert client.get(PAGE).headers["Location"].startswith("/admin/login/")


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
    save(desk(operator), f"{PAGE}{server.pk}/change/", tags="web")
    server.refresh_from_db()
    assert (server.tags, server.status) == (["web"], "success")
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


def test_who_may_not_view_credentials_sees_and_does_not_choose_one(outsider: Person) -> None:
    user = outsider.user
    user.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_server", "change_server", "add_server"])
    )
    type(user).objects.filter(pk=user.pk).update(is_staff=True)
    deploy = Credential.objects.create(name="deploy", kind="password", secret="x")
    Credential.objects.create(name="unseen-key", kind="password", secret="x")
    server = create_server(credential="", shared_credential=deploy)
    browser, url = desk(outsider), f"{PAGE}{server.pk}/change/"
    page = browser.get(url).content.decode()
    assert "deploy" in page
    assert "unseen-key" not in page
    other = create_server("other", credential="")
    form = {"name": "other", "host": "h", "port": 22, "username": "u", "tags": ""}
    answer = browser.post(
        f"{PAGE}{other.pk}/change/", form | {"shared_credential": deploy.pk, "check_interval": ""}
    )
    assert answer.status_code == 302
    other.refresh_from_db()
    assert (other.host, other.shared_credential) == ("h", None)
