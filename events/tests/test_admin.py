"""The log in the admin: who sees what of it, and that nobody changes it."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin, site
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events import admin as event_admin
from events import log
from events.api import EventTrailMixin
from events.models import Event
from events.wire import format_timestamp

pytestmark = pytest.mark.django_db

PAGE = "/admin/events/event/"


def write(
    *audience: str, type: str = "note.written", subject: str = "", actor: str = "", **data: Any
) -> Event:
    """An event in the log, not placed yet."""
    return Event.objects.create(  # type: ignore[misc]
        type=type,
        subject=subject,
        audience=list(audience) or ["auth.view_user"],
        data=data,
        actor_username=actor,
        request_id=f"request-of-{actor}",
        timestamp=timezone.now(),
    )


def place() -> None:
    while log.sequence():
        pass


@pytest.fixture
def auditor() -> User:
    """On the staff; may read the log, and notes."""
    user = User.objects.create(username="auditor", is_staff=True)
    names = ["view_event", "view_user"]
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))
    return user


@pytest.fixture
def superuser() -> User:
    return User.objects.create(username="root", is_staff=True, is_superuser=True)


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def listed(user: User, query: str = "") -> list[int]:
    """The primary keys on the first page of the list."""
    response = browser(user).get(f"{PAGE}?{query}")
    assert response.status_code == 200, response.headers
    return [event.pk for event in response.context["cl"].result_list]


def test_the_list_shows_what_a_person_may_read_and_nothing_else(auditor: User) -> None:
    readable = [
        write("auth.view_user"),
        write("everyone"),
        write(f"user:{auditor.pk}"),
        write("auth.delete_user", "auth.view_user"),
    ]
    hidden = [
        write("internal"),
        write("auth.delete_user"),
        write("user:9999"),
        write(f"user:{auditor.pk}0"),
        write(f"user:9{auditor.pk}"),
        write("auth.view_users"),
        write("xauth.view_user"),
        write("auth.viewXuser"),
        write("Auth.View_User"),
        write('x"auth.view_user"'),
    ]
    place()
    keys = set(listed(auditor))
    assert keys >= {event.pk for event in readable}
    assert keys.isdisjoint(event.pk for event in hidden)
    for event in hidden:
        response = browser(auditor).get(f"{PAGE}{event.pk}/change/")
        assert response.status_code == 302, "an event that may not be read can be opened"


def test_a_superuser_sees_all_internal_events_too(superuser: User) -> None:
    events = [write("internal"), write("auth.delete_user"), write("user:9999")]
    place()
    assert set(listed(superuser)) >= {event.pk for event in events}
    assert browser(superuser).get(f"{PAGE}{events[0].pk}/change/").status_code == 200


def test_the_list_needs_its_permission(auditor: User) -> None:
    auditor.user_permissions.remove(Permission.objects.get(codename="view_event"))
    event = write("everyone")
    place()
    assert browser(auditor).get(PAGE).status_code == 403
    assert browser(auditor).get(f"{PAGE}{event.pk}/change/").status_code == 403


def test_nobody_adds_changes_or_deletes_an_event(superuser: User) -> None:
    event = write("everyone", text="as it was")
    place()
    client = browser(superuser)
    assert client.post(f"{PAGE}add/", {"type": "x"}).status_code == 403
    assert client.post(f"{PAGE}{event.pk}/change/", {"type": "x"}).status_code == 403
    assert client.post(f"{PAGE}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"}
    client.post(PAGE, action)
    stored = Event.objects.get(pk=event.pk)
    assert (stored.type, stored.data) == ("note.written", {"text": "as it was"})


def test_an_event_without_position_is_not_listed(auditor: User) -> None:
    place()
    pending = write("everyone")
    assert pending.pk not in listed(auditor)
    place()
    assert pending.pk in listed(auditor)


def test_the_newest_come_first_by_position(auditor: User) -> None:
    first, second = write(), write()
    Event.objects.update(position=None)
    Event.objects.filter(pk=second.pk).update(position=1001)
    Event.objects.filter(pk=first.pk).update(position=1002)
    assert listed(auditor) == [first.pk, second.pk]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=note.shouted", {"shout"}),
        ("subject__exact=auth.group/1", {"one"}),
        ("actor_username__exact=alice", {"one", "shout"}),
        ("q=auth.group/1", {"one", "eleven"}),
        ("q=group/1", set()),
        ("q=ALICE", {"one", "shout"}),
        ("q=request-of-bob", {"eleven"}),
        ("q=request-of", set()),
        ("type=note.whispered", set()),
    ],
)
def test_the_list_filters_and_searches(auditor: User, query: str, expected: set[str]) -> None:
    events = {
        "one": write(subject="auth.group/1", actor="alice"),
        "eleven": write(subject="auth.group/11", actor="bob"),
        "shout": write("everyone", type="note.shouted", actor="alice"),
        "whisper": write("internal", type="note.whispered", actor="alice", subject="auth.group/1"),
    }
    place()
    assert set(listed(auditor, query)) == {events[name].pk for name in expected}


def test_internal_types_are_offered_to_superusers_only(auditor: User, superuser: User) -> None:
    assert "note.whispered" not in browser(auditor).get(PAGE).content.decode()
    assert "note.whispered" in browser(superuser).get(PAGE).content.decode()


def test_no_page_counts_the_whole_log(
    auditor: User, superuser: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_admin, "COUNTED", 150)
    for _ in range(160):
        write()
    place()
    for user in (auditor, superuser):
        client = browser(user)
        for query in ("", "p=2", "q=nothing", "type=note.written"):
            with CaptureQueriesContext(connection) as captured:
                page = client.get(f"{PAGE}?{query}")
            asked = [row["sql"] for row in captured if "events_event" in row["sql"]]
            counts = [sql for sql in asked if "COUNT" in sql]
            assert counts
            assert [sql for sql in counts if "LIMIT 150" not in sql] == []
            assert not [sql for sql in asked if "DISTINCT" in sql]
        assert page.context["cl"].result_count == 150


def test_only_what_has_an_index_is_sought_in_the_whole_log(
    auditor: User, superuser: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may read few events would have all others read, for each page."""
    monkeypatch.setattr(event_admin, "SEARCHED", 5)
    older = write("everyone", subject="auth.group/1", actor="alice", type="note.shouted")
    events = [write("everyone", actor="alice") for _ in range(5)]
    place()
    since = log.head().position - 5
    for user in (auditor, superuser):
        for query in ("", "q=alice", "q=auth.group/1", "type=", "timestamp__year=2026"):
            page = browser(user).get(f"{PAGE}?{query}")
            found = {event.pk for event in page.context["cl"].result_list}
            assert found <= {event.pk for event in events}, query
            assert f"after position {since} were" in page.content.decode()
        for query in ("type=note.shouted", "subject__exact=auth.group/1"):
            page = browser(user).get(f"{PAGE}?{query}")
            assert [event.pk for event in page.context["cl"].result_list] == [older.pk]
            assert "were searched" not in page.content.decode()
        assert browser(user).get(f"{PAGE}{older.pk}/change/").status_code == 200


