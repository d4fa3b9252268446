"""Identical requests to real web processes."""

from __future__ import annotations

import json
import sqlite3
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from tests.held import noted
from tests.portal import Portal, Web
from tests.readers import bearer, make_user
from tests.services import Redis, wait_until

TIMEOUT = 60.0  # seconds that must not go by
SETTINGS = "tests.held_settings"
TLS = ssl.create_default_context()  # which a client makes for itself otherwise, slowly
STATS = "/api/v1/dashboard/stats/"
SERVERS = "/api/v1/servers/"

MAKE_CAST = """
import json
from django.contrib.auth.models import Group, User
from rest_framework_simplejwt.tokens import AccessToken
roles = {"ann": "Viewer", "ben": "Viewer", "oskar": "Operator", "nobody": ""}
cast = {name: User.objects.create(username=name) for name in roles}
for name, user in cast.items():
    user.groups.set(Group.objects.filter(name=roles[name]))
print("CAST", json.dumps({name: str(AccessToken.for_user(user)) for name, user in cast.items()}))
"""


@dataclass
class Held:
    """A portal with the views of tests/held.py, its web processes, and tokens by user."""

    portal: Portal
    webs: list[Web]
    cast: dict[str, str]


class Crowd:
    """Requests of one test at once, each in a thread and on a connection of its own."""

    def __init__(self, executor: ThreadPoolExecutor, directory: Path, test: str) -> None:
        self.executor = executor
        self.test = test
        self.directory = directory / test
        self.directory.mkdir()

    def path(self, view: str = "held") -> str:
        return f"/{view}/{self.test}/"

    def send(self, web: Web, token: str, path: str = "") -> Future[httpx.Response]:
        return self.executor.submit(get, web, token, path or self.path())

    def wait_for(self, arrived: int, computed: int = 0) -> None:
        """Until so many requests have passed their checks, and so many computations have begun."""

        def reached() -> bool:
            return len(self.arrived()) >= arrived and len(self.computed()) >= computed

        wait_until(reached, TIMEOUT, f"{arrived} requests arrived, {computed} computations began")

    def arrived(self) -> list[int]:
        return noted(self.directory, "arrived")

    def computed(self) -> list[int]:
        """The ids of the processes that did."""
        return noted(self.directory, "computed")

    def open_gate(self) -> None:
        (self.directory / "gate").touch()


def get(web: Web, token: str, path: str) -> httpx.Response:
    url = web.url(path)
    return httpx.get(url, headers=bearer(token), timeout=TIMEOUT, trust_env=False, verify=TLS)


@pytest.fixture(scope="module")
def held(module_portals: Callable[..., Portal]) -> Held:
    """With two web processes."""
    portal = module_portals(DJANGO_SETTINGS_MODULE=SETTINGS)
    cast = json.loads(portal.shell(MAKE_CAST).split("CAST ")[1])
    return Held(portal, [portal.serve(), portal.serve()], cast)


@pytest.fixture
def crowd_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Portal], Crowd]]:
    with ThreadPoolExecutor(200) as executor:
        yield lambda portal: Crowd(executor, portal.directory, request.node.name)


CrowdOf = Callable[[Portal], Crowd]


def test_two_hundred_requests_at_once_are_computed_once(
    stack: str, held: Held, crowd_of: CrowdOf
) -> None:
    """Once in all with a cache that the processes share, else once in each of them."""
    crowd = crowd_of(held.portal)
    askers = cycle([(web, held.cast[name]) for web in held.webs for name in ("ann", "ben")])
    futures = [crowd.send(*next(askers)) for _ in range(200)]
    crowd.wait_for(arrived=200, computed=1)
    crowd.open_gate()
    responses = [future.result(TIMEOUT) for future in futures]
    assert {response.status_code for response in responses} == {200}
    computed = crowd.computed()
    assert len(computed) == len(set(computed)) == (1 if stack == "scaled" else 2)
    assert {response.json()["process"] for response in responses} == set(computed)
    roles = Counter(response.headers["X-Deduplicated"] for response in responses)
    assert roles["leader"] == len(computed)
    assert roles["follower"]


def test_different_rights_are_never_answered_together(
    stack: str, held: Held, crowd_of: CrowdOf
) -> None:
    crowd = crowd_of(held.portal)
    tokens = {name: held.cast[name] for name in ("ann", "oskar", "nobody")}
    webs = held.webs * 3
    futures = [(name, crowd.send(web, token)) for name, token in tokens.items() for web in webs]
    crowd.wait_for(arrived=len(futures), computed=3)
    crowd.open_gate()
    rights: dict[str, set[tuple[str, ...]]] = {name: set() for name in tokens}
    for name, future in futures:
        rights[name].add(tuple(future.result(TIMEOUT).json()["rights"]))
    assert rights["nobody"] == {("everyone",)}
    [viewer], [operator] = rights["ann"], rights["oskar"]
    assert {"everyone", "servers.view_server"} <= set(viewer) < set(operator)
    assert len(crowd.computed()) == (3 if stack == "scaled" else 6)


def commands(url: str) -> int:
    """How often this Redis has been asked for a value."""
    with redis.Redis.from_url(url) as client:
        statistics: Any = client.info("commandstats")
        return int(statistics.get("cmdstat_get", {}).get("calls", 0))


