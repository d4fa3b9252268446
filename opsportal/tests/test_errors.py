"""Whatever is sent, the API answers with a 4xx and a `detail`, never with a 500."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from automation.models import Automation, Run
from automation.tests.making import numbered_run
from servers.api import ServerViewSet
from servers.models import Server
from servers.tests.cast import PASSWORD, Person

# On one stack: answers to bad input are of no database.
pytestmark = [pytest.mark.django_db, pytest.mark.stack("embedded")]

API = "/api/v1/"
BODY_ENDPOINTS = [
    ("post", "servers/"),
    ("put", "servers/{id}/"),
    ("patch", "servers/{id}/"),
    ("post", "servers/{id}/test-connection/"),
    ("post", "servers/{id}/host-key/"),
    ("post", "automations/"),
    ("put", "automations/{id}/"),
    ("patch", "automations/{id}/"),
    ("post", "automations/{id}/run/"),
    ("post", "runs/{id}/cancel/"),
    ("post", "runs/{id}/retry/"),
    ("post", "auth/token/"),
    ("post", "auth/token/refresh/"),
    ("post", "auth/logout/"),
]

JSON = "application/json"
BODIES: dict[str, tuple[bytes, str]] = {
    "nothing of JSON": (b"name=web-01", JSON),
    "an end too early": (b'{"name": "web', JSON),
    "two values": (b"{} {}", JSON),
    "a list": (b"[]", JSON),
    "a text": (b'"web-01"', JSON),
    "null": (b"null", JSON),
    "a number": (b"12", JSON),
    "a list of objects": (b'[{"name": "a"}]', JSON),
    "NaN": (b'{"port": NaN}', JSON),
    "a number beyond all": (b'{"port": 1e400}', JSON),
    "a number of many digits": (b'{"port": ' + b"9" * 5000 + b"}", JSON),
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, JSON),
    "deep objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, JSON),
    "depth in a field": (b'{"tags": ' + b"[" * 900 + b"]" * 900 + b"}", JSON),
    "a body beyond 1 MB": (b'{"name": "' + b"x" * 1_100_000 + b'"}', JSON),
    "many fields": (b"{" + b",".join(b'"f%d": 1' % n for n in range(5_000)) + b"}", JSON),
    "a NUL": (b'{"name": "a\\u0000", "username": "\\u0000", "refresh": "\\u0000"}', JSON),
    "a NUL in a name": (b'{"\\u0000": 1}', JSON),
    "lone surrogates": (b'{"name": "\\ud800", "username": "\\udfff", "refresh": "\\ud800"}', JSON),
    "a lone surrogate in a name": (b'{"\\ud800": 1}', JSON),
    "invalid UTF-8": (b'{"name": "\xff\xfe"}', JSON),
    "another encoding": ('{"name": "a"}'.encode("utf-16"), JSON),
    "an unknown encoding": (b'{"x": 1}', "application/json; charset=klingon"),
    "an unknown field": (b'{"colour": 1}', JSON),
    "objects for texts": (
        b'{"name": {}, "host": [], "username": {}, "password": {}, "refresh": {"a": 1},'
        b' "fingerprint": []}',
        JSON,
    ),
    "objects for lists": (
        b'{"parameters": [{"name": {}, "type": []}], "servers": {"a": 1}, "environments": "a",'
        b' "tags": {}, "script": {}, "reason": []}',
        JSON,
    ),
    "a form": (b"name=web-01", "application/x-www-form-urlencoded"),
    "XML": (b"<name/>", "application/xml"),
    "no media type": (b'{"x": 1}', "nonsense"),
}


def assert_refused(response: Any, *statuses: int) -> None:
    assert 400 <= response.status_code < 500, (response.status_code, response.content[:300])
    if statuses:
        assert response.status_code in statuses, response.content
    assert response.headers["Content-Type"] == "application/json"
    detail = response.json()["detail"]
    assert isinstance(detail, str)
    assert detail


@pytest.fixture
def run(server: Server) -> Run:
    """Of the server's number, as is its automation."""
    return numbered_run(server.pk, server)


def state() -> list[Any]:
    return [list(model.objects.values()) for model in (Server, Automation, Run)]


@pytest.mark.parametrize(("method", "path"), BODY_ENDPOINTS)
@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused(
    operator: Person, server: Server, run: Run, method: str, path: str, name: str
) -> None:
    body, media_type = BODIES[name]
    before = state()
    url = API + path.format(id=server.pk)
    response = operator.api.generic(method.upper(), url, body, content_type=media_type)  # type: ignore[arg-type]
    assert_refused(response, 400, 401, 413, 415)
    if name == "a body beyond 1 MB":
        assert response.status_code == 413
    assert state() == before