def test_a_log_that_was_searched_to_its_beginning_has_no_note(auditor: User) -> None:
    write()
    place()
    assert "were searched" not in browser(auditor).get(PAGE).content.decode()


def test_an_events_page_shows_its_data_as_text(auditor: User) -> None:
    event = write("everyone", text="<script>alert(1)</script> Grüße", nested={"a": [1, None]})
    place()
    page = browser(auditor).get(f"{PAGE}{event.pk}/change/").content.decode()
    assert "<script>alert" not in page
    text = html.unescape(page)
    assert '"text": "<script>alert(1)</script> Grüße"' in text
    assert '"nested": {\n' in text
    assert format_timestamp(event.timestamp) in text


def test_subject_and_actor_lead_to_their_events(auditor: User) -> None:
    write(subject="auth.group/1&x=<b>", actor="a b&c")
    place()
    page = html.unescape(browser(auditor).get(PAGE).content.decode())
    assert '?subject__exact=auth.group%2F1%26x%3D%3Cb%3E"' in page
    assert '?actor_username__exact=a+b%26c"' in page


class TrailAdmin(EventTrailMixin, ModelAdmin):
    pass


def visit_trail(user: User, group: Group, query: str = "") -> str:
    """The text of the group's history page, without what all the admin's pages show."""
    request = RequestFactory().get(f"/?{query}")
    request.user = user
    request.session = SessionStore()
    response: Any = TrailAdmin(Group, site).history_view(request, str(group.pk))
    return html.unescape(response.render().content.decode()).split('id="change-history"')[1]