def wait_until_it_waits(crowd: Crowd, portal: Portal, arrived: int) -> None:
    """Until a process looks again and again whether the other one has an answer."""
    crowd.wait_for(arrived=arrived)
    url = portal.environment["REDIS_URL"]
    before = commands(url)
    wait_until(lambda: commands(url) > before + 4, TIMEOUT, "the other process waits")


@pytest.mark.stack("scaled")
def test_a_leader_that_is_killed_is_replaced_in_the_other_process(
    held: Held, crowd_of: CrowdOf
) -> None:
    crowd = crowd_of(held.portal)
    token = held.cast["ann"]
    first, second = held.portal.serve(), held.webs[1]
    lost = crowd.send(first, token, crowd.path("shortly-held"))
    crowd.wait_for(arrived=1, computed=1)
    followers = [crowd.send(second, token, crowd.path("shortly-held")) for _ in range(3)]
    crowd.wait_for(arrived=4)
    held.portal.kill(first)
    crowd.open_gate()
    assert isinstance(lost.exception(TIMEOUT), httpx.TransportError)
    answers = [follower.result(TIMEOUT) for follower in followers]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["process"] for answer in answers} == {second.pid}
    assert crowd.computed()[:2] == [first.pid, second.pid]


@pytest.mark.stack("scaled")
def test_a_failure_reaches_the_other_process_and_is_forgotten(
    held: Held, crowd_of: CrowdOf
) -> None:
    crowd = crowd_of(held.portal)
    token = held.cast["ann"]
    first, second = held.webs
    path = f"{crowd.path()}?fail=1"
    futures = [crowd.send(first, token, path)]
    crowd.wait_for(arrived=1, computed=1)
    futures.append(crowd.send(second, token, path))
    wait_until_it_waits(crowd, held.portal, arrived=2)
    crowd.open_gate()
    for future in futures:
        answer = future.result(TIMEOUT)
        assert answer.status_code == 409
        assert answer.json() == {"detail": f"Refused by {first.pid}."}
    assert crowd.computed() == [first.pid]
    again = get(second, token, path)
    assert again.json() == {"detail": f"Refused by {second.pid}."}


@pytest.mark.stack("scaled")
def test_who_waits_holds_no_connection_to_postgresql(
    portal_factory: Callable[..., Portal], crowd_of: CrowdOf
) -> None:
    portal = portal_factory(DJANGO_SETTINGS_MODULE=SETTINGS, DATABASE_POOL_SIZE=3)
    crowd = crowd_of(portal)
    token = make_user(portal, "ann", "Viewer")
    web = portal.serve()
    futures = [crowd.send(web, token) for _ in range(20)]
    # Each has been authenticated by then, over one of the pool's connections.
    crowd.wait_for(arrived=20, computed=1)
    assert get(web, token, SERVERS).status_code == 200
    sessions = "SELECT xact_start IS NOT NULL FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(portal.environment["DATABASE_URL"], autocommit=True) as connection:

        def in_transactions() -> list[bool]:
            rows = connection.execute(
                f"{sessions} AND pid <> pg_backend_pid()", [connection.info.dbname]
            )
            return [row[0] for row in rows]

        assert len(in_transactions()) <= 3
        wait_until(lambda: not any(in_transactions()), TIMEOUT, "nobody is in a transaction")
    crowd.open_gate()
    assert {future.result(TIMEOUT).status_code for future in futures} == {200}
    assert len(crowd.computed()) == 1


@pytest.mark.stack("embedded")
def test_who_waits_lets_others_write_to_sqlite(held: Held, crowd_of: CrowdOf) -> None:
    crowd = crowd_of(held.portal)
    futures = [crowd.send(held.webs[0], held.cast["ann"]) for _ in range(20)]
    crowd.wait_for(arrived=20, computed=1)
    writer = sqlite3.connect(held.portal.directory / "db.sqlite3", timeout=TIMEOUT / 2)
    writer.execute("BEGIN IMMEDIATE")  # which takes the one lock for writing
    writer.rollback()
    writer.close()
    assert len(crowd.computed()) == 1
    crowd.open_gate()
    assert {future.result(TIMEOUT).status_code for future in futures} == {200}


@pytest.mark.stack("scaled")
def test_without_redis_requests_are_answered(held: Held, tmp_path: Path) -> None:
    shared = held.portal.environment
    with (
        Redis() as own,
        Portal(
            tmp_path, shared["DATABASE_URL"], own.url, SECRET_KEY=shared["SECRET_KEY"]
        ) as portal,
    ):
        token = held.cast["ann"]
        web = portal.serve()
        assert get(web, token, STATS).json()["servers"]["total"] == 0
        own.stop()
        for _ in range(2):
            answer = get(web, token, STATS)
            assert answer.status_code == 200
            assert answer.json()["servers"]["total"] == 0
            assert answer.headers["X-Deduplicated"] == "leader"
        own.start()
        wait_until(
            lambda: get(web, token, STATS).headers["X-Deduplicated"] == "cached",
            TIMEOUT,
            "answers are kept again",
        )
