"""What the admin does for many servers: it asks first, and does it for what it showed alone."""

from __future__ import annotations

import html
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from servers import ssh
from servers.admin_actions import accepts
from servers.models import Server
from servers.tests.cast import Job, Person, create_server, recorded_events
from servers.tests.desk import PAGE, confirm, desk, hidden, messages, run_action
from servers.tests.keys import new_host_key

# On one stack: what the admin does is tested on both by its services.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

LATER = "2999-01-01T10:00"
ACTIONS = {
    "test_connection": "servers.test_server",
    "accept_host_key": "servers.accept_host_key",
    "begin_maintenance": "servers.maintain_server",
    "end_maintenance": "servers.maintain_server",
    "change_tags": "servers.change_server",
    "delete_selected": "servers.delete_server",
}
ANSWERS = {"reason": "disks", "until": LATER, "add": "web", "force": "on", "post": "yes"}


@pytest.fixture
def fleet(db: None) -> list[Server]:
    """Of which each action could change something."""
    common = {"offered_host_key": new_host_key(), "tags": ["old"]}
    maintenance = {"maintenance_until": timezone.now() + timedelta(hours=1)}
    return [create_server("a", **common), create_server("b", **common, **maintenance)]


def state() -> list[Any]:
    return list(Server.objects.order_by("pk").values())


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_offered_and_open_to_whom_it_is_granted_alone(
    people: dict[str, Person], fleet: list[Server], action: str
) -> None:
    server = fleet[1]
    seen = f"{server.pk} {ssh.fingerprint(server.offered_host_key)}"
    forged = {
        "action": action,
        "select_across": "1",
        "_selected_action": [server.pk],
        "confirmed": str(server.pk),
        "seen": seen,
        **ANSWERS,
    }
    for name, person in people.items():
        if name == "anonymous" or person.user.has_perm(ACTIONS[action]):
            continue
        browser, before = desk(person), state()
        assert f'value="{action}"' not in browser.get(PAGE).content.decode()
        with recorded_events() as events:
            browser.post(PAGE, forged)
            browser.post(PAGE, {"action": action, "_selected_action": [server.pk]})
        assert events == [], name
        assert state() == before, name
    browser = desk(people["admin"])
    assert f'value="{action}"' in browser.get(PAGE).content.decode()
    before = state()
    browser.post(PAGE, forged)
    assert state() != before


@pytest.mark.parametrize("action", ACTIONS)
def test_it_asks_before_it_does_anything(admin: Person, fleet: list[Server], action: str) -> None:
    before = state()
    with recorded_events() as events:
        page = run_action(desk(admin), action, *fleet).content.decode()
    assert '<input type="submit"' in page
    assert events == []
    assert state() == before


def test_a_right_that_is_lost_before_the_answer_counts(
    operator: Person, fleet: list[Server]
) -> None:
    browser = desk(operator)
    question = run_action(browser, "accept_host_key", *fleet)
    permission = Permission.objects.get(codename="accept_host_key")
    operator.user.groups.get().permissions.remove(permission)
    before = state()
    confirm(browser, question)
    assert state() == before


# Tests.


