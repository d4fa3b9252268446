"""Who asks for a stream: tickets, sessions, and storms of both."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.db import DataError, OperationalError
from django.db.backends.utils import CursorWrapper
from django.test import Client as Browser
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.tokens import AccessToken

from events import consumers, log, tickets
from events.access import Arrival, Identity, Refused, aidentify, identify, screen
from events.access_changes import access_changed, everyones_access_changed
from events.batches import Batches, BatchFailed
from events.bus import Draft, emit_many
from events.context import acting, current
from events.hub import Hub
from events.models import Event, StreamTicket
from events.tests.conftest import NoteEvent
from events.tests.streaming import Client, connected, scope

STORM = 2_500


async def opened(**headers: str) -> Client:
    async with connected(None, **headers) as client:
        await client.until(lambda: client.status)
    return client


async def by_ticket(ticket: str) -> Client:
    async with connected(query=f"ticket={ticket}") as client:
        await client.until(lambda: client.status)
    return client


def session_cookie(user: User) -> str:
    browser = Browser()
    browser.force_login(user)
    return f"sessionid={browser.cookies['sessionid'].value}"


# Tickets


@pytest.mark.asyncio
async def test_a_ticket_opens_one_stream(hub: Hub, reader: User) -> None:
    ticket = await sync_to_async(tickets.issue)(reader, 0)
    async with connected(query=f"ticket={ticket}") as client:
        await client.until_frame("stream.open")
        assert (await by_ticket(ticket)).status == 401
    assert (await by_ticket(ticket)).status == 401


@pytest.mark.asyncio
async def test_of_many_who_bring_one_ticket_at_once_one_gets_in(hub: Hub, reader: User) -> None:
    ticket = await sync_to_async(tickets.issue)(reader, 0)
    clients = await asyncio.gather(*(by_ticket(ticket) for _ in range(8)))
    assert sorted(client.status for client in clients) == [200] + [401] * 7


@pytest.mark.django_db(transaction=True)
def test_a_ticket_is_redeemed_once_over_all_connections(reader: User) -> None:
    ticket = tickets.issue(reader, 0)
    barrier, found = threading.Barrier(4), []

    def redeem() -> None:
        from django.db import connection

        barrier.wait()
        found.extend(tickets.redeem([ticket, ticket]))
        connection.close()

    threads = [threading.Thread(target=redeem) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([row for row in found if row is not None]) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("ticket", ["unknown", "x" * 100])
async def test_an_unknown_ticket_is_refused(hub: Hub, ticket: str) -> None:
    client = await by_ticket(ticket)
    assert client.status == 401
    assert "www-authenticate" in client.headers


@pytest.mark.asyncio
async def test_a_ticket_ends_after_its_time(hub: Hub, reader: User) -> None:
    ticket = await sync_to_async(tickets.issue)(reader, 0)
    await StreamTicket.objects.aupdate(expires_at=timezone.now())
    assert (await by_ticket(ticket)).status == 401


@pytest.mark.asyncio
async def test_the_stream_of_a_ticket_ends_with_the_token_it_was_asked_for_with(
    hub: Hub, reader: User
) -> None:
    end = timezone.now() + timedelta(seconds=0.3)
    ticket = await sync_to_async(tickets.issue)(reader, 0, end)
    async with connected(query=f"ticket={ticket}") as client:
        assert await client.until_frame("stream.closing") == {"reason": "token_expired"}


@pytest.mark.asyncio
async def test_an_inactive_users_ticket_is_forbidden(hub: Hub, reader: User) -> None:
    ticket = await sync_to_async(tickets.issue)(reader, 0)
    await User.objects.filter(pk=reader.pk).aupdate(is_active=False)
    assert (await by_ticket(ticket)).status == 403


@pytest.mark.django_db
@pytest.mark.parametrize("whose", ["own", "all"])
def test_no_ticket_outlives_a_logout(reader: User, outsider: User, whose: str) -> None:
    ticket, other = tickets.issue(reader, 0), tickets.issue(outsider, 0)
    if whose == "own":
        access_changed(reader, "logout", ended=True)
    else:
        everyones_access_changed("logout", ended=True)
    assert tickets.redeem([ticket]) == [None]
    assert (tickets.redeem([other]) == [None]) is (whose == "all")


@pytest.mark.django_db
def test_a_ticket_outlives_a_change_of_rights(reader: User) -> None:
    ticket = tickets.issue(reader, 0)
    access_changed(reader, "groups")
    assert tickets.redeem([ticket]) != [None]


@pytest.mark.django_db
def test_a_ticket_is_nowhere_in_the_database(reader: User) -> None:
    ticket = tickets.issue(reader, 0)
    assert ticket not in str(list(StreamTicket.objects.values()))


def ask(user: User, body: str = "", **claims: Any) -> Any:
    token = AccessToken.for_user(user)
    token.payload |= claims
    return Browser().post(
        "/api/v1/events/ticket/",
        body,
        content_type="application/json",
        headers={"Authorization": f"Bearer {token}"},
    )


@pytest.mark.asyncio
async def test_a_token_buys_a_ticket_of_its_own_end(hub: Hub, reader: User) -> None:
    response = await sync_to_async(ask)(reader)
    assert response.status_code == 200
    assert set(response.json()) == {"ticket", "expires_in"}
    assert response.json()["expires_in"] == 30
    assert response["Cache-Control"] == "no-store"
    assert (await by_ticket(response.json()["ticket"])).status == 200
    end = int(time.time()) + 1000
    await sync_to_async(ask)(reader, exp=end)
    row = await StreamTicket.objects.aget()
    assert row.credentials_expire_at is not None
    assert row.credentials_expire_at.timestamp() == end


@pytest.mark.django_db
def test_nobody_gets_no_ticket(reader: User) -> None:
    response = Browser().post("/api/v1/events/ticket/")
    assert response.status_code == 401
    assert not StreamTicket.objects.exists()


@pytest.mark.django_db
def test_a_ticket_takes_no_fields(reader: User) -> None:
    assert ask(reader, '{"user": 1}').status_code == 400
    assert ask(reader, "{}").status_code == 200


def log_out_during(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    """Whoever is authenticated is logged out at once, and the log knows it."""
    authenticate = JWTAuthentication.authenticate

    def overtaken(self: Any, request: Any) -> Any:
        outcome = authenticate(self, request)
        end()
        while log.sequence():
            pass
        return outcome

    monkeypatch.setattr(JWTAuthentication, "authenticate", overtaken)


@pytest.mark.django_db
@pytest.mark.parametrize("whose", ["own", "all"])
def test_a_logout_between_authentication_and_the_tickets_insertion_ends_it(
    reader: User, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    def end() -> None:
        if whose == "own":
            access_changed(reader, "logout", ended=True)
        else:
            everyones_access_changed("logout", ended=True)

    log_out_during(monkeypatch, end)
    assert tickets.redeem([ask(reader).json()["ticket"]]) == [None]


@pytest.mark.django_db
def test_a_logout_that_has_no_position_yet_ends_a_ticket_too(reader: User) -> None:
    ticket = tickets.issue(reader, log.head().position)
    # As a process leaves it that was killed between commit and relay.
    event: Any = Event(type="access.changed", timestamp=timezone.now())
    event.audience = ["internal"]
    event.data = {"user": f"user:{reader.pk}", "reason": "logout", "ended": True}
    event.save()
    assert tickets.redeem([ticket]) == [None]


@pytest.mark.django_db
def test_a_ticket_survives_other_peoples_logouts_and_its_users_earlier_ones(
    reader: User, outsider: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    access_changed(reader, "logout", ended=True)
    log.sequence()

    def others() -> None:
        access_changed(outsider, "logout", ended=True)
        access_changed(reader, "groups")

    log_out_during(monkeypatch, others)
    assert tickets.redeem([ask(reader).json()["ticket"]]) != [None]


@pytest.mark.django_db
def test_a_user_has_so_many_tickets_and_no_more(reader: User, outsider: User) -> None:
    given = [tickets.issue(reader, 0) for _ in range(100)]
    response = ask(reader)
    assert (response.status_code, response["Retry-After"]) == (429, "30")
    assert StreamTicket.objects.count() == 100
    assert ask(outsider).status_code == 200
    assert tickets.redeem(given[:1]) != [None]
    assert ask(reader).status_code == 200


@pytest.mark.django_db
def test_a_users_expired_tickets_go_with_the_next(reader: User, outsider: User) -> None:
    for user in [reader, outsider]:
        tickets.issue(user, 0)
    StreamTicket.objects.update(expires_at=timezone.now())
    assert ask(reader).status_code == 200
    assert StreamTicket.objects.filter(user=reader).count() == 1
    assert StreamTicket.objects.filter(user=outsider).count() == 1


@pytest.mark.asyncio
async def test_a_host_that_is_not_served_spends_no_ticket(hub: Hub, reader: User) -> None:
    ticket = await sync_to_async(tickets.issue)(reader, 0)
    unserved = scope(f"ticket={ticket}")
    unserved["headers"] = [(b"host", b"elsewhere.example")]
    with pytest.raises(Refused) as caught:
        screen(Arrival(unserved, ticket))
    assert caught.value.status == 400
    async with connected(query=f"ticket={ticket}", host="elsewhere.example") as client:
        await client.until(lambda: client.status)
    assert client.status == 400
    assert await StreamTicket.objects.aexists()


# Sessions


@pytest.mark.asyncio
async def test_a_session_opens_a_stream(hub: Hub, reader: User) -> None:
    cookie = await sync_to_async(session_cookie)(reader)
    assert (await opened(cookie=cookie)).status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["password", "logout", "forged", "backend", "expired"])
async def test_a_session_that_django_would_not_take_opens_none(
    hub: Hub, reader: User, settings: Any, end: str
) -> None:
    cookie = await sync_to_async(session_cookie)(reader)
    if end == "password":
        await User.objects.filter(pk=reader.pk).aupdate(password="other")
    elif end == "logout":
        await sync_to_async(_sessions().delete)()
    elif end == "expired":
        await _sessions().aupdate(expire_date=timezone.now())
    elif end == "forged":
        await _sessions().aupdate(session_data="bm90IHNpZ25lZA==")
    else:
        settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    assert (await opened(cookie=cookie)).status == 401


def _sessions() -> Any:
    from django.contrib.sessions.models import Session

    return Session.objects.all()


@pytest.mark.asyncio
@pytest.mark.parametrize("active", [True, False])
async def test_sessions_elsewhere_than_in_the_database_are_read_too(
    hub: Hub, reader: User, settings: Any, active: bool
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    cookie = await sync_to_async(session_cookie)(reader)
    await User.objects.filter(pk=reader.pk).aupdate(is_active=active)
    assert (await opened(cookie=cookie)).status == (200 if active else 403)


def nameless_session(user_key: str) -> str:
    """The cookie of a session that names a user by a key of another installation."""
    session = SessionStore()
    session["_auth_user_id"] = user_key
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = "x"
    session.save()
    return f"sessionid={session.session_key}"


# One among many


def arrival(**headers: str) -> Arrival:
    return Arrival(scope(**headers))


def by_token(user: User) -> Arrival:
    return arrival(authorization=f"Bearer {AccessToken.for_user(user)}")


class Peculiar(BaseAuthentication):
    """Raises what the request names, and counts how often it is asked."""

    asked = 0

    def authenticate(self, request: Any) -> Any:
        type(self).asked += 1
        named = request.META.get("HTTP_RAISES")
        errors: dict[str, Exception] = {
            "KeyError": KeyError("poison"),
            "DataError": DataError("poison"),
            "OperationalError": OperationalError("the database is down"),
            "PermissionDenied": PermissionDenied("not from there"),
            "Unavailable": APIException("later"),
        }
        if named:
            raise errors[named]
        return None


@pytest.fixture
def peculiar(monkeypatch: pytest.MonkeyPatch) -> type[Peculiar]:
    monkeypatch.setattr(Peculiar, "asked", 0)
    ways = [*APIView.authentication_classes, Peculiar]
    monkeypatch.setattr(APIView, "authentication_classes", ways)
    return Peculiar


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "a/b; charset*=nosuch''x"}, 401),
        ({"content_type": "a/b; charset*=utf-8''%00"}, 401),
        ({"content_length": "many"}, 401),
        ({"cookie": 'sessionid="abcdefgh\\000"'}, 401),
        ({"cookie": "sessionid=" + "a" * 4000}, 401),
        ({"session": "7b1f0c9e-uuid"}, 401),
        ({"raises": "KeyError"}, 503),
        ({"raises": "DataError"}, 503),
        ({"raises": "PermissionDenied"}, 403),
        ({"raises": "Unavailable"}, 500),
    ],
)
def test_whatever_one_arrival_brings_it_harms_itself_only(
    reader: User, peculiar: type[Peculiar], headers: dict[str, str], status: int
) -> None:
    if "session" in headers:
        headers = {"cookie": nameless_session(headers["session"])}
    ticket = tickets.issue(reader, 0)
    good = by_token(reader)
    found = identify([good, good, arrival(**headers), good, Arrival(scope(), ticket)])
    refused = found.pop(2)
    assert [each for each in found if isinstance(each, Identity)] == found
    assert isinstance(refused, Refused)
    assert refused.status == status
    assert ("WWW-Authenticate" in refused.headers) is (status == 401)


@pytest.mark.django_db
def test_a_database_that_is_down_is_asked_once_and_no_ticket_is_spent(
    reader: User, peculiar: type[Peculiar]
) -> None:
    ticket = tickets.issue(reader, 0)
    storm = [arrival(raises="OperationalError")] * 100
    with pytest.raises(OperationalError):
        identify([Arrival(scope(), ticket), *storm])
    assert peculiar.asked == 1
    assert StreamTicket.objects.exists()


@pytest.mark.django_db
def test_one_that_raises_among_many_costs_few_attempts(
    reader: User, peculiar: type[Peculiar], django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(60):
        found = identify([by_token(reader)] * 500 + [arrival(raises="KeyError")])
    assert len([each for each in found if isinstance(each, Identity)]) == 500


@pytest.mark.django_db
def test_sessions_that_ended_cost_no_query_each(
    reader: User, outsider: User, django_assert_max_num_queries: Any
) -> None:
    gone = User.objects.create(username="gone")
    cookies = [session_cookie(user) for user in (reader, outsider, gone)]
    cookies += ["sessionid=unknown", nameless_session("uuid")]
    User.objects.filter(pk=reader.pk).update(is_active=False)
    User.objects.filter(pk=outsider.pk).update(password="other")
    User.objects.filter(pk=gone.pk).delete()
    with django_assert_max_num_queries(2):
        found = identify([arrival(cookie=cookie) for cookie in cookies * 20])
    statuses = [each.status for each in found if isinstance(each, Refused)]
    assert statuses == [403, *[401] * 4] * 20


@pytest.mark.django_db
def test_a_good_token_counts_beside_an_inactive_users_session(reader: User, outsider: User) -> None:
    cookie = session_cookie(outsider)
    User.objects.filter(pk=outsider.pk).update(is_active=False)
    token = f"Bearer {AccessToken.for_user(reader)}"
    (found,) = identify([arrival(cookie=cookie, authorization=token)])
    assert isinstance(found, Identity)
    assert found.pk == reader.pk


# Turned away before the queue


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Arrival]:
    """Whoever was asked who they are."""
    seen: list[Arrival] = []

    async def recorded(arrivals: Sequence[Arrival]) -> Any:
        seen.extend(arrivals)
        return await aidentify(arrivals)

    monkeypatch.setattr(consumers, "aidentify", recorded)
    return seen


@pytest.mark.asyncio
async def test_strangers_stand_in_no_queue(hub: Hub, reader: User, asked: list[Arrival]) -> None:
    for headers in ({}, {"cookie": "theme=dark"}, {"cookie": "sessionid="}):
        client = await opened(**headers)
        assert client.status == 401
        assert client.headers["www-authenticate"].startswith("Bearer")
    assert not asked
    assert (await opened(authorization="Bearer bad")).status == 401
    assert len(asked) == 1


@pytest.mark.asyncio
async def test_nobody_is_asked_who_they_are_while_the_process_drains(
    hub: Hub, reader: User, asked: list[Arrival]
) -> None:
    ticket = await sync_to_async(tickets.issue)(reader, 0)
    hub.draining = True
    client = await by_ticket(ticket)
    assert (client.status, "retry-after" in client.headers) == (503, True)
    assert not asked
    assert await StreamTicket.objects.aexists()


@pytest.mark.asyncio
async def test_those_who_wait_count_as_streams(
    hub: Hub, reader: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENTS_MAX_STREAMS = 1
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(arrivals: Sequence[Arrival]) -> Any:
        begun.set()
        await go_on.wait()
        return await aidentify(arrivals)

    monkeypatch.setattr(consumers, "aidentify", slow)
    async with connected(reader) as first:
        async with asyncio.timeout(20):
            await begun.wait()
        async with connected(reader) as second:
            await second.until(lambda: second.status)
        assert (second.status, first.status) == (503, 0)
        go_on.set()
        await first.until_frame("stream.open")


@pytest.mark.asyncio
async def test_a_failed_batch_is_one_line_in_the_log(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ready = asyncio.Event()

    async def failing(arrivals: Sequence[Arrival]) -> Any:
        await ready.wait()
        raise OperationalError("the database is down")

    monkeypatch.setattr(consumers, "aidentify", failing)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(reader)) for _ in range(20)]
        async with asyncio.timeout(20):
            while hub.arriving < 20:
                await asyncio.sleep(0.005)
        ready.set()
        for client in clients:
            await client.until(lambda client=client: client.status)
    assert {client.status for client in clients} == {503}
    assert all("retry-after" in client.headers for client in clients)
    assert "A stream failed" not in caplog.text
    # The first, who came alone, and those who gathered meanwhile.
    assert caplog.text.count("the database is down") <= 2


# Credentials that end while they are looked at


@pytest.mark.asyncio
async def test_who_is_logged_out_between_login_and_stream_is_asked_again(
    hub: Hub, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is not open yet, so that nothing could close it."""
    position = hub.position
    ticket = await sync_to_async(tickets.issue)(reader, 0)

    async def slow(last_event_id: int | None) -> int:
        await sync_to_async(access_changed)(reader, "logout", ended=True)
        async with asyncio.timeout(20):
            while not hub.endings:
                await asyncio.sleep(0.005)
        return await position(last_event_id)

    monkeypatch.setattr(hub, "position", slow)
    assert (await by_ticket(ticket)).status == 401


