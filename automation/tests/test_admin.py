"""Automations and runs in the admin: written, run and cancelled as everywhere."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from automation import log, runs, services
from automation.lines import STDERR, STDOUT, Line
from automation.models import Automation, Run
from automation.tests.making import PARAMETERS, create_automation, create_run, end, types
from servers.encryption import DecryptionError
from servers.models import Environment, Server
from servers.tests.cast import Person, create_server, place_events, recorded_events
from servers.tests.desk import desk, errors, filled, hidden, messages, save

pytestmark = pytest.mark.django_db

AUTOMATIONS = "/admin/automation/automation/"
RUNS = "/admin/automation/run/"
# Each action, the right that it needs, and where it is.
ACTIONS = {
    "run": (AUTOMATIONS, "automation.run_automation"),
    "enable": (AUTOMATIONS, "automation.change_automation"),
    "disable": (AUTOMATIONS, "automation.change_automation"),
    "delete_selected": (AUTOMATIONS, "automation.delete_automation"),
    "cancel": (RUNS, "automation.cancel_run"),
    "retry": (RUNS, "automation.run_automation"),
}


def change(row: Automation | Run) -> str:
    return f"{AUTOMATIONS if isinstance(row, Automation) else RUNS}{row.pk}/change/"


def act(browser: Client, page: str, action: str, *rows: Any) -> Any:
    body = {"action": action, "_selected_action": [row.pk for row in rows]}
    return browser.post(page, body, follow=True)


def confirm(browser: Client, page: str, question: Any, **values: Any) -> Any:
    return browser.post(page, hidden(question) | values, follow=True)


def state() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Automation, Run)]


def text_of(response: Any) -> str:
    return html.unescape(response.content.decode())


# Automations


def test_what_is_created_here_is_told_as_everywhere(
    operator: Person, server: Server, environment: Environment
) -> None:
    form = {
        "name": "Report",
        "script": "df -h\r\n\r\ndf -i",
        "interpreter": "sh",
        "parameters": '[{"name": "mode", "type": "string"}]',
        "servers": [server.pk],
        "environments": [environment.pk],
        "tags": "web, db",
        "timeout": "60",
        "concurrency": "2",
        "enabled": "on",
    }
    with recorded_events() as events:
        response = desk(operator).post(f"{AUTOMATIONS}add/", form)
    assert response.status_code == 302, errors(response)
    automation = Automation.objects.get()
    assert automation.script == "df -h\n\ndf -i\n"
    assert automation.parameters == [{"name": "mode", "type": "string"}]
    assert (list(automation.servers.all()), automation.tags) == ([server], ["web", "db"])
    assert list(automation.environments.all()) == [environment]
    [event] = events
    assert (event.actor_username, event.data["change"]) == ("operator", "created")


def test_an_edit_tells_its_changes_once(operator: Person, server: Server) -> None:
    automation = create_automation(servers=(server,), parameters=PARAMETERS)
    other = create_server("db-01")
    with recorded_events() as events:
        values = {"timeout": "7", "servers": [other.pk], "parameters": "[]", "max_failures": ""}
        response = save(desk(operator), change(automation), **values)
    assert response.status_code == 302, errors(response)
    [event] = events
    assert event.data["changes"] == {
        "timeout": {"old": 300, "new": 7},
        "parameters": {"old": PARAMETERS, "new": []},
        "servers": {"old": ["web-01"], "new": ["db-01"]},
    }
    assert [row.name for row in automation.servers.all()] == ["db-01"]


def test_saving_without_a_change_tells_nothing(operator: Person, server: Server) -> None:
    automation = create_automation(
        servers=(server,), parameters=PARAMETERS, script="  a\n\tb\n\n", description="x"
    )
    before, browser = state(), desk(operator)
    form = filled(browser, change(automation))
    form |= {"script": form["script"].replace("\n", "\r\n"), "parameters": str(form["parameters"])}
    assert "_tags" not in form
    with recorded_events() as events:
        response = browser.post(change(automation), form | {"tags": ""})
    assert response.status_code == 302, errors(response)
    assert events == []
    assert state() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\nb"),
        ("script", "\n"),
        ("script", "x" * 262_144),
        ("interpreter", "sh; reboot"),
        ("parameters", "{"),
        ("parameters", "9" * 5000),
        ("parameters", "[" * 100_000),
        ("parameters", "{}"),
        ("parameters", '[{"name": "a"}]'),
        ("tags", "UPPER"),
        ("timeout", "0"),
        ("servers", ["999999"]),
    ],
)
def test_what_is_not_valid_is_said_beside_its_field(
    operator: Person, server: Server, field: str, value: Any
) -> None:
    automation = create_automation(servers=(server,))
    before, browser = state(), desk(operator)
    with recorded_events() as events:
        response = save(browser, change(automation), **{"tags": "", field: value})
    assert list(errors(response)) == [field]
    assert events == []
    assert state() == before


def test_an_edit_of_what_is_past_is_refused(operator: Person, server: Server) -> None:
    automation = create_automation()
    browser = desk(operator)
    form = filled(browser, change(automation), timeout="7")
    services.edit(automation, {"servers": [server]})
    response = browser.post(change(automation), form | {"tags": ""})
    assert "It was changed meanwhile" in str(errors(response))
    assert Automation.objects.get().timeout == 300


def test_deletions_are_told_one_by_one_and_leave_the_runs(admin: Person, server: Server) -> None:
    browser = desk(admin)
    rows = [create_automation(name, servers=(server,)) for name in "abc"]
    run = runs.start(rows[0], None)
    with recorded_events() as events:
        browser.post(f"{AUTOMATIONS}{rows[0].pk}/delete/", {"post": "yes"})
        body = {"action": "delete_selected", "post": "yes"}
        keys = [row.pk for row in rows[1:]]
        browser.post(AUTOMATIONS, body | {"_selected_action": keys})
    told = [(event.data["change"], event.data["name"]) for event in events]
    assert told == [("deleted", "a"), ("deleted", "b"), ("deleted", "c")]
    run.refresh_from_db()
    assert (run.automation, run.name) == (None, "a")


def test_who_may_look_only_sees_the_values(viewer: Person, server: Server) -> None:
    automation = create_automation(servers=(server,), script="echo <b>\n")
    browser = desk(viewer)
    with CaptureQueriesContext(connection) as queries:
        response = browser.get(change(automation))
    assert not any('"servers_server"."credential"' in query["sql"] for query in queries)
    page = response.content.decode()
    assert "echo &lt;b&gt;" in page
    assert "web-01" in page
    assert 'name="script"' not in page
    assert browser.post(change(automation), {"name": "x"}).status_code == 403


def test_its_history_is_its_trail(viewer: Person, operator: Person) -> None:
    automation = create_automation()
    save(desk(operator), change(automation), timeout="7", tags="")
    place_events()
    page = text_of(desk(viewer).get(f"{AUTOMATIONS}{automation.pk}/history/"))
    assert "<strong>timeout</strong>: 300 → 7" in page
    assert "<td>operator</td>" in page


# Actions


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_asks_first_and_is_open_to_whom_it_is_granted_alone(
    people: dict[str, Person], server: Server, action: str
) -> None:
    page, right = ACTIONS[action]
    automation = create_automation(servers=(server,), enabled=action != "enable")
    run = create_run(server)
    if action == "retry":
        end(run, "failed", "failed")
    row = automation if page == AUTOMATIONS else run
    forged = {"confirmed": str(row.pk), "reason": "x", "post": "yes"}
    forged |= {"action": action, "_selected_action": str(row.pk)}
    for name, person in people.items():
        if name == "anonymous" or person.user.has_perm(right):
            continue
        browser, before = desk(person), state()
        assert f'value="{action}"' not in browser.get(page).content.decode()
        with recorded_events() as events:
            browser.post(page, forged)
        assert events == [], name
        assert state() == before, name
    browser, before = desk(people["admin"]), state()
    with recorded_events() as events:
        question = act(browser, page, action, row)
    assert '<input type="submit"' in question.content.decode()
    assert events == []
    assert state() == before
    browser.post(page, forged)
    assert state() != before


def test_a_question_tells_where_and_with_what_it_would_run(
    responder: Person, server: Server
) -> None:
    fine = create_automation("Fine", servers=(server,), parameters=PARAMETERS)
    wants = create_automation(
        "Wants", servers=(server,), parameters=[{"name": "a", "type": "string", "required": True}]
    )
    nowhere = create_automation("Nowhere")
    disabled = create_automation("Disabled", servers=(server,), enabled=False)
    browser = desk(responder)
    question = act(browser, AUTOMATIONS, "run", fine, wants, nowhere, disabled)
    page = text_of(question)
    assert "<dd>greeting: hello, mode: slow</dd>" in page
    assert "<dd>It does not run without more: a: A value is required.</dd>" in page
    assert "<dd>web-01</dd>" in page
    with recorded_events() as events:
        response = confirm(browser, AUTOMATIONS, question, reason="Because.")
    assert messages(response) == [
        "Disabled was not run: Disabled is disabled.",
        "Nowhere was not run: There is no server to run on.",
        "Wants was not run: a: A value is required.",
        "Runs queued: 1.",
    ]
    run = Run.objects.get()
    assert (run.name, run.reason, run.started_by) == ("Fine", "Because.", responder.user)
    assert types(events) == ["automation.queued"]


def test_automations_are_disabled_and_enabled(operator: Person) -> None:
    rows = [create_automation("a"), create_automation("b", enabled=False)]
    browser = desk(operator)
    for action, name, said in (("disable", "a", "Disabled"), ("enable", "b", "Enabled")):
        Automation.objects.filter(name="a").update(enabled=True)
        question = act(browser, AUTOMATIONS, action, *rows)
        with recorded_events() as events:
            response = confirm(browser, AUTOMATIONS, question)
        assert messages(response) == [f"{said} now: 1."]
        [event] = events
        assert event.data["name"] == name
        assert event.data["changes"].keys() == {"enabled"}


def test_what_is_over_when_it_is_confirmed_is_not_cancelled(
    responder: Person, server: Server
) -> None:
    queued, running, over, late = (create_run(server) for _ in range(4))
    end(running, "running", "running")
    end(over, "completed", "succeeded")
    browser = desk(responder)
    question = act(browser, RUNS, "cancel", queued, running, over, late)
    assert hidden(question)["confirmed"] == f"{late.pk},{running.pk},{queued.pk}"
    assert "Keep them running</a>" in question.content.decode()
    end(late, "completed", "succeeded")
    response = confirm(browser, RUNS, question)
    assert messages(response) == [
        f"{late} is over: it is completed.",
        "Runs cancelled, or being stopped: 2.",
    ]
    statuses = dict(Run.objects.values_list("pk", "status"))
    assert (statuses[queued.pk], statuses[running.pk]) == ("cancelled", "running")
    assert Run.objects.get(pk=running.pk).cancel_requested_by == responder.user


def test_a_retry_says_what_it_could_not_do(
    responder: Person, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, fine = (create_run(server) for _ in range(2))
    end(failed, "failed", "failed")
    end(fine, "completed", "succeeded")
    browser = desk(responder)
    question = act(browser, RUNS, "retry", failed, fine)
    response = confirm(browser, RUNS, question, reason="Once more.")
    assert messages(response) == [f"{fine}: There is no server to run on.", "Runs queued: 1."]
    again = Run.objects.latest("pk")
    assert (again.retry_of, again.reason) == (failed, "Once more.")

    def fail(*_: Any) -> None:
        raise DecryptionError("no key")

    monkeypatch.setattr(runs, "retry_failed", fail)
    response = confirm(browser, RUNS, act(browser, RUNS, "retry", failed))
    assert messages(response) == [f"{failed}: its secrets cannot be read: start it anew."]


# Runs


def test_a_run_is_shown_without_secrets_and_with_its_last_lines(
    viewer: Person, server: Server
) -> None:
    automation = create_automation(servers=(server,), parameters=PARAMETERS)
    run = runs.start(automation, viewer.user, {"token": "swordfish"}, reason="<i>x</i>")
    printed = [Line(1, STDOUT, 1, b"line %d\n" % number) for number in range(150)]
    hostile = "<script>\x1b[31m\x1b[2J\u202e\x00</script>".encode()
    printed += [Line(1, STDERR, 1, hostile), Line(1, STDOUT, 1, b"x" * 10_000 + b"\n")]
    log.append(run, printed, log.names_of(run))
    run.save()
    with CaptureQueriesContext(connection) as queries:
        response = desk(viewer).get(change(run))
    assert response.status_code == 200
    assert not any('"secrets"' in query["sql"] for query in queries)
    page = response.content.decode()
    assert "line 112" in page
    assert "line 111" not in page
    assert "web-01 stderr: &lt;script&gt;␛[2J\ufffd␀&lt;/script&gt;" in page
    assert "x" * 501 not in page
    assert "&lt;i&gt;x&lt;/i&gt;" in page
    assert "<div>token: ********</div>" in page
    assert "swordfish" not in page
    assert f'href="/api/v1/runs/{run.pk}/log/?format=text"' in page
    assert "echo hello" in page
    assert "<div>web-01: Pending</div>" in page


def test_a_runs_script_is_for_those_who_may_view_automations(
    outsider: Person, server: Server
) -> None:
    run = create_run(server)
    outsider.user.user_permissions.set([Permission.objects.get(codename="view_run")])
    page = desk(outsider).get(change(run)).content.decode()
    assert run.name in page
    assert "echo" not in page


def test_those_without_the_right_see_neither(outsider: Person, server: Server) -> None:
    run, browser = create_run(server), desk(outsider)
    for page in (AUTOMATIONS, RUNS, change(run), f"{RUNS}{run.pk}/history/"):
        assert browser.get(page).status_code == 403


def test_runs_are_neither_added_changed_nor_deleted(admin: Person, server: Server) -> None:
    run = create_run(server)
    admin.user.is_superuser = True
    browser, before = desk(admin), state()
    assert browser.get(f"{RUNS}add/").status_code == 403
    assert browser.post(change(run), {"status": "completed"}).status_code == 403
    assert browser.post(f"{RUNS}{run.pk}/delete/", {"post": "yes"}).status_code == 403
    assert state() == before


@pytest.mark.parametrize(
    ("query", "expected"), [("", 2), ("status__exact=failed", 1), ("q=because", 1), ("q=zzz", 0)]
)
def test_the_list_filters_and_searches(
    viewer: Person, server: Server, query: str, expected: int
) -> None:
    end(create_run(server, reason="Because."), "failed", "failed")
    create_run(server, create_server("db-01"))
    response = desk(viewer).get(f"{RUNS}?{query}")
    assert len(response.context["cl"].result_list) == expected
    assert ("0 of 2 succeeded, 2 pending" in response.content.decode()) == (not query)


def test_a_runs_history_leaves_out_what_was_printed(viewer: Person, server: Server) -> None:
    run = create_run(server)
    log.append(run, [Line(1, STDOUT, 1, b"so many words\n")], log.names_of(run))
    run.save()
    runs.cancel(run, viewer.user)
    place_events()
    page = text_of(desk(viewer).get(f"{RUNS}{run.pk}/history/"))
    assert "Run queued" in page
    assert "Run cancelled" in page
    assert "so many words" not in page