def test_a_test_of_many_is_asked_for_and_those_in_maintenance_are_named(
    responder: Person,
    fleet: list[Server],
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    other = create_server("c")
    Server.objects.update(next_check_at=None)
    browser = desk(responder)
    with committing():
        response = confirm(browser, run_action(browser, "test_connection", *fleet))
    assert messages(response) == [
        "Connection tests requested: 1.",
        "Not tested, as they are in maintenance: b.",
    ]
    asked = Server.objects.filter(next_check_at__lte=timezone.now())
    assert list(asked.values_list("name", "check_requested_by")) == [("a", responder.user.pk)]
    assert [job.task for job in jobs()] == ["servers.tasks.run_due_checks"]
    other.refresh_from_db()
    assert other.next_check_at is None


def test_a_forced_test_is_of_those_in_maintenance_too(
    responder: Person,
    fleet: list[Server],
    committing: Callable[[], AbstractContextManager[Any]],
    jobs: Callable[[], list[Job]],
) -> None:
    browser = desk(responder)
    with committing():
        question = run_action(browser, "test_connection", *fleet)
        response = confirm(browser, question, force="on")
    assert messages(response) == ["Connection tests requested: 2."]
    fleet[1].refresh_from_db()
    assert fleet[1].status == "testing"
    tasks = sorted(job.task for job in jobs())
    assert tasks == ["servers.tasks.run_due_checks", "servers.tasks.test_connection"]


def test_a_message_names_no_more_than_ten(responder: Person) -> None:
    end = timezone.now() + timedelta(hours=1)
    servers = [create_server(f"s{number:02}", maintenance_until=end) for number in range(12)]
    browser = desk(responder)
    [text] = messages(confirm(browser, run_action(browser, "test_connection", *servers)))
    assert text.endswith("s08, s09 and 2 more.")


# Host keys.


def test_both_fingerprints_are_shown_and_what_was_shown_is_accepted(
    operator: Person, fleet: list[Server]
) -> None:
    old, new = new_host_key(), new_host_key()
    silent = create_server("silent")
    Server.objects.filter(name="a").update(host_key=old, offered_host_key=new)
    browser = desk(operator)
    question = run_action(browser, "accept_host_key", fleet[0], silent)
    page = html.unescape(question.content.decode())
    assert f"<dt>Accepted before</dt><dd>{ssh.fingerprint(old)}</dd>" in page
    assert f"<dt>Offered</dt><dd>{ssh.fingerprint(new)}</dd>" in page
    assert "silent" not in page
    with recorded_events() as events:
        response = confirm(browser, question)
    assert messages(response) == ["Host keys accepted: 1."]
    assert list(Server.objects.order_by("name").values_list("name", "host_key")) == [
        ("a", new),
        ("b", ""),
        ("silent", ""),
    ]
    told = [event for event in events if event.type == "server.updated"]
    assert [event.actor_username for event in told] == ["operator"]
    assert told[0].data["changes"]["host_key"] == {"old": old, "new": new}


def test_a_key_that_is_offered_since_is_not_accepted(operator: Person, fleet: list[Server]) -> None:
    browser = desk(operator)
    question = run_action(browser, "accept_host_key", *fleet)
    other = new_host_key()
    Server.objects.filter(name="a").update(offered_host_key=other)
    late = create_server("late", offered_host_key=new_host_key())
    response = confirm(browser, question)
    assert messages(response) == [
        "Host keys accepted: 1.",
        "Left alone, as they do not offer the key that was shown: a.",
    ]
    rows = {row.name: row for row in Server.objects.all()}
    assert (rows["a"].host_key, rows["a"].offered_host_key) == ("", other)
    assert rows["b"].host_key == fleet[1].offered_host_key
    assert rows["late"].offered_host_key == late.offered_host_key


@pytest.mark.parametrize("seen", ["", "nonsense", "{key} SHA256:forged", "{key}", "0 x\n\n {key}"])
def test_a_confirmation_without_the_right_fingerprint_accepts_nothing(
    operator: Person, fleet: list[Server], seen: str
) -> None:
    browser, before = desk(operator), state()
    question = run_action(browser, "accept_host_key", *fleet)
    response = confirm(browser, question, seen=seen.format(key=fleet[0].pk))
    assert response.status_code == 200
    assert state() == before


def test_where_no_key_is_offered_nothing_is_asked(operator: Person, server: Server) -> None:
    response = run_action(desk(operator), "accept_host_key", server)
    assert messages(response) == ["There was nothing to be done for any of them."]


# Maintenance.


def test_maintenance_begins_with_a_reason_and_an_end(operator: Person, fleet: list[Server]) -> None:
    create_server("not chosen")
    browser = desk(operator)
    question = run_action(browser, "begin_maintenance", *fleet)
    with recorded_events() as events:
        response = confirm(browser, question, reason="disks", until=LATER)
    assert messages(response) == ["In maintenance now: 2."]
    worked_on = Server.objects.filter(maintenance_reason="disks")
    assert {row.name for row in worked_on} == {"a", "b"}
    assert {f"{row.maintenance_until:%Y %H}" for row in worked_on} == {"2999 10"}
    assert [event.actor_username for event in events] == ["operator"] * 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reason", ""),
        ("reason", "   "),
        ("reason", "x" * 201),
        ("until", ""),
        ("until", "soon"),
        ("until", "2001-01-01T00:00"),
    ],
)
def test_without_a_reason_or_a_future_end_none_begins(
    operator: Person, fleet: list[Server], field: str, value: str
) -> None:
    browser, before = desk(operator), state()
    question = run_action(browser, "begin_maintenance", *fleet)
    values = {"reason": "disks", "until": LATER} | {field: value}
    refused = confirm(browser, question, **values)
    assert list(refused.context["form"].errors) == [field]
    assert state() == before
    # What it comes back with can be mended and sent.
    confirm(browser, refused, reason="disks", until=LATER)
    assert set(Server.objects.values_list("maintenance_reason", flat=True)) == {"disks"}


