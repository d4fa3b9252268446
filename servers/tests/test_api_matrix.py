"""Every endpoint of the REST API, and who may call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admindocs.views import simplify_regex
from django.db import transaction
from django.urls import URLPattern, URLResolver, get_resolver

from servers.models import Credential, Environment, Server
from servers.tests.cast import (
    EVERYBODY,
    Job,
    Person,
    create_person,
    create_server,
    recorded_events,
)

# On one stack: rights are the same on every database.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

SERVER = {"name": "db-01", "host": "db-01.example.com", "username": "root"}
CREDENTIAL = {"name": "new", "kind": "password", "secret": "swordfish"}
ENVIRONMENT = {"name": "new"}
MAINTENANCE = {"reason": "Kernel", "until": "2999-01-01T00:00:00Z"}
MANY = {"servers": [1]}
EVENT = {"type": "server.created", "data": {}}

# The statuses for viewer, responder, operator, admin, outsider and anonymous.
Statuses = tuple[int, int, int, int, int, int]
EVERYONE: Statuses = (200, 200, 200, 200, 200, 200)
KNOWN: Statuses = (200, 200, 200, 200, 200, 401)
STAFF: Statuses = (403, 403, 403, 403, 403, 401)
FROM_VIEWER: Statuses = (200, 200, 200, 200, 403, 401)
FROM_OPERATOR: Statuses = (403, 403, 200, 200, 403, 401)
CREATED_BY_OPERATOR: Statuses = (403, 403, 201, 201, 403, 401)
ADMIN: Statuses = (403, 403, 403, 200, 403, 401)
DELETED_BY_ADMIN: Statuses = (403, 403, 403, 204, 403, 401)
# Whoever knows a password or a token: the endpoint is open, and finds the input lacking.
OPEN: Statuses = (400, 400, 400, 400, 400, 400)

MATRIX: dict[tuple[str, str], tuple[Any, Statuses]] = {
    ("post", "auth/token/"): ({}, OPEN),
    ("post", "auth/token/refresh/"): ({}, OPEN),
    ("post", "auth/logout/"): ({}, OPEN),
    ("get", "schema/"): (None, EVERYONE),
    ("get", "docs/"): (None, EVERYONE),
    ("get", "dashboard/stats/"): (None, KNOWN),
    ("get", "events/"): (None, KNOWN),
    ("post", "events/"): (EVENT, (403, 403, 403, 400, 403, 401)),
    ("get", "events/types/"): (None, KNOWN),
    ("post", "events/ticket/"): (None, KNOWN),
    ("get", "events/processes/"): (None, STAFF),
    ("get", "servers/"): (None, FROM_VIEWER),
    ("post", "servers/"): (SERVER, CREATED_BY_OPERATOR),
    ("get", "servers/{id}/"): (None, FROM_VIEWER),
    ("put", "servers/{id}/"): (SERVER, FROM_OPERATOR),
    ("patch", "servers/{id}/"): ({"port": 2222}, FROM_OPERATOR),
    ("delete", "servers/{id}/"): (None, DELETED_BY_ADMIN),
    ("post", "servers/{id}/test-connection/"): (None, (403, 202, 202, 202, 403, 401)),
    ("get", "servers/{id}/host-key/"): (None, FROM_VIEWER),
    ("post", "servers/{id}/host-key/"): ({"fingerprint": "no"}, (403, 403, 409, 409, 403, 401)),
    ("post", "servers/{id}/maintenance/"): (MAINTENANCE, FROM_OPERATOR),
    ("delete", "servers/{id}/maintenance/"): (None, FROM_OPERATOR),
    ("get", "servers/{id}/history/"): (None, FROM_VIEWER),
    ("get", "servers/{id}/uptime/"): (None, FROM_VIEWER),
    ("get", "servers/{id}/latency/"): (None, FROM_VIEWER),
    ("post", "servers/bulk/test/"): (MANY, (403, 202, 202, 202, 403, 401)),
    ("post", "servers/bulk/maintenance/"): (MANY | MAINTENANCE, FROM_OPERATOR),
    ("post", "servers/bulk/tags/"): (MANY | {"add": ["x"]}, FROM_OPERATOR),
    ("post", "servers/import/"): ("name,host,username\na,b,c\n", CREATED_BY_OPERATOR),
    ("get", "servers/export/"): (None, FROM_VIEWER),
    ("get", "credentials/"): (None, FROM_OPERATOR),
    ("post", "credentials/"): (CREDENTIAL, CREATED_BY_OPERATOR),
    ("get", "credentials/{id}/"): (None, FROM_OPERATOR),
    ("put", "credentials/{id}/"): (CREDENTIAL, FROM_OPERATOR),
    ("patch", "credentials/{id}/"): ({"name": "other"}, FROM_OPERATOR),
    ("delete", "credentials/{id}/"): (None, DELETED_BY_ADMIN),
    ("get", "environments/"): (None, FROM_VIEWER),
    ("post", "environments/"): (ENVIRONMENT, (403, 403, 403, 201, 403, 401)),
    ("get", "environments/{id}/"): (None, FROM_VIEWER),
    ("put", "environments/{id}/"): (ENVIRONMENT, ADMIN),
    ("patch", "environments/{id}/"): ({"accept_new_host_keys": True}, ADMIN),
    ("delete", "environments/{id}/"): (None, DELETED_BY_ADMIN),
}
# The apps above have matrices of their own: incidents/tests/test_{incident,notification}_api.py and
# automation/tests/test_api_matrix.py.
OTHERS = ("incidents/", "notification", "automations/", "runs/")
CALLS = [
    pytest.param(method, path, data, name, status, id=f"{method} {path} {name}")
    for (method, path), (data, statuses) in MATRIX.items()
    for name, status in zip(EVERYBODY, statuses, strict=True)
]


@pytest.fixture
def inventory(db: None) -> None:
    """A server, a credential and an environment, of which none refers to another, numbered 1."""
    create_server(pk=1)
    Credential.objects.create(pk=1, name="shared", kind="password", secret="swordfish")
    Environment.objects.all().delete()
    Environment.objects.create(pk=1, name="lab")


def state() -> list[Any]:
    return [list(model.objects.values()) for model in (Server, Credential, Environment)]


def call(person: Person, method: str, path: str, data: Any) -> Any:
    target = f"/api/v1/{path.format(id=1)}"
    if isinstance(data, str):
        return person.api.generic(method.upper(), target, data, content_type="text/csv")
    return person.call(method, target, data)


@pytest.mark.usefixtures("inventory")
@pytest.mark.parametrize(("method", "path", "data", "name", "status"), CALLS)
def test_each_role_may_do_what_the_matrix_says_and_nothing_else(
    committing: Callable[[], Any],
    jobs: Callable[[], list[Job]],
    method: str,
    path: str,
    data: Any,
    name: str,
    status: int,
) -> None:
    before = state()
    person = create_person(name)
    with recorded_events() as events, committing():
        response = call(person, method, path, data)
        # Where an endpoint has no transaction of its own, a refusal marks the test's.
        transaction.set_rollback(False)
    assert response.status_code == status, response.content
    if status in (401, 403):
        assert set(response.json()) == {"detail"}
        assert not {"ETag", "X-Event-Cursor"} & set(response.headers)
    if status in (401, 403) or method == "get":
        assert events == []
        assert jobs() == []
        assert state() == before
    assert response.headers.get("WWW-Authenticate", "").startswith("Bearer") == (status == 401)


@pytest.mark.usefixtures("inventory")
@pytest.mark.parametrize("path", sorted({path for method, path in MATRIX if method == "get"}))
@pytest.mark.parametrize("name", EVERYBODY)
def test_asking_for_the_head_only_is_answered_as_reading(name: str, path: str) -> None:
    status = MATRIX["get", path][1][EVERYBODY.index(name)]
    assert call(create_person(name), "head", path, None).status_code == status


def test_the_matrix_names_every_route_of_the_api() -> None:
    entries: list[Any] = get_resolver().url_patterns
    [api] = [entry for entry in entries if str(entry.pattern) == "api/v1/"]
    found = set(routes(api.url_patterns))
    assert set(MATRIX) == {(method, path) for method, path in found if not path.startswith(OTHERS)}


def routes(entries: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The method and path of each, but for those that end in a format, and what is left over."""
    for entry in entries:
        path = prefix + str(entry.pattern).removeprefix("^")
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, path)
        elif isinstance(entry, URLPattern) and path:
            named = simplify_regex(path).removeprefix("/").replace("<pk>", "{id}")
            if "<format>" not in named:
                yield from ((method, named) for method in methods(entry.callback))


def methods(view: Any) -> set[str]:
    allowed = getattr(view, "actions", None) or {
        name for name in view.view_class.http_method_names if hasattr(view.view_class, name)
    }
    return set(allowed) - {"head", "options"}
