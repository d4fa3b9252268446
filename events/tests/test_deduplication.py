"""Which requests share an answer, which never do, and what of it they share."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from rest_framework import exceptions, renderers, status, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from events.api import EventCursorMixin, deduplicate, emit
from events.deduplication import HEADER, check_deduplicated_views
from events.lease import release_connections
from events.tests.conftest import NoteEvent
from events.tests.polling import place
from tests.services import wait_until

TIMEOUT: Final = 30.0  # seconds that must not go by
calls: list[Any] = []  # one for each answer that was computed, by any view


class Busy(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "Busy."


class NotBanned(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.user.username != "banned"


class Plain(renderers.JSONRenderer):
    media_type = "text/plain"
    format = "plain"


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Numbers(EventCursorMixin, APIView):
    """Each answer that is computed has a number of its own."""

    permission_classes = (NotBanned,)
    renderer_classes = (renderers.JSONRenderer, Plain)
    rights: frozenset[str]

    @deduplicate(ttl=60)
    def get(self, request: Request) -> Response:
        calls.append(self.rights)
        headers = {"ETag": '"1"', "X-Own": "leader's"}
        response = Response({"number": len(calls)}, headers=headers)
        response.set_cookie("own", "leader's")
        return response

    @deduplicate(ttl=60)
    def post(self, request: Request) -> Response:
        calls.append(self.rights)
        return Response({"number": len(calls)})


class Personal(Numbers):
    @deduplicate(ttl=60, per_user=True)
    def get(self, request: Request) -> Response:
        calls.append(self.rights)
        return Response({"number": len(calls)})


class Failing(Numbers):
    @deduplicate(ttl=60)
    def get(self, request: Request) -> Response:
        calls.append(self.rights)
        raise Busy(f"Busy, said number {len(calls)}.")


class Absent(Numbers):
    @deduplicate(ttl=60)
    def get(self, request: Request) -> Response:
        calls.append(self.rights)
        return Response({"detail": "Not here."}, status=status.HTTP_404_NOT_FOUND)


class Single(Numbers):
    """Looks at one object, which not everybody may see."""

    @deduplicate(ttl=60)
    def get(self, request: Request) -> Response:
        self.check_object_permissions(request, object())
        return Response({})


class OwnSingle(Numbers):
    @deduplicate(ttl=0, per_user=True)
    def get(self, request: Request) -> Response:
        self.check_object_permissions(request, object())
        return Response({})


class Child(Numbers):
    @deduplicate(ttl=0)
    def get(self, request: Request) -> Response:
        response: Response = super().get(request)
        return response


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class NumberSet(viewsets.ViewSet):
    permission_classes = (AllowAny,)

    @action(detail=False)
    @deduplicate(ttl=60)
    def latest(self, request: Request) -> Response:
        calls.append(None)
        return Response({"number": len(calls)})


class Atomic(APIView):
    """As it must not be: in its request's transaction."""

    @deduplicate(ttl=0)
    def get(self, request: Request) -> Response:
        raise NotImplementedError


class AtomicSet(viewsets.ViewSet):
    @deduplicate(ttl=0)
    def list(self, request: Request) -> Response:
        raise NotImplementedError


class Usual(APIView):
    def get(self, request: Request) -> Response:
        raise NotImplementedError


urlpatterns = [
    path("numbers/", Numbers.as_view()),
    path("set/", NumberSet.as_view({"get": "latest"})),
    path("atomic/", Atomic.as_view()),
    path("again/", Atomic.as_view()),
    path("atomic-set/", AtomicSet.as_view({"get": "list"})),
    path("usual/", Usual.as_view()),
    path("function/", lambda request: HttpResponse()),
]


class Caller:
    """Sends requests to one path, which no other test has."""

    def __init__(self) -> None:
        self.path = f"/{uuid.uuid4().hex}/"

    def __call__(
        self, user: Any, query: str = "", view: Any = Numbers, method: str = "GET", **extra: Any
    ) -> Response:
        handler = view.as_view({"get": "latest"}) if view is NumberSet else view.as_view()
        where = extra.pop("path", self.path)
        request = APIRequestFactory().generic(method, where, QUERY_STRING=query, **extra)
        force_authenticate(request, user=user)
        response: Response = handler(request)
        response.render()
        return response


@pytest.fixture
def ask() -> Caller:
    calls.clear()
    return Caller()


@pytest.fixture
def colleague(reader: User) -> User:
    """Has the reader's rights, by a group."""
    group = Group.objects.create(name="readers")
    group.permissions.add(Permission.objects.get(codename="view_user"))
    user = User.objects.create(username="colleague")
    user.groups.add(group)
    return user