@pytest.fixture
def group(auditor: User) -> Group:
    auditor.user_permissions.add(Permission.objects.get(codename="view_group"))
    return Group.objects.create(name="Pilots")


def test_a_trail_says_who_changed_what_from_what_to_what(auditor: User, group: Group) -> None:
    changes = {"port": {"old": 22, "new": 2222}, "tags": {"old": ["a"], "new": None}}
    subject = f"auth.group/{group.pk}"
    write(subject=subject, actor="alice", id=1, changes=changes, items="<i>")
    write(subject=subject, actor="bob", old_status="up", new_status="down", message="gone")
    place()
    page = visit_trail(auditor, group)
    assert page.index("bob") < page.index("alice")
    assert "<strong>status</strong>: up → down" in page
    assert "<strong>port</strong>: 22 → 2222" in page
    assert '<strong>tags</strong>: ["a"] → –' in page
    assert "message: gone" in page
    assert "items: <i>" in page
    assert "Note written" in page
    assert "old_status" not in page


def test_a_trail_is_of_one_object_and_of_what_may_be_read(auditor: User, group: Group) -> None:
    subject = f"auth.group/{group.pk}"
    write(subject=subject, actor="seen")
    write("auth.delete_user", subject=subject, actor="forbidden")
    write("internal", subject=subject, actor="internal")
    write(subject=f"{subject}1", actor="elsewhere")
    write(subject=f"auth.user/{group.pk}", actor="elsewhere")
    place()
    page = visit_trail(auditor, group)
    assert "seen" in page
    for actor in ("forbidden", "internal", "elsewhere"):
        assert actor not in page


def test_a_trail_is_closed_to_those_who_may_not_see_the_object(auditor: User) -> None:
    with pytest.raises(PermissionDenied):
        visit_trail(auditor, Group.objects.create(name="Secret"))


def test_a_trail_links_to_the_log_only_for_those_who_may_see_it(
    auditor: User, group: Group
) -> None:
    event = write(subject=f"auth.group/{group.pk}")
    place()
    link = f"{PAGE}{event.pk}/change/"
    assert link in visit_trail(auditor, group)
    auditor.user_permissions.remove(Permission.objects.get(codename="view_event"))
    page = visit_trail(User.objects.get(pk=auditor.pk), group)
    assert "Note written" in page
    assert link not in page


def test_a_trail_comes_in_pages(auditor: User, group: Group) -> None:
    for number in range(51):
        write(subject=f"auth.group/{group.pk}", actor=f"actor-{number:02}")
    place()
    first, second = visit_trail(auditor, group), visit_trail(auditor, group, "p=2")
    assert "actor-50" in first
    assert "actor-01" in first
    assert "actor-00" not in first
    assert "actor-00" in second
    assert "actor-01" not in second
    assert "51 events" in first


@pytest.mark.parametrize("changes", [{"x": {}}, {"x": 1}, {"x": {"old": 1}}, [1], "text", 0])
def test_an_event_of_another_form_does_not_break_a_trail(
    auditor: User, group: Group, changes: Any
) -> None:
    write(subject=f"auth.group/{group.pk}", changes=changes, old_thing=1, type="gone.type")
    place()
    page = visit_trail(auditor, group)
    assert "changes: " in page
    assert "old_thing: 1" in page
    assert "gone.type" in page


def test_an_object_without_events_has_an_empty_trail(auditor: User, group: Group) -> None:
    assert "Nothing that you may read" in visit_trail(auditor, group)
