"""Who takes part in the tests, and what they may know of each other.

A person for each role, `outsider`, who is logged in and has no role, and `anonymous`. Each fixture
is a Person; `people` is all of them by name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from events import log
from events.models import Event
from events.relay import relay
from servers.models import Environment, Server

ROLES = ("viewer", "responder", "operator", "admin")
EVERYBODY = (*ROLES, "outsider", "anonymous")
PASSWORD = "correct horse"
SERVERS = "/api/v1/servers/"


@dataclass(frozen=True, slots=True)
class Person:
    """A user, or nobody, and how they call the API: with a token of theirs."""

    api: APIClient
    user: Any = None

    def call(self, method: str, path: str = SERVERS, data: Any = None) -> Any:
        """The test client's response."""
        # Encoded here, as the client cannot encode what a hostile one may: lone surrogates.
        body = "" if data is None else json.dumps(data)
        return self.api.generic(method.upper(), path, body, content_type="application/json")


@dataclass(frozen=True, slots=True)
class Job:
    """A Celery task that waits to be run."""

    task: str
    arguments: list[Any]


@functools.cache
def password_hash() -> str:
    return make_password(PASSWORD)  # which takes long, on purpose


def create_person(name: str) -> Person:
    """A person of EVERYBODY; the password of all is PASSWORD."""
    if name == "anonymous":
        return Person(APIClient())
    user = get_user_model().objects.create(username=name, password=password_hash())
    if name in ROLES:
        user.groups.add(Group.objects.get(name=name.capitalize()))
    return Person(client_of(user), user)


def client_of(user: User) -> APIClient:
    return APIClient(headers={"Authorization": authorization_of(user)})


def authorization_of(user: User) -> str:
    """The header's value, with a token of this user."""
    return f"Bearer {AccessToken.for_user(user)}"


def create_server(name: str = "web-01", **values: Any) -> Server:
    defaults = {"host": "10.0.0.5", "username": "ops", "credential": "swordfish"}
    return Server.objects.create(name=name, **(defaults | values))


def path_of(server: Server, action: str = "") -> str:
    return f"{SERVERS}{server.pk}/{action and action + '/'}"


@contextmanager
def recorded_events() -> Iterator[list[Event]]:
    """A list that holds, after the block, the events that were emitted in it, in order."""
    last = Event.objects.order_by("pk").last()
    events: list[Event] = []
    yield events
    events += Event.objects.filter(pk__gt=last.pk if last else 0).order_by("pk")


def place_events() -> int:
    """Gives the events so far their positions, as the relay does; returns the log's head."""
    while log.sequence():
        pass
    return log.head().position


@pytest.fixture
def people(db: None) -> dict[str, Person]:
    return {name: create_person(name) for name in EVERYBODY}


@pytest.fixture
def viewer(db: None) -> Person:
    return create_person("viewer")


@pytest.fixture
def responder(db: None) -> Person:
    return create_person("responder")


@pytest.fixture
def operator(db: None) -> Person:
    return create_person("operator")


@pytest.fixture
def admin(db: None) -> Person:
    return create_person("admin")


@pytest.fixture
def outsider(db: None) -> Person:
    return create_person("outsider")


@pytest.fixture
def anonymous(db: None) -> Person:
    return create_person("anonymous")


@pytest.fixture
def environment(db: None) -> Environment:
    return Environment.objects.get_or_create(name="production")[0]


@pytest.fixture
def server(db: None) -> Server:
    return create_server()


@pytest.fixture
def committing(
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[Any]],
) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
    """Makes contexts at whose end the test's transaction does what it would on commit."""
    yield lambda: django_capture_on_commit_callbacks(execute=True)
    # Its thread would keep a connection to the test's database.
    relay.stop()


@pytest.fixture
def jobs() -> Iterator[Callable[[], list[Job]]]:
    """Takes all jobs off Celery's queue, which is empty at the start."""
    take_jobs()
    yield take_jobs
    take_jobs()


def take_jobs() -> list[Job]:
    jobs = []
    with current_app.connection_for_read() as connection:
        channel = connection.default_channel
        queue = current_app.amqp.queues[current_app.conf.task_default_queue](channel)
        queue.declare()
        while message := queue.get(no_ack=True):
            jobs.append(Job(message.headers["task"], message.payload[0]))
    return jobs