def number(response: Response) -> int:
    assert response.status_code == 200, response.data
    return int(json.loads(response.content)["number"])


def fresh(user: User) -> User:
    """As the next request reads this user."""
    return User.objects.get(pk=user.pk)


def test_the_same_request_is_answered_once(ask: Caller, reader: User) -> None:
    assert [number(ask(reader)), number(ask(reader))] == [1, 1]
    assert ask(reader)[HEADER] == "cached"
    assert len(calls) == 1


def test_users_with_the_same_rights_share(ask: Caller, reader: User, colleague: User) -> None:
    assert [number(ask(reader)), number(ask(colleague))] == [1, 1]


def test_users_with_different_rights_never_share(ask: Caller, reader: User, outsider: User) -> None:
    root = User.objects.create(username="root", is_superuser=True)
    users = [reader, outsider, root, AnonymousUser()]
    assert [number(ask(user)) for user in users] == [1, 2, 3, 4]
    assert [number(ask(user)) for user in users] == [1, 2, 3, 4]


def test_a_change_of_rights_counts_at_once(ask: Caller, reader: User, outsider: User) -> None:
    assert [number(ask(reader)), number(ask(outsider))] == [1, 2]
    reader.user_permissions.clear()
    assert number(ask(fresh(reader))) == 2
    reader.user_permissions.add(Permission.objects.get(codename="view_group"))
    assert number(ask(fresh(reader))) == 3


def test_the_rights_of_the_key_are_the_views_to_decide_by(ask: Caller, reader: User) -> None:
    """`has_perm` remembers for as long as the user object lives, and so may know other ones."""
    assert reader.has_perm("auth.view_user")
    reader.user_permissions.clear()
    assert reader.has_perm("auth.view_user")
    ask(reader)
    assert calls == [{"everyone"}]


def test_a_personal_answer_is_for_one_user(ask: Caller, reader: User, colleague: User) -> None:
    def personal(user: User) -> int:
        return number(ask(fresh(user), view=Personal))

    assert [personal(reader), personal(colleague)] == [1, 2]
    assert [personal(reader), personal(colleague)] == [1, 2]
    reader.user_permissions.clear()
    assert personal(reader) == 3


def test_whoever_may_not_ask_gets_no_kept_answer(ask: Caller, outsider: User) -> None:
    banned = User.objects.create(username="banned")  # of the same rights
    assert number(ask(outsider)) == 1
    assert ask(banned).status_code == 403
    assert len(calls) == 1


def test_an_answer_that_looks_at_one_object_is_not_shared(ask: Caller, reader: User) -> None:
    """Only the one who computes would be asked whether it may."""
    with pytest.raises(ImproperlyConfigured, match="per_user"):
        ask(reader, view=Single)
    assert ask(reader, view=OwnSingle).status_code == 200


def test_a_method_that_calls_its_parents_does_not_wait_for_itself(
    ask: Caller, reader: User
) -> None:
    assert number(ask(reader, view=Child)) == 1
    assert ask(reader, view=Child)[HEADER] == "leader"


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        ("a=1&b=2", "b=2&a=1", True),
        ("a=1&b=2&a=2", "a=1&a=2&b=2", True),
        ("a=1&a=2", "a=2&a=1", False),
        ("a=1&a=1", "a=1", False),
        ("a=1", "a=2", False),
        ("a=1", "b=1", False),
        ("a=1", "", False),
        ("a=1%26b%3D2", "a=1&b=2", False),
        ("a=1,2", "a=1&a=2", False),
        ("a=", "", False),
        ("a=%ED%A0%80", "a=%ED%A0%80", True),
    ],
)
def test_the_query_counts_but_for_its_order_of_names(
    first: str, second: str, is_shared: bool, ask: Caller, reader: User
) -> None:
    assert number(ask(reader, first)) == 1
    assert number(ask(reader, second)) == (1 if is_shared else 2)


@pytest.mark.parametrize(
    "other",
    [
        {"path": "/elsewhere/"},
        {"HTTP_ACCEPT": "text/plain"},
        {"HTTP_ACCEPT": "application/json; indent=4"},
        {"query": "format=plain"},
    ],
    ids=str,
)
def test_what_makes_another_answer_is_not_shared(
    other: dict[str, Any], ask: Caller, reader: User
) -> None:
    assert number(ask(reader)) == 1
    other = {"query": ""} | other
    if other.get("path"):
        other["path"] += uuid.uuid4().hex
    assert number(ask(reader, **other)) == 2
    assert number(ask(reader)) == 1