def test_maintenance_ends_where_it_had_begun(operator: Person, fleet: list[Server]) -> None:
    browser = desk(operator)
    question = run_action(browser, "end_maintenance", *fleet)
    assert hidden(question)["confirmed"] == str(fleet[1].pk)
    response = confirm(browser, question)
    assert messages(response) == ["Maintenance ended: 1."]
    assert not Server.objects.exclude(maintenance_until=None).exists()


# Tags.


def test_tags_are_added_and_removed(operator: Person, fleet: list[Server]) -> None:
    other = create_server("not chosen", tags=["old"])
    browser = desk(operator)
    question = run_action(browser, "change_tags", *fleet)
    response = confirm(browser, question, add="web, on-call", remove="old")
    assert messages(response) == ["Servers whose tags were changed: 2."]
    changed = Server.objects.exclude(pk=other.pk)
    assert [row.tags for row in changed] == [["web", "on-call"]] * 2
    other.refresh_from_db()
    assert other.tags == ["old"]


@pytest.mark.parametrize("values", [{}, {"add": "Web"}, {"remove": "a, a"}, {"add": "full"}])
def test_wrong_tags_change_no_server(
    operator: Person, fleet: list[Server], values: dict[str, str]
) -> None:
    Server.objects.filter(name="b").update(tags=[f"t{number}" for number in range(20)])
    browser, before = desk(operator), state()
    question = run_action(browser, "change_tags", *fleet)
    refused = confirm(browser, question, **values)
    assert refused.context["form"].errors
    assert state() == before


# Many.


@pytest.mark.parametrize("action", ["accept_host_key", "change_tags"])
def test_hundreds_are_confirmed_in_one_form(operator: Person, action: str) -> None:
    """A request may have a thousand fields."""
    values = {"host": "h", "username": "u", "offered_host_key": new_host_key()}
    Server.objects.bulk_create(Server(name=f"s{number}", **values) for number in range(1_100))
    Server.objects.filter(name__regex="s[0-9]{2,}").update(offered_host_key="")
    browser = desk(operator)
    first = Server.objects.values_list("pk", flat=True)[:1]
    data = {"action": action, "select_across": "1", "_selected_action": first}
    question = browser.post(PAGE, data)
    confirm(browser, question, add="web")
    assert Server.objects.filter(tags=["web"]).count() == (1_100 if action == "change_tags" else 0)
    accepted = Server.objects.exclude(host_key="").count()
    assert accepted == (10 if action == "accept_host_key" else 0)


@pytest.mark.parametrize("key", ["9" * 30, "9" * 5000, str(2**63), "²", "-1", ""])
def test_a_confirmation_with_a_key_that_no_row_has_does_nothing_for_it(
    operator: Person, fleet: list[Server], key: str
) -> None:
    shown = f"{key},{fleet[1].pk}"
    data = {"action": "end_maintenance", "_selected_action": [fleet[0].pk, fleet[1].pk]}
    response = desk(operator).post(PAGE, data | {"confirmed": shown})
    assert response.status_code == 302
    assert not Server.objects.exclude(maintenance_until=None).exists()


def test_a_server_that_is_deleted_meanwhile_is_left_alone(
    operator: Person, fleet: list[Server]
) -> None:
    [server, _] = fleet
    fingerprint = ssh.fingerprint(server.offered_host_key)
    Server.objects.filter(pk=server.pk).delete()
    assert not accepts(server, fingerprint, operator.user)
