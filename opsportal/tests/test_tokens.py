"""A login's end: its access tokens are refused, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from events.access import Arrival, Identity, Refused, identify
from events.models import Event
from events.tests.streaming import scope
from opsportal.models import EndedLogin
from opsportal.tokens import TokenAuthentication
from servers.tests.cast import PASSWORD, Person

pytestmark = pytest.mark.django_db
API = "/api/v1/"


def post(client: Client, path: str, **body: str) -> Any:
    return client.post(f"{API}{path}", body, content_type="application/json")


def log_in(client: Client) -> dict[str, str]:
    pair: dict[str, str] = post(
        client, "auth/token/", username="operator", password=PASSWORD
    ).json()
    return pair


def refresh(client: Client, pair: dict[str, str]) -> Any:
    return post(client, "auth/token/refresh/", refresh=pair["refresh"])


def status(client: Client, pair: dict[str, str]) -> int:
    headers = {"Authorization": f"Bearer {pair['access']}"}
    return int(client.get(f"{API}servers/", headers=headers).status_code)


def log_out(client: Client, pair: dict[str, str]) -> int:
    return int(post(client, "auth/logout/", refresh=pair["refresh"]).status_code)


def test_a_logout_ends_the_access_token_too(client: Client, operator: Person) -> None:
    pair = log_in(client)
    assert status(client, pair) == 200
    assert log_out(client, pair) == 204
    assert status(client, pair) == 401


def test_a_logout_ends_every_access_token_of_its_login(client: Client, operator: Person) -> None:
    first = log_in(client)
    second = refresh(client, first).json()
    third = refresh(client, second).json()
    assert log_out(client, third) == 204
    assert {status(client, pair) for pair in (first, second, third)} == {401}


def test_a_logout_leaves_the_users_other_logins(client: Client, operator: Person) -> None:
    phone, desk = log_in(client), log_in(client)
    log_out(client, phone)
    assert status(client, desk) == 200
    assert refresh(client, desk).status_code == 200


def test_a_rotation_leaves_the_access_token(client: Client, operator: Person) -> None:
    pair = log_in(client)
    assert refresh(client, pair).status_code == 200
    assert status(client, pair) == 200
    assert not EndedLogin.objects.exists()


def access_events() -> list[Any]:
    return list(Event.objects.filter(type="access.changed").order_by("pk").values("pk", "data"))


def test_a_rotation_changes_nobodys_access(client: Client, operator: Person) -> None:
    pair, before = log_in(client), access_events()
    assert refresh(client, pair).status_code == 200
    assert access_events() == before


def test_the_logout_of_a_deleted_account_concerns_nobody(client: Client, operator: Person) -> None:
    gone = User.objects.create(username="gone")
    pair = {"refresh": str(RefreshToken.for_user(gone))}
    gone.delete()
    before = access_events()
    assert log_out(client, pair) == 204
    assert access_events() == before


def test_only_a_new_withdrawal_ends_a_login(client: Client, operator: Person) -> None:
    log_in(client)
    before = access_events()
    withdrawn = BlacklistedToken(token=OutstandingToken.objects.get())
    withdrawn.blacklisted_at = timezone.now()
    withdrawn.save_base(raw=True)  # as loaddata does
    withdrawn.save()
    assert access_events() == before
    assert not EndedLogin.objects.exists()


def test_a_token_that_an_administrator_withdraws_ends_its_login(
    client: Client, operator: Person
) -> None:
    first = log_in(client)
    second = refresh(client, first).json()
    BlacklistedToken.objects.create(token=OutstandingToken.objects.latest("pk"))
    assert {status(client, pair) for pair in (first, second)} == {401}
    assert refresh(client, second).status_code == 401
    event = Event.objects.filter(type="access.changed").latest("pk")
    assert event.data == {
        "user": f"user:{operator.user.pk}",
        "reason": "token blacklisted",
        "ended": True,
    }


def test_a_login_that_was_ended_is_not_refreshed(client: Client, operator: Person) -> None:
    """Also by a refresh token that was not withdrawn itself: whoever holds it stole it."""
    first = log_in(client)
    stolen = refresh(client, first).json()
    EndedLogin.objects.create(
        login=OutstandingToken.objects.earliest("pk").jti, expires_at=timezone.now()
    )
    assert refresh(client, stolen).status_code == 401


def bearer(token: Any) -> str:
    return f"Bearer {token}"


def of_inactive() -> str:
    user = User.objects.create(username="inactive", password="!")
    token = AccessToken.for_user(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    return bearer(token)


def of_another_password() -> str:
    user = User.objects.create(username="renewed", password="!")
    token = AccessToken.for_user(user)
    User.objects.filter(pk=user.pk).update(password="other")
    return bearer(token)


def of_deleted() -> str:
    user = User.objects.create(username="deleted", password="!")
    token = AccessToken.for_user(user)
    user.delete()
    return bearer(token)


def of_ended_login() -> str:
    token = AccessToken.for_user(User.objects.create(username="ended", password="!"))
    token["login"] = "ended"
    EndedLogin.objects.create(login="ended", expires_at=timezone.now() + timedelta(days=1))
    return bearer(token)


def of_nobody() -> str:
    token = AccessToken.for_user(User.objects.create(username="nobody", password="!"))
    del token.payload["user_id"]
    return bearer(token)


def of_no_number() -> str:
    token = AccessToken.for_user(User.objects.create(username="unnumbered", password="!"))
    token["user_id"] = "7b1f0c9e-uuid"
    return bearer(token)


def of_foreign_signature() -> str:
    good = str(AccessToken.for_user(User.objects.create(username="forged", password="!")))
    payload = good.rpartition(".")[0]
    return f"Bearer {payload}.{'A' * 43}"


def good() -> str:
    return bearer(AccessToken.for_user(User.objects.create(username="good", password="!")))


ANSWERS: list[tuple[Callable[[], str], str]] = [
    (good, "good"),
    (lambda: "Bearer", "bad_authorization_header"),
    (lambda: "Bearer two words", "bad_authorization_header"),
    (lambda: "Basic abc", "nothing"),
    (lambda: "", "nothing"),
    (lambda: "Bearer junk", "token_not_valid"),
    (of_inactive, "user_inactive"),
    (of_another_password, "password_changed"),
    (of_ended_login, "login_ended"),
    (of_deleted, "user_not_found"),
    (of_nobody, "token_not_valid"),
    (of_no_number, "user_not_found"),
    (of_foreign_signature, "token_not_valid"),
]


def request_with(header: str) -> Request:
    headers = {"Authorization": header} if header else {}
    return Request(RequestFactory().get("/", headers=headers))


def told(outcome: Any) -> str:
    """The user's name, the error's code, or `nothing`."""
    if outcome is None:
        return "nothing"
    if isinstance(outcome, APIException):
        assert outcome.status_code == 401
        detail: Any = outcome.detail
        return str(detail["code"] if isinstance(detail, dict) else detail.code)
    return str(outcome[0].username)


def alone(request: Request) -> Any:
    try:
        return TokenAuthentication().authenticate(request)
    except APIException as error:
        return error


@pytest.mark.parametrize(("header", "answer"), ANSWERS)
def test_many_are_answered_as_one_is(header: Callable[[], str], answer: str) -> None:
    request = request_with(header())
    assert told(alone(request)) == answer
    assert [told(each) for each in TokenAuthentication().authenticate_many([request])] == [answer]


def test_in_a_batch_each_gets_its_own_answer() -> None:
    answers = [answer for _header, answer in ANSWERS]
    requests = [request_with(header()) for header, _answer in ANSWERS]
    backwards = [*requests, *requests[::-1]]
    found = TokenAuthentication().authenticate_many(backwards)
    assert [told(each) for each in found] == [*answers, *answers[::-1]]


def test_an_ended_logins_token_opens_no_stream(client: Client, operator: Person) -> None:
    pair, other = log_in(client), log_in(client)
    log_out(client, pair)
    found = identify([arrival(pair), arrival(other)])
    assert isinstance(found[0], Refused)
    assert found[0].status == 401
    assert isinstance(found[1], Identity)


def arrival(pair: dict[str, str]) -> Arrival:
    return Arrival(scope(authorization=f"Bearer {pair['access']}"))


def test_tokens_given_without_a_login_are_good(client: Client, operator: Person) -> None:
    pair = {"access": str(AccessToken.for_user(operator.user))}
    assert status(client, pair) == 200


def test_ended_logins_are_forgotten_when_none_of_their_tokens_can_live(
    client: Client, operator: Person
) -> None:
    EndedLogin.objects.create(login="old", expires_at=timezone.now())
    log_out(client, log_in(client))
    assert not EndedLogin.objects.filter(login="old").exists()
    assert EndedLogin.objects.count() == 1


def test_the_admin_shows_no_token_that_could_be_used(client: Client, operator: Person) -> None:
    log_in(client)
    row = OutstandingToken.objects.get()
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    page = client.get(f"/admin/token_blacklist/outstandingtoken/{row.pk}/change/")
    assert page.status_code == 200
    assert row.jti in page.text
    assert row.token not in page.text
