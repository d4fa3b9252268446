"""Every endpoint of automations and runs, and who may call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction
from django.urls import get_resolver

from automation.models import Automation, LogBatch, Run, Target
from automation.tests.making import end, numbered_run
from servers.models import Server
from servers.tests.cast import EVERYBODY, Job, Person, create_person, recorded_events
from servers.tests.test_api_matrix import routes

pytestmark = pytest.mark.django_db

Statuses = tuple[int, int, int, int, int, int]
FROM_VIEWER: Statuses = (200, 200, 200, 200, 403, 401)
FROM_OPERATOR: Statuses = (403, 403, 200, 200, 403, 401)
FROM_RESPONDER: Statuses = (403, 202, 202, 202, 403, 401)
AUTOMATION = {"name": "Report", "script": "df"}

# The statuses for viewer, responder, operator, admin, outsider and anonymous. Automation and run 1
# are there; the run is under way.
MATRIX: dict[tuple[str, str], tuple[Any, Statuses]] = {
    ("get", "automations/"): (None, FROM_VIEWER),
    ("post", "automations/"): (AUTOMATION, (403, 403, 201, 201, 403, 401)),
    ("get", "automations/{id}/"): (None, FROM_VIEWER),
    ("put", "automations/{id}/"): (AUTOMATION, FROM_OPERATOR),
    ("patch", "automations/{id}/"): ({"enabled": False}, FROM_OPERATOR),
    ("delete", "automations/{id}/"): (None, (403, 403, 403, 204, 403, 401)),
    ("post", "automations/{id}/run/"): ({"reason": "Because."}, FROM_RESPONDER),
    ("get", "runs/"): (None, FROM_VIEWER),
    ("get", "runs/{id}/"): (None, FROM_VIEWER),
    ("post", "runs/{id}/cancel/"): (None, FROM_RESPONDER),
    ("post", "runs/{id}/retry/"): (None, (403, 409, 409, 409, 403, 401)),
    ("get", "runs/{id}/log/"): (None, FROM_VIEWER),
    ("get", "runs/{id}/log/?format=text"): (None, FROM_VIEWER),
}
CALLS = [
    pytest.param(method, path, data, name, status, id=f"{method} {path} {name}")
    for (method, path), (data, statuses) in MATRIX.items()
    for name, status in zip(EVERYBODY, statuses, strict=True)
]
NEEDED = {
    "automations/{id}/run/": {"view_automation", "view_run", "run_automation"},
    "runs/{id}/cancel/": {"view_run", "cancel_run"},
    "runs/{id}/retry/": {"view_run", "run_automation"},
}


@pytest.fixture
def under_way(server: Server) -> None:
    end(numbered_run(1, server), "running", "running")


def state() -> list[Any]:
    return [list(model.objects.values()) for model in (Automation, Run, Target, LogBatch)]


def path_of(path: str) -> str:
    return f"/api/v1/{path.format(id=1)}"


@pytest.mark.usefixtures("under_way")
@pytest.mark.parametrize(("method", "path", "data", "name", "status"), CALLS)
def test_each_role_may_do_what_the_matrix_says_and_nothing_else(
    jobs: Callable[[], list[Job]], method: str, path: str, data: Any, name: str, status: int
) -> None:
    before, person = state(), create_person(name)
    with recorded_events() as events:
        response = person.call(method, path_of(path), data)
        transaction.set_rollback(False)
    assert response.status_code == status, response.content
    if status in (401, 403):
        assert set(response.json()) == {"detail"}
        assert not {"ETag", "X-Event-Cursor"} & set(response.headers)
    if status in (401, 403) or method == "get":
        assert events == []
        assert jobs() == []
        assert state() == before
    if method == "get":
        assert person.call("head", path_of(path)).status_code == status


@pytest.mark.usefixtures("under_way")
@pytest.mark.parametrize("path", NEEDED)
def test_who_may_act_but_not_read_what_they_would_be_told_does_neither(
    outsider: Person, path: str
) -> None:
    end(Run.objects.get(), "failed" if "retry" in path else "running", "failed")
    for lacking in NEEDED[path]:
        codenames = NEEDED[path] - {lacking}
        outsider.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        before = state()
        assert outsider.call("post", path_of(path)).status_code == 403
        assert state() == before
    outsider.user.user_permissions.set(Permission.objects.filter(codename__in=NEEDED[path]))
    assert outsider.call("post", path_of(path)).status_code == 202


def test_the_matrix_names_every_route_of_the_api() -> None:
    entries: list[Any] = get_resolver().url_patterns
    [api] = [entry for entry in entries if str(entry.pattern) == "api/v1/"]
    own = {key for key in routes(api.url_patterns) if key[1].startswith(("automations/", "runs/"))}
    assert own == {key for key in MATRIX if "?" not in key[1]}