@pytest.mark.parametrize(
    "path",
    [
        "nowhere/",
        "servers/abc/",
        "servers/-1/",
        "servers/1.5/",
        "servers/%00/",
        "servers/%FF/",
        "servers/%ED%A0%80/",
        "servers/1/nowhere/",
        "servers//",
        "",
    ],
)
def test_an_unknown_path_is_404(operator: Person, path: str) -> None:
    browser = Client(enforce_csrf_checks=True)
    for method in ("get", "post"):
        assert_refused(getattr(operator.api, method)(API + path), 404)
        assert_refused(getattr(browser, method)(API + path), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("delete", "servers/"),
        ("patch", "servers/"),
        ("post", "servers/{id}/"),
        ("get", "servers/{id}/test-connection/"),
        ("put", "servers/{id}/host-key/"),
        ("get", "automations/{id}/run/"),
        ("get", "runs/{id}/cancel/"),
        ("get", "auth/token/"),
        ("get", "auth/logout/"),
        ("trace", "servers/"),
        ("propfind", "servers/"),
    ],
)
def test_a_wrong_method_is_405_and_the_right_ones_are_named(
    admin: Person, server: Server, run: Run, method: str, path: str
) -> None:
    response = admin.api.generic(method.upper(), API + path.format(id=server.pk))
    assert_refused(response, 405)
    assert response.headers["Allow"]


def test_an_answer_that_cannot_be_given_as_asked_is_406(operator: Person) -> None:
    response = operator.api.get(f"{API}servers/", headers={"Accept": "text/csv"})
    assert_refused(response, 406)


# Tokens.


def foreign_token(user: Any) -> str:
    claims = AccessToken.for_user(user).payload
    return jwt.encode(claims, "another secret key, long enough for it", algorithm="HS256")


def unsigned_token(user: Any) -> str:
    return jwt.encode(AccessToken.for_user(user).payload, "", algorithm="none")


def changed_token(user: Any) -> str:
    signed, _, signature = str(AccessToken.for_user(user)).rpartition(".")
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def expired_token(user: Any) -> str:
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=-timedelta(seconds=1))
    return str(token)


def token_of_nobody(user: Any) -> str:
    token = AccessToken.for_user(user)
    token["user_id"] = "999999999"
    return str(token)


def token_without_user(user: Any) -> str:
    token = AccessToken.for_user(user)
    del token.payload["user_id"]
    return str(token)


def token_of_a_huge_user(user: Any) -> str:
    token = AccessToken.for_user(user)
    token["user_id"] = "9" * 40
    return str(token)


BAD_TOKENS: list[Callable[[Any], str]] = [
    foreign_token,
    unsigned_token,
    expired_token,
    token_of_nobody,
    token_of_a_huge_user,
    token_without_user,
    lambda user: str(RefreshToken.for_user(user)),
    lambda user: "",
    lambda user: "x",
    lambda user: "a b",
    lambda user: "..",
    lambda user: "ÿ.ÿ.ÿ",
    lambda user: "x" * 6000,
    changed_token,
]


