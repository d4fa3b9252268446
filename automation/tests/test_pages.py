"""The automations' pages: what they show, to whom, and what their forms do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from automation import runs, services
from automation.models import Automation, Run
from automation.tests.making import PARAMETERS, create_automation, create_run, end
from servers.models import Server
from servers.preconditions import etag
from servers.tests.cast import EVERYBODY, Person, create_server

# On one stack: what pages do is tested on both by its services.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("jobs"), pytest.mark.stack("embedded")]

HOSTILE = "<script>alert(1)</script>\"'&"
READ = {"viewer", "responder", "operator", "admin"}
RUN = READ - {"viewer"}
EDIT = {"operator", "admin"}
# Who may open which page.
PAGES = {
    "list": READ,
    "detail": READ,
    "runs": READ,
    "run": READ,
    "new": EDIT,
    "edit": EDIT,
}
# Who may send which form.
ACTIONS = {"start": RUN, "cancel": RUN, "retry": RUN, "delete": {"admin"}}
FORM = {
    "name": "Report",
    "interpreter": "/bin/sh",
    "script": "df\n",
    "timeout": "60",
    "concurrency": "5",
    "enabled": "on",
    "parameters-TOTAL_FORMS": "1",
    "parameters-INITIAL_FORMS": "0",
    "parameters-0-name": "times",
    "parameters-0-type": "integer",
    "parameters-0-default": "3",
}


def client_of(person: Person) -> Client:
    client = Client()
    if person.user:
        client.force_login(person.user)
    return client


def address(name: str, run: Run) -> str:
    if name in ("list", "runs", "new"):
        return reverse(f"automations:{name}")
    key = run.pk if name in ("run", "cancel", "retry") else run.automation_id
    return reverse(f"automations:{name}", args=[key])


def get(person: Person, name: str, run: Run, **query: str) -> str:
    response = client_of(person).get(address(name, run), query)
    assert response.status_code == 200
    return response.content.decode()


def post(person: Person, name: str, run: Run, *, script: bool = False, **body: Any) -> Any:
    headers = {"HX-Request": "true"} if script else {}
    return client_of(person).post(address(name, run), body, headers=headers)


def told(response: Any) -> dict[str, str]:
    event: dict[str, str] = json.loads(response["HX-Trigger"])["told"]
    return event


def said(response: Any) -> list[str]:
    """The messages that the next page shows a browser without scripts."""
    return [str(each) for each in response.wsgi_request._messages]


def finish(run: Run, status: str, *targets: str) -> Run:
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(started_at=now, finished_at=now)
    return end(run, status, *targets)


def state() -> Any:
    return list(Automation.objects.values()), list(Run.objects.values())


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("role", EVERYBODY)
def test_who_may_open_which_page(
    people: dict[str, Person], server: Server, role: str, name: str
) -> None:
    run = create_run(server, script="echo visible")
    response = client_of(people[role]).get(address(name, run))
    if role == "anonymous":
        assert response.status_code == 302
        assert response["Location"].startswith("/login/?next=/automations/")
    else:
        assert response.status_code == (200 if role in PAGES[name] else 403)
    if role not in PAGES[name]:
        assert run.name not in response.content.decode()


@pytest.mark.parametrize("role", EVERYBODY)
@pytest.mark.parametrize("name", ACTIONS)
def test_who_may_send_which_form(
    people: dict[str, Person], server: Server, role: str, name: str
) -> None:
    run = create_run(server)
    if name == "retry":
        finish(run, "failed", "failed")
    before = state()
    response = post(people[role], name, run, script=True, servers=[server.pk])
    if role in ACTIONS[name]:
        assert response.status_code == 204, response.headers
        assert state() != before
    else:
        assert response.status_code == 403
        assert ("HX-Redirect" in response) == (role == "anonymous")
        assert state() == before


def test_pages_without_rows_say_so(viewer: Person, admin: Person) -> None:
    for person in (viewer, admin):
        client = client_of(person)
        assert "No automations yet" in client.get(reverse("automations:list")).content.decode()
        assert "Nothing was run yet" in client.get(reverse("automations:runs")).content.decode()
    assert "There are none." in client.get(reverse("automations:new")).content.decode()
    assert client.get(reverse("automations:detail", args=[1])).status_code == 404
    assert client.get(reverse("automations:run", args=[1])).status_code == 404


@pytest.mark.parametrize(
    ("status", "target"),
    [
        ("queued", "pending"),
        ("running", "running"),
        ("completed", "succeeded"),
        ("failed", "timed_out"),
        ("cancelled", "skipped"),
    ],
)
def test_pages_render_runs_in_every_state(
    viewer: Person, admin: Person, server: Server, status: str, target: str
) -> None:
    run = create_run(server, user=admin.user, reason="Because.", parameters=PARAMETERS)
    if status in ("queued", "running"):
        end(run, status, target)
    else:
        finish(run, status, target)
    for person in (viewer, admin):
        for name in ("list", "detail", "runs", "run"):
            assert run.get_status_display() in get(person, name, run)
        page = get(person, "run", run)
        assert "Because." in page
        assert server.name in page
        assert "swordfish" not in page


def test_a_run_is_shown_without_its_automation_and_server(admin: Person, server: Server) -> None:
    run = finish(create_run(server), "failed", "failed")
    Automation.objects.all().delete()
    server.delete()
    for name in ("runs", "run"):
        page = client_of(admin).get(address(name, run)).content.decode()
        assert run.name in page
    assert "web-01" in page
    assert "Run again" not in page
    response = post(admin, "retry", run)
    assert said(response) == ["There is no server to run on."]


def test_who_only_looks_finds_no_button(viewer: Person, admin: Person, server: Server) -> None:
    waiting = create_run(server)
    failed = finish(create_run(server), "failed", "failed")
    for name, run in [("list", waiting), ("detail", waiting), ("run", waiting), ("run", failed)]:
        page = get(viewer, name, run)
        for action in ("start", "edit", "delete", "new", "cancel", "retry"):
            assert address(action, run) not in page
        assert "Run again" not in page
    assert address("new", waiting) in get(admin, "list", waiting)
    for action in ("start", "edit", "delete"):
        assert address(action, waiting) in get(admin, "detail", waiting)
    for action in ("cancel", "retry"):
        assert address(action, waiting) in get(admin, "run", waiting)


def test_who_may_see_no_runs_is_shown_none(outsider: Person, server: Server) -> None:
    run = create_run(server, reason="secret reason")
    outsider.user.user_permissions.add(Permission.objects.get(codename="view_automation"))
    for name in ("list", "detail"):
        page = get(outsider, name, run)
        assert "secret reason" not in page
        assert "Queued" not in page.split('id="statuses"')[0]
    assert client_of(outsider).get(address("run", run)).status_code == 403


def test_markup_is_text_everywhere(admin: Person, server: Server) -> None:
    server.name = HOSTILE
    server.save()
    run = create_run(server, reason=HOSTILE, script=HOSTILE, description=HOSTILE)
    Run.objects.update(error=HOSTILE, name=HOSTILE, started_by_name=HOSTILE)
    run.targets.update(error=HOSTILE, name=HOSTILE)
    Automation.objects.update(
        name=HOSTILE,
        interpreter=HOSTILE,
        parameters=[
            {"name": "mode", "type": "choice", "choices": [HOSTILE], "label": HOSTILE},
            {"name": "text", "type": "string", "default": HOSTILE},
        ],
    )
    for name in PAGES:
        page = client_of(admin).get(address(name, run)).content.decode()
        assert "<script>alert" not in page
        assert name == "new" or "&lt;script&gt;alert" in page


def test_a_run_is_started_without_script_and_with_it(admin: Person, server: Server) -> None:
    run = create_run(server, parameters=PARAMETERS)
    body: dict[str, Any] = {
        "servers": [server.pk],
        "reason": "Why",
        "parameter-times": "2",
        "parameter-token": "swordfish",
    }
    response = post(admin, "start", run, **body)
    started = Run.objects.first()
    assert started
    assert started != run
    assert response["Location"] == address("run", started)
    assert (started.reason, started.forced, started.values["times"]) == ("Why", False, 2)
    assert started.started_by == admin.user
    response = post(admin, "start", run, script=True, force="on", **body)
    forced = Run.objects.first()
    assert forced
    assert forced.forced
    assert (response.status_code, response["HX-Redirect"]) == (204, address("run", forced))
    for page in (get(admin, "run", forced), get(admin, "detail", run, again=str(forced.pk))):
        assert "swordfish" not in page
    assert 'value="Why"' in page
    assert 'value="2"' in page


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"parameter-times": "9"}, 400, "times: "),
        ({"parameter-times": "x", "parameter-token": "swordfish"}, 400, "times: "),
        ({"reason": "x" * 1001}, 400, "Reason: "),
        ({"servers": ["x"]}, 400, "Servers: "),
        ({"servers": []}, 409, "There is no server to run on."),
    ],
)
def test_what_cannot_be_run_is_told_and_not_started(
    admin: Person, server: Server, body: dict[str, Any], status: int, text: str
) -> None:
    run = create_run(server, parameters=PARAMETERS)
    body = {"servers": [server.pk]} | body
    response = post(admin, "start", run, script=True, **body)
    assert response.status_code == status
    assert told(response)["level"] == "problem"
    assert told(response)["text"].startswith(text)
    assert "swordfish" not in str(response.headers)
    response = post(admin, "start", run, **body)
    assert response["Location"] == address("detail", run)
    assert said(response)[0].startswith(text)
    assert list(Run.objects.all()) == [run]


def test_a_disabled_automation_is_refused(admin: Person, server: Server) -> None:
    run = create_run(server)
    Automation.objects.update(enabled=False)
    assert "It is disabled" in get(admin, "detail", run)
    response = post(admin, "start", run, script=True, servers=[server.pk])
    assert response.status_code == 409
    assert told(response)["text"].endswith("is disabled.")


def test_a_run_is_cancelled_once(admin: Person, server: Server) -> None:
    run = create_run(server)
    response = post(admin, "cancel", run)
    assert response["Location"] == address("run", run)
    run.refresh_from_db()
    assert run.status == "cancelled"
    response = post(admin, "cancel", run, script=True)
    assert response.status_code == 409
    assert told(response)["level"] == "problem"


def test_what_failed_is_retried_when_it_is_over(admin: Person, server: Server) -> None:
    run = create_run(server)
    response = post(admin, "retry", run, script=True)
    assert response.status_code == 409
    assert "under way" in told(response)["text"]
    finish(run, "failed", "failed")
    response = post(admin, "retry", run)
    again = Run.objects.get(retry_of=run)
    assert response["Location"] == address("run", again)
    assert f"#{run.pk}</a>" in get(admin, "run", again)


def test_an_automation_is_deleted_and_its_runs_stay(admin: Person, server: Server) -> None:
    run = finish(create_run(server), "completed", "succeeded")
    response = post(admin, "delete", run)
    assert response["Location"] == reverse("automations:list")
    assert said(response) == [f"{run.name} is deleted. Its runs are kept."]
    assert not Automation.objects.exists()
    assert Run.objects.filter(pk=run.pk).exists()
    assert client_of(admin).post(f"/automations/{run.automation_id}/delete/").status_code == 404


def test_an_automation_is_made_and_what_is_wrong_comes_back(
    operator: Person, server: Server
) -> None:
    client = client_of(operator)
    wrong = FORM | {"name": "", "script": HOSTILE, "servers": [server.pk]}
    response = client.post(reverse("automations:new"), wrong)
    assert response.status_code == 400
    page = response.content.decode()
    assert "Nothing was saved yet" in page
    assert "&lt;script&gt;alert" in page
    assert not Automation.objects.exists()
    response = client.post(
        reverse("automations:new"), FORM | {"servers": [server.pk], "tags": "web front"}
    )
    made = Automation.objects.get()
    assert response["Location"] == reverse("automations:detail", args=[made.pk])
    assert made.parameters == [{"name": "times", "type": "integer", "default": 3}]
    assert (made.script, made.tags, list(made.servers.all())) == (
        "df\n",
        ["web", "front"],
        [server],
    )


def test_all_that_is_wrong_is_told_at_once_each_at_its_place(operator: Person) -> None:
    wrong = {"timeout": "0", "parameters-TOTAL_FORMS": "3"}
    wrong |= {"parameters-0-default": "many", "parameters-0-minimum": "5"}
    wrong |= {"parameters-0-maximum": "4", "parameters-1-name": "9 Lives"}
    wrong |= {"parameters-1-type": "integer", "parameters-1-default": "many"}
    wrong |= {"parameters-2-name": "times", "parameters-2-type": "string"}
    response = client_of(operator).post(reverse("automations:new"), FORM | wrong)
    assert response.status_code == 400
    assert response.context["form"].errors.keys() == {"timeout"}
    first, second, third = response.context["rows"].errors
    assert first == {"minimum": ["Its minimum is above its maximum."]}
    assert second.keys() == {"name", "default"}
    assert third == {"name": ["There are two of this name."]}
    page = response.content.decode()
    assert "Its name must be lower-case letters, digits and _, with a letter first." in page
    assert "Its default does not fit: This must be a whole number." in page
    assert "Nothing was saved yet: see below." in page
    assert not Automation.objects.exists()


def test_a_stale_edit_changes_nothing_and_keeps_what_was_typed(
    operator: Person, server: Server
) -> None:
    automation = create_automation(servers=(server,))
    path = reverse("automations:edit", args=[automation.pk])
    client = client_of(operator)
    version = client.get(path).context["version"]
    assert version == etag(Automation, automation.pk)
    services.edit(Automation.objects.get(), {"description": "theirs"})
    response = client.post(path, FORM | {"version": version, "name": "Mine"})
    assert response.status_code == 409
    assert "Somebody else has changed it meanwhile" in response.content.decode()
    assert 'value="Mine"' in response.content.decode()
    newest = reverse("automations:detail", args=[automation.pk])
    assert f'<a href="{newest}" target="_blank">' in response.content.decode()
    automation.refresh_from_db()
    assert (automation.name, automation.description) == ("Say hello", "theirs")
    response = client.post(path, FORM | {"version": response.context["version"], "name": "Mine"})
    assert response["Location"] == reverse("automations:detail", args=[automation.pk])
    automation.refresh_from_db()
    assert (automation.name, automation.script) == ("Mine", "df\n")


def test_a_form_from_elsewhere_is_refused(admin: Person, server: Server) -> None:
    run = create_run(server)
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin.user)
    before = state()
    for name in (*ACTIONS, "new", "edit"):
        assert client.post(address(name, run), FORM).status_code == 403
    for name in ACTIONS:
        assert client.get(address(name, run)).status_code == 405
    assert state() == before


def test_lists_are_narrowed_and_told_what_is_no_filter(viewer: Person) -> None:
    web, disk = create_server("web-01"), create_server("db-01")
    one = runs.start(create_automation("Alpha", servers=(web,)), None)
    runs.start(create_automation("Beta", servers=(disk,)), None)
    client = client_of(viewer)
    page = client.get(reverse("automations:list"), {"search": "alph"}).content.decode()
    assert "Alpha" in page
    assert "Beta" not in page
    narrowed = client.get(reverse("automations:runs"), {"automation": "Alpha"})
    assert list(narrowed.context["runs"]) == [one]
    assert client.get(reverse("automations:runs"), {"status": "nonsense"}).status_code == 200
    page = client.get(reverse("automations:runs"), {"status": "failed"}).content.decode()
    assert "No run matches" in page
    response = client.get(reverse("automations:detail", args=[one.automation_id]), {"again": "x"})
    assert response.status_code == 200
