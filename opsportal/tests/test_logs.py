from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from events.context import RequestIDFilter, acting
from opsportal.logs import AccessLogMiddleware, JSONFormatter


def record(message: Any, *arguments: Any, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("x.y").makeRecord(
        "x.y", logging.WARNING, "file.py", 1, message, arguments, None, extra=extra
    )


def written(line: logging.LogRecord) -> dict[str, Any]:
    """The JSON of a record, which is one line whatever it holds."""
    RequestIDFilter().filter(line)
    text = JSONFormatter().format(line)
    assert len(text.splitlines()) == 1
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_a_record_is_an_object_with_the_requests_id() -> None:
    with acting(lambda: None, "abc-1"):
        line = written(record("Hello %s", "world"))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "x.y",
        "request_id": "abc-1",
        "message": "Hello world",
    }


@pytest.mark.parametrize("text", ["a\nb", "a\r\n{}", '"', "\x00\x1b[31m", "\u2028", "\ud800", "ü"])
def test_hostile_text_stays_in_its_line(text: str) -> None:
    assert written(record("%s", text))["message"] == text


def test_a_traceback_is_one_field() -> None:
    line = record("It failed")
    try:
        raise ValueError("why")
    except ValueError:
        line.exc_info = sys.exc_info()
    error = written(line)["exc_info"]
    assert error.startswith("Traceback")
    assert error.endswith("ValueError: why")


def test_what_libraries_add_to_a_record_is_not_written() -> None:
    """Django adds the request, whose text has its query string, and Celery a task's arguments."""
    request = RequestFactory().get("/x?ticket=secret")
    line = record("Not Found: /x", request=request, status_code=404, data={"args": "secret"})
    assert "secret" not in json.dumps(written(line))


def test_a_dictionary_as_message_does_not_add_fields() -> None:
    assert written(record({"password": "secret", "message": "m"})).get("password") is None


def users(caplog: pytest.LogCaptureFixture) -> list[str | None]:
    """Of each request that was logged."""
    return [row.__dict__["user"] for row in caplog.records if row.name == "opsportal.access"]


@pytest.mark.django_db
def test_each_request_is_one_line_without_its_query(caplog: pytest.LogCaptureFixture) -> None:
    user = User.objects.create(username="viewer")
    client = Client()
    client.force_login(user)
    with caplog.at_level(logging.INFO, "opsportal.access"):
        client.get("/servers/?q=secret", headers={"X-Request-ID": "mine"})
        client.get("/no%0d%0asuch/%E2%80%A8page")
    first, second = (row for row in caplog.records if row.name == "opsportal.access")
    facts = first.__dict__
    assert (facts["method"], facts["path"], facts["status"]) == ("GET", "/servers/", 403)
    assert facts["user"] == "viewer"
    assert facts["duration"] >= 0
    assert second.__dict__["path"] == "/no%0D%0Asuch/%E2%80%A8page"
    assert "secret" not in caplog.text
    assert first.getMessage() == f"GET /servers/ 403 {facts['duration']} ms"


@pytest.mark.django_db
def test_a_request_that_asks_for_no_user_is_not_made_to(
    caplog: pytest.LogCaptureFixture, django_assert_num_queries: Any
) -> None:
    """/healthz answers while the database is down."""
    client = Client()
    client.force_login(User.objects.create(username="viewer"))
    with caplog.at_level(logging.INFO, "opsportal.access"), django_assert_num_queries(0):
        client.get("/healthz")
    assert users(caplog) == [None]


def test_an_anonymous_request_has_no_user(caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=204)

    with caplog.at_level(logging.INFO, "opsportal.access"):
        request = RequestFactory().get("/x")
        request.user = AnonymousUser()
        AccessLogMiddleware(answer)(request)
    assert users(caplog) == [None]