@pytest.mark.parametrize("number", range(len(BAD_TOKENS)))
def test_a_bad_token_is_401_with_a_challenge(client: Client, operator: Person, number: int) -> None:
    header = f"Bearer {BAD_TOKENS[number](operator.user)}"
    response = client.get(f"{API}servers/", HTTP_AUTHORIZATION=header)
    assert_refused(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_token_of_an_inactive_user_is_401(operator: Person) -> None:
    operator.user.is_active = False
    operator.user.save()
    assert_refused(operator.api.get(f"{API}servers/"), 401)


def test_a_token_in_the_address_is_no_credential(client: Client, operator: Person) -> None:
    token = AccessToken.for_user(operator.user)
    assert_refused(client.get(f"{API}servers/?token={token}&access={token}"), 401)


def log_in(client: Client, name: str = "operator", password: str = PASSWORD) -> Any:
    body = {"username": name, "password": password}
    return client.post(f"{API}auth/token/", body, content_type=JSON)


def refresh(client: Client, token: str) -> Any:
    return client.post(f"{API}auth/token/refresh/", {"refresh": token}, content_type=JSON)


def log_out(client: Client, token: str) -> Any:
    return client.post(f"{API}auth/logout/", {"refresh": token}, content_type=JSON)


def works(client: Client, access: str) -> bool:
    header = {"Authorization": f"Bearer {access}"}
    return client.get(f"{API}servers/", headers=header).status_code == 200


def test_a_login_gives_a_pair_that_works(client: Client, operator: Person) -> None:
    response = log_in(client)
    assert response.status_code == 200
    pair = response.json()
    assert set(pair) == {"access", "refresh"}
    assert works(client, pair["access"])
    assert not works(client, pair["refresh"])


@pytest.mark.parametrize(
    ("name", "password"),
    [("operator", "wrong"), ("nobody", PASSWORD), ("operator", PASSWORD + " ")],
)
def test_a_wrong_login_is_401_and_tells_not_what_was_wrong(
    client: Client, operator: Person, name: str, password: str
) -> None:
    response = log_in(client, name, password)
    assert_refused(response, 401)
    known = "No active account found with the given credentials"
    assert response.json() == {"detail": known}


def test_an_inactive_user_cannot_log_in(client: Client, operator: Person) -> None:
    operator.user.is_active = False
    operator.user.save()
    assert_refused(log_in(client), 401)


def test_a_refresh_rotates_and_the_old_token_is_refused(client: Client, operator: Person) -> None:
    first = str(RefreshToken.for_user(operator.user))
    second = refresh(client, first)
    assert second.status_code == 200
    assert works(client, second.json()["access"])
    assert second.json()["refresh"] != first
    assert_refused(refresh(client, first), 401)
    assert refresh(client, second.json()["refresh"]).status_code == 200


def test_after_a_logout_the_token_is_refused(client: Client, operator: Person) -> None:
    token = str(RefreshToken.for_user(operator.user))
    assert log_out(client, token).status_code == 204
    assert_refused(refresh(client, token), 401)
    assert_refused(log_out(client, token), 401)


@pytest.mark.parametrize("end", [refresh, log_out])
@pytest.mark.parametrize("token", ["x", "a.b.c", "access", "foreign"])
def test_what_is_no_refresh_token_is_401(
    client: Client, operator: Person, end: Any, token: str
) -> None:
    if token == "access":
        token = str(AccessToken.for_user(operator.user))
    elif token == "foreign":
        claims = RefreshToken.for_user(operator.user).payload
        token = jwt.encode(claims, "another secret key, long enough for it", algorithm="HS256")
    assert_refused(end(client, token), 401)


def test_the_refresh_token_of_an_inactive_user_is_401(client: Client, operator: Person) -> None:
    token = str(RefreshToken.for_user(operator.user))
    operator.user.is_active = False
    operator.user.save()
    assert_refused(refresh(client, token), 401)


def test_the_refresh_token_of_a_deleted_user_is_401_and_can_be_ended(
    client: Client, operator: Person
) -> None:
    token = str(RefreshToken.for_user(operator.user))
    operator.user.delete()
    assert_refused(refresh(client, token), 401)
    assert log_out(client, token).status_code in (204, 401)


def test_a_logout_ends_nobody_elses_tokens(
    client: Client, operator: Person, viewer: Person
) -> None:
    other = str(RefreshToken.for_user(viewer.user))
    log_out(client, str(RefreshToken.for_user(operator.user)))
    assert refresh(client, other).status_code == 200


# Outside of the API.


@pytest.mark.parametrize("path", ["healthz", "readyz"])
def test_health_is_told_to_everyone(client: Client, path: str) -> None:
    response = client.get(f"/{path}")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_every_answer_names_its_request(client: Client) -> None:
    assert client.get("/healthz").headers["X-Request-ID"]
    own = client.get("/healthz", headers={"X-Request-ID": "abc-1"})
    assert own.headers["X-Request-ID"] == "abc-1"
    forged = client.get("/healthz", headers={"X-Request-ID": "a b"})
    assert forged.headers["X-Request-ID"] != "a b"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:x", "a b"])
def test_another_host_is_not_served(client: Client, host: str) -> None:
    response = client.get(f"{API}servers/", headers={"Host": host})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("post", "test-connection", {}),
        ("post", "maintenance", {"reason": "x", "until": "2999-01-01T00:00:00Z"}),
        ("delete", "maintenance", None),
        ("post", "host-key", {"fingerprint": "SHA256:x"}),
    ],
)
def test_what_is_deleted_after_it_was_found_is_not_found(
    operator: Person,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    action: str,
    body: Any,
) -> None:
    find = ServerViewSet.get_object

    def lose(view: ServerViewSet) -> Any:
        found = find(view)
        Server.objects.all().delete()
        return found

    monkeypatch.setattr(ServerViewSet, "get_object", lose)
    response = operator.call(method, f"{API}servers/{server.pk}/{action}/", body)
    assert_refused(response, 404)