@pytest.mark.asyncio
async def test_more_endings_than_are_remembered_count_as_this_users(hub: Hub) -> None:
    mark = hub.endings
    assert not hub.has_ended(1, since=mark)
    hub._readers.changed("user:2", 1, ended=True)
    assert hub.has_ended(2, since=mark)
    assert not hub.has_ended(1, since=mark)
    for _ in range(1000):
        hub._readers.changed("user:3", 1, ended=True)
    assert hub.has_ended(1, since=mark)
    assert not hub.has_ended(1, since=hub.endings)


# Storms


@pytest.mark.asyncio
async def test_batches_answer_each_and_survive_failures_and_leavers() -> None:
    sizes: list[int] = []

    async def double(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        await asyncio.sleep(0)
        if 13 in items:
            raise RuntimeError("unlucky")
        return [2 * item for item in items]

    batches = Batches(double)
    assert await batches.result(1) == 2
    with pytest.raises(BatchFailed):
        await batches.result(13)
    tasks = [asyncio.create_task(batches.result(number)) for number in range(100, 1100)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1:] == [2 * number for number in range(101, 1100)]
    assert isinstance(results[0], asyncio.CancelledError)
    assert len(sizes) <= 5


@pytest.mark.asyncio
async def test_a_batch_with_results_of_another_number_fails_and_the_next_does_not() -> None:
    async def short(items: Sequence[int]) -> list[int]:
        return [item for item in items if item != 13]

    batches = Batches(short)
    with pytest.raises(BatchFailed):
        async with asyncio.timeout(20):
            await batches.result(13)
    assert await batches.result(1) == 1


@pytest.mark.asyncio
async def test_a_batch_is_of_no_requests_context() -> None:
    seen: list[str] = []

    async def look(items: Sequence[int]) -> Sequence[int]:
        seen.append(current().request_id)
        return items

    with acting(lambda: None, "the-first-ones"):
        await Batches(look).result(1)
    assert seen == [""]


@pytest.mark.django_db
def test_nobodys_access_is_not_everybodys(reader: User) -> None:
    ticket = tickets.issue(reader, 0)
    with pytest.raises(ValueError, match="primary key"):
        access_changed(None, "a mistake", ended=True)
    assert not Event.objects.exists()
    assert tickets.redeem([ticket]) != [None]


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """Every statement of this process, in whatever thread."""
    statements: list[str] = []
    original = CursorWrapper.execute

    def execute(self: CursorWrapper, sql: Any, params: Any = None) -> Any:
        if not str(sql).startswith("PRAGMA"):  # SQLite's looks for commits read no table
            statements.append(str(sql)[:80])
        return original(self, sql, params)

    CursorWrapper.execute = execute  # type: ignore[method-assign]
    try:
        yield statements
    finally:
        CursorWrapper.execute = original  # type: ignore[method-assign]


@pytest.fixture
def crowd(transactional_db: Any) -> list[dict[str, str]]:
    """The headers of users who may read notes: of every fifth a session's, else a token's."""
    users = [User.objects.create(username=f"user{number}") for number in range(STORM // 100)]
    Permission.objects.get(codename="view_user").user_set.add(*users)
    headers = [{"authorization": f"Bearer {AccessToken.for_user(user)}"} for user in users]
    headers[::5] = [{"cookie": session_cookie(user)} for user in users[::5]]
    return headers


@pytest.fixture
def locked_out(transactional_db: Any) -> list[dict[str, str]]:
    """The headers of sessions that Django takes no more."""
    users = [User.objects.create(username=f"gone{number}") for number in range(STORM // 100)]
    headers = [{"cookie": session_cookie(user)} for user in users]
    gone = User.objects.filter(username__startswith="gone")
    gone.filter(pk__in=[user.pk for user in users[::2]]).update(is_active=False)
    gone.filter(is_active=True).update(password="other")
    return headers


@asynccontextmanager
async def everyone_returns(
    crowd: list[dict[str, str]], bought: list[str]
) -> AsyncIterator[list[tuple[int, Client]]]:
    """STORM streams at once, each with a last id of its own; the last ones bring the tickets."""
    async with AsyncExitStack() as stack:
        arriving = []
        for number in range(STORM):
            last, headers = number % 100, crowd[number % len(crowd)]
            query = ""
            if number >= STORM - len(bought):
                headers, query = {}, f"ticket={bought[number - STORM]}"
            context = connected(None, query, last_event_id=str(last), **headers)
            arriving.append((last, await stack.enter_async_context(context)))
        yield arriving


@pytest.mark.asyncio
async def test_a_storm_of_returning_streams_is_answered_from_memory(
    crowd: list[dict[str, str]], locked_out: list[dict[str, str]], hub: Hub, reader: User
) -> None:
    """Only a ticket costs a query of its own."""
    bought = [await sync_to_async(tickets.issue)(reader, 0) for _ in range(50)]
    drafts = [Draft(NoteEvent.WRITTEN, {"text": f"{number}"}) for number in range(1, 101)]
    await sync_to_async(emit_many)(drafts)
    async with asyncio.timeout(20):
        while hub.ring.end != 100:
            await asyncio.sleep(0.005)
    with counted_queries() as statements:
        async with AsyncExitStack() as stack:
            refused = [
                await stack.enter_async_context(connected(None, **headers))
                for headers in locked_out * 10
            ]
            arriving = await stack.enter_async_context(everyone_returns(crowd, bought))
            for last, client in arriving:
                await client.until(
                    lambda client=client, last=last: len(client.events) == 100 - last
                )
            for client in refused:
                await client.until(lambda client=client: client.ended)
    assert {client.status for client in refused} == {401, 403}
    for last, client in arriving:
        assert client.texts == [f"{number}" for number in range(last + 1, 101)]
    assert len(statements) < 50 + len(bought), statements
