"""The API keeps to its own OpenAPI, whatever schemathesis thinks of sending."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from django.core.management.color import no_style
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, checks, openapi
from schemathesis.config import SchemathesisConfig

from automation.models import Automation, Run
from automation.tests.making import PARAMETERS, numbered_run
from events.relay import relay
from incidents.models import Incident, NotificationChannel
from servers.models import Credential, Environment, Server
from servers.tests.cast import authorization_of, create_person, create_server
from servers.tests.keys import new_host_key

pytestmark = pytest.mark.stack("scaled")  # PostgreSQL refuses more of what is sent

SCHEMA = "/api/v1/schema/"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def api(transactional_db: None) -> Iterator[Any]:
    """The OpenAPI as served, and behind it the application.

    There is a row 1 of everything; server 1 offers a host key.

    In real transactions, as events are placed once they are committed.
    """
    Credential.objects.create(pk=1, name="shared", kind="password", secret="swordfish")
    Environment.objects.get_or_create(pk=1, defaults={"name": "lab"})
    Incident.objects.create(pk=1, title="Disk full")
    NotificationChannel.objects.create(
        pk=1, name="desk", kind="webhook", url="https://desk.example.com/in"
    )
    server = create_server(pk=1, host_key=new_host_key(), offered_host_key=new_host_key())
    numbered_run(1, server, parameters=PARAMETERS)
    count_on_from_the_rows()
    # As Django's own test client: a request must not close the connection of the test.
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    loaded = openapi.from_dict(
        deepcopy(served_schema()), config=SchemathesisConfig.from_dict({"seed": 1})
    )
    loaded.app = get_wsgi_application()
    yield loaded
    for signal in signals:
        signal.connect(close_old_connections)
    relay.stop()  # or its thread would work on the database of the next test


@cache
def served_schema() -> dict[str, Any]:
    """As the portal answers it, which takes it a second or more each time."""
    schema: dict[str, Any] = openapi.from_wsgi(SCHEMA, get_wsgi_application()).raw_schema
    return schema


def count_on_from_the_rows() -> None:
    """PostgreSQL does not count what was given its number, and would give the same one again."""
    models = [Credential, Environment, Incident, NotificationChannel, Server, Automation, Run]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("method", METHODS)
def test_every_answer_is_a_declared_one(api: Any, method: str, mode: GenerationMode) -> None:
    """Never a 500; only declared statuses, in JSON of the declared form."""
    checks.load_all_checks()
    wanted = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    users = {name: authorization_of(create_person(name).user) for name in ("admin", "viewer")}
    operations = [found.ok() for found in api.include(method=method).get_all_operations()]
    assert operations
    for operation in operations:

        @settings(
            max_examples=10,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            operation.as_strategy(generation_mode=mode),
            st.booleans(),
            st.sampled_from(["admin", "admin", "admin", "viewer"]),
        )
        def send(case: Case, exists: bool, user: str) -> None:
            if exists and "id" in case.path_parameters:
                case.path_parameters["id"] = "1"
            case.call_and_validate(headers={"Authorization": users[user]}, checks=wanted)

        send()


def test_the_openapi_names_every_endpoint_and_its_refusals(api: Any) -> None:
    paths = api.raw_schema["paths"]
    assert set(paths) == {
        f"/api/v1/{path}"
        for path in (
            "auth/token/",
            "auth/token/refresh/",
            "auth/logout/",
            "automations/",
            "automations/{id}/",
            "automations/{id}/run/",
            "events/",
            "events/processes/",
            "events/ticket/",
            "events/types/",
            "dashboard/stats/",
            "credentials/",
            "credentials/{id}/",
            "environments/",
            "environments/{id}/",
            "incidents/",
            "incidents/stats/",
            "incidents/{id}/",
            "incidents/{id}/assign/",
            "incidents/{id}/comment/",
            "incidents/{id}/timeline/",
            "incidents/{id}/transition/",
            "notification-channels/",
            "notification-channels/{id}/",
            "notification-channels/{id}/test/",
            "notifications/",
            "notifications/read-all/",
            "notifications/{id}/",
            "notifications/{id}/read/",
            "runs/",
            "runs/{id}/",
            "runs/{id}/cancel/",
            "runs/{id}/log/",
            "runs/{id}/retry/",
            "servers/",
            "servers/bulk/maintenance/",
            "servers/bulk/tags/",
            "servers/bulk/test/",
            "servers/export/",
            "servers/import/",
            "servers/{id}/",
            "servers/{id}/history/",
            "servers/{id}/host-key/",
            "servers/{id}/latency/",
            "servers/{id}/maintenance/",
            "servers/{id}/test-connection/",
            "servers/{id}/uptime/",
        )
    }
    for methods in paths.values():
        for operation in methods.values():
            assert {"401", "403", "406"} <= set(operation["responses"])


def test_the_openapi_gives_out_no_credential(api: Any) -> None:
    schemas = api.raw_schema["components"]["schemas"]
    assert "credential" in schemas["ServerRequest"]["properties"]
    assert "credential" not in schemas["Server"]["properties"]
    secrets = {"secret", "passphrase"}
    assert secrets <= set(schemas["CredentialRequest"]["properties"])
    assert not secrets & set(schemas["Credential"]["properties"])
