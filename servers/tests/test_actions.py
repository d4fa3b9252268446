"""How a page's action answers: htmx, browsers without scripts, and those whose login has ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.client import RequestFactory
from django_htmx.middleware import HtmxMiddleware

from servers.actions import TEXT, Action
from servers.models import Server
from servers.tests.cast import Person

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


class Odd(Exception):
    pass


class Rename(Action):
    """Writes, and then does what `outcome` says."""

    permission_required = "servers.change_server"
    refusals = (Odd,)
    outcome: Any = "Renamed."

    def act(self, **kwargs: Any) -> str:
        Server.objects.update(name="renamed")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return str(self.outcome)

    def back(self) -> str:
        return "/servers/"


def rename(person: Person, outcome: Any) -> HttpResponse:
    request = RequestFactory(headers=HTMX).post("/")
    request.user = person.user

    def view(request: HttpRequest) -> HttpResponse:
        response = Rename.as_view(outcome=outcome)(request)
        assert isinstance(response, HttpResponse)
        return response

    response = HtmxMiddleware(view)(request)
    assert isinstance(response, HttpResponse)
    return response


def told(response: HttpResponse) -> Any:
    return json.loads(response["HX-Trigger"])["told"]


def name_of(server: Server) -> str:
    server.refresh_from_db()
    return server.name


def test_what_was_done_is_told_without_a_body(operator: Person, server: Server) -> None:
    response = rename(operator, "Renamed: “Ärger”.\n")
    assert (response.status_code, response.content) == (204, b"")
    assert told(response) == {"level": "notice", "text": "Renamed: “Ärger”.\n"}
    assert response["HX-Trigger"].isascii()
    assert name_of(server) == "renamed"


def test_nothing_to_say_is_not_told(operator: Person, server: Server) -> None:
    response = rename(operator, "")
    assert response.status_code == 204
    assert "HX-Trigger" not in response


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (ValidationError(["Too long.", "Too wide."]), 400, "Too long. Too wide."),
        (Odd("It is odd."), 409, "It is odd."),
    ],
)
def test_what_is_refused_writes_nothing(
    operator: Person, server: Server, outcome: Exception, status: int, text: str
) -> None:
    response = rename(operator, outcome)
    assert response.status_code == status
    assert told(response) == {"level": "problem", "text": text}
    assert name_of(server) == "web-01"


def test_a_long_text_does_not_outgrow_a_proxys_headers(operator: Person, server: Server) -> None:
    response = rename(operator, "ü" * 9_000)
    assert len(told(response)["text"]) == TEXT
    assert told(response)["text"].endswith("…")
    assert len(response["HX-Trigger"]) < 4_000


def test_an_ended_login_leads_back_to_the_page_and_does_nothing(server: Server) -> None:
    page = f"http://testserver/servers/{server.pk}/?states=2"
    path = f"/servers/{server.pk}/maintenance/"
    body = {"reason": "Disk", "length": "1"}
    response = Client().post(path, body, headers=HTMX | {"HX-Current-URL": page})
    assert response.status_code == 403
    assert response["HX-Redirect"] == f"/login/?next=/servers/{server.pk}/%3Fstates%3D2"
    assert "Location" not in response
    elsewhere = HTMX | {"HX-Current-URL": "https://evil.example/servers/"}
    response = Client().post(path, body, headers=elsewhere)
    assert response["HX-Redirect"] == f"/login/?next=/servers/{server.pk}/"
    plain = Client().post(path, body)
    assert plain.headers["Location"] == f"/login/?next=/servers/{server.pk}/"
    server.refresh_from_db()
    assert server.maintenance_until is None