def test_language_and_time_zone_make_another_answer(ask: Caller, reader: User) -> None:
    assert number(ask(reader)) == 1
    with translation.override("de"):
        assert number(ask(reader)) == 2
    with timezone.override("Europe/Berlin"):
        assert number(ask(reader)) == 3


def test_how_an_answer_is_asked_for_makes_none(ask: Caller, reader: User) -> None:
    assert number(ask(reader, HTTP_ACCEPT="*/*", HTTP_USER_AGENT="a")) == 1
    assert number(ask(reader, HTTP_ACCEPT="application/json", HTTP_USER_AGENT="b")) == 1
    assert number(ask(reader, SERVER_NAME="localhost", SERVER_PORT="8001")) == 1


def test_a_shared_answer_is_in_each_ones_form(ask: Caller, reader: User) -> None:
    for _ in range(2):
        response = ask(reader, HTTP_ACCEPT="text/plain")
        assert response["Content-Type"].startswith("text/plain")
        assert response.content == b'{"number":1}'


def test_only_reading_is_shared(ask: Caller, reader: User) -> None:
    responses = [ask(reader, method="POST"), ask(reader, method="POST")]
    assert [number(response) for response in responses] == [1, 2]
    assert not any(HEADER in response for response in responses)
    assert ask(reader, method="HEAD")[HEADER] == "leader"
    assert ask(reader)[HEADER] == "leader"
    assert len(calls) == 4


def test_an_action_of_a_viewset_is_shared(ask: Caller, reader: User) -> None:
    assert [number(ask(reader, view=NumberSet)), number(ask(reader, view=NumberSet))] == [1, 1]


def test_only_what_is_said_of_the_data_is_shared(ask: Caller, reader: User) -> None:
    first, second = ask(reader), ask(reader)
    assert [first[HEADER], second[HEADER]] == ["leader", "cached"]
    assert first["ETag"] == second["ETag"] == '"1"'
    assert first["X-Own"] == "leader's"
    assert "X-Own" not in second
    assert first.cookies
    assert not second.cookies


def test_a_shared_answer_has_the_cursor_from_before_its_data(ask: Caller, reader: User) -> None:
    before = int(ask(reader)["X-Event-Cursor"])
    emit(NoteEvent.SHOUTED, {"text": "news"})
    head = place()
    assert head > before
    assert int(ask(reader)["X-Event-Cursor"]) == before
    assert int(ask(reader, "a=1")["X-Event-Cursor"]) == head


@pytest.mark.parametrize(("view", "expected"), [(Failing, 409), (Absent, 404)])
def test_only_success_is_kept(view: Any, expected: int, ask: Caller, reader: User) -> None:
    assert [ask(reader, view=view).status_code for _ in range(3)] == [expected] * 3
    assert len(calls) == 3


def test_a_failure_reaches_those_who_wait_with_its_status_and_detail(
    ask: Caller, reader: User, colleague: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate = threading.Event(), threading.Event()
    waiting: set[int] = set()

    def note() -> None:
        waiting.add(threading.get_ident())
        release_connections()

    class Slow(Numbers):
        @deduplicate(ttl=60)
        def get(self, request: Request) -> Response:
            calls.append(self.rights)
            begun.set()
            assert gate.wait(TIMEOUT)
            raise Busy(f"Busy, said number {len(calls)}.")

    def ask_in_a_thread(user: User) -> Response:
        try:
            return ask(user, view=Slow)
        finally:
            connections.close_all()

    monkeypatch.setattr("events.flight.release_connections", note)
    with ThreadPoolExecutor(6) as executor:
        futures = [executor.submit(ask_in_a_thread, user) for user in [reader, colleague] * 3]
        wait_until(lambda: len(waiting) == 5, TIMEOUT, "all but one wait")
        gate.set()
        responses = [future.result(TIMEOUT) for future in futures]
    assert [response.status_code for response in responses] == [409] * 6
    assert {str(response.data["detail"]) for response in responses} == {"Busy, said number 1."}
    again = ask(reader, view=Slow)
    assert str(again.data["detail"]) == "Busy, said number 2."


@pytest.mark.urls(__name__)
def test_views_in_their_requests_transactions_are_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = check_deduplicated_views()
    assert [(message.id, message.obj) for message in found] == [
        ("events.E006", Atomic),
        ("events.E006", AtomicSet),
    ]
    for alias in connections.settings:
        monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", False)
    assert check_deduplicated_views() == []


def test_the_projects_views_are_all_right() -> None:
    assert check_deduplicated_views() == []


def test_the_method_stays_what_it_was() -> None:
    method: Callable[..., Any] = NumberSet.latest
    assert method.__name__ == "latest"
    assert method.url_path == "latest"  # type: ignore[attr-defined]
