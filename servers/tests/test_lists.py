"""The list of servers: what is picked, in which order, and at what cost."""

from __future__ import annotations

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from servers.models import Credential, Environment, Server
from servers.tests.cast import SERVERS, Person, create_server, path_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet(environment: Environment) -> list[Server]:
    staging = Environment.objects.get_or_create(name="staging")[0]
    now = timezone.now()
    return Server.objects.bulk_create(
        [
            Server(name="api-01", host="10.0.0.3", environment=environment, tags=["web", "eu"]),
            Server(name="db-01", host="db.example", environment=staging, tags=["web-db"]),
            Server(
                name="web-01",
                host="10.0.0.1",
                environment=environment,
                tags=["web"],
                status="failed",
                last_tested_at=now,
                last_test_latency=7.5,
            ),
            Server(name="Zulu", host="10.0.0.2", tags=[], status="failed"),
        ]
    )


def names(person: Person, query: str) -> list[str]:
    response = person.call("get", f"{SERVERS}?{query}")
    assert response.status_code == 200, response.content
    return [row["name"] for row in response.json()["results"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=failed", {"web-01", "Zulu"}),
        ("status=testing", set()),
        ("environment=production", {"api-01", "web-01"}),
        ("environment=nowhere", set()),
        ("tag=web", {"api-01", "web-01"}),
        ("tag=we", set()),
        ("tag=web-db", {"db-01"}),
        ("search=01", {"api-01", "db-01", "web-01"}),
        ("search=ZULU", {"Zulu"}),
        ("search=10.0.0.", {"api-01", "web-01", "Zulu"}),
        ("search=%25", set()),
        ("search=_", set()),
        ("status=failed&environment=production", {"web-01"}),
        ("status=&environment=&tag=&search=", {"api-01", "db-01", "web-01", "Zulu"}),
    ],
)
def test_filters_pick(viewer: Person, fleet: list[Server], query: str, expected: set[str]) -> None:
    assert set(names(viewer, query)) == expected


def test_ordering_works_both_ways(viewer: Person, fleet: list[Server]) -> None:
    hosts = ["web-01", "Zulu", "api-01", "db-01"]
    assert names(viewer, "ordering=host") == hosts
    assert names(viewer, "ordering=-host") == hosts[::-1]
    assert set(names(viewer, "ordering=status,-host")[:2]) == {"Zulu", "web-01"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=broken", "status"),
        ("ordering=credential", "ordering"),
        ("ordering=password", "ordering"),
        ("environment=%00", "environment"),
        ("search=%00", "search"),
        ("tag=%00", "tag"),
        ("tag=Web", "tag"),
        ("tag=,%20", "tag"),
        ("tag=%22", "tag"),
    ],
)
def test_a_bad_filter_value_is_400_by_its_name(
    viewer: Person, fleet: list[Server], query: str, field: str
) -> None:
    response = viewer.call("get", f"{SERVERS}?{query}")
    assert response.status_code == 400
    assert response.json()["detail"]
    assert list(response.json()["errors"]) == [field]


def test_pages_hold_every_row_once(viewer: Person) -> None:
    created = Server.objects.bulk_create(
        [Server(name=f"n{number:03}", host="h", username="u") for number in range(120)]
    )
    url: str | None = f"{SERVERS}?page_size=50&ordering=host"
    seen: list[int] = []
    pages = 0
    while url:
        page = viewer.call("get", url).json()
        assert page["count"] == 120
        seen += [row["id"] for row in page["results"]]
        url, pages = page["next"], pages + 1
    assert sorted(seen) == sorted(server.pk for server in created)
    assert pages == 3
    assert len(viewer.call("get").json()["results"]) == 50


@pytest.mark.parametrize("page", ["0", "2", "-1", "x", "9" * 30])
def test_a_page_that_is_not_there_is_404(viewer: Person, server: Server, page: str) -> None:
    response = viewer.call("get", f"{SERVERS}?page={page}")
    assert (response.status_code, set(response.json())) == (404, {"detail"})


def test_a_page_has_a_greatest_size(viewer: Person) -> None:
    Server.objects.bulk_create(
        [Server(name=str(number), host="h", username="u") for number in range(501)]
    )
    assert len(viewer.call("get", f"{SERVERS}?page_size=100000").json()["results"]) == 500


def fill(count: int) -> None:
    """Servers in two environments, with a credential each, past the events."""
    environments = [Environment.objects.get_or_create(name=name)[0] for name in ("eu", "us")]
    secret = {"kind": "password", "secret": "swordfish"}
    credential = Credential.objects.get_or_create(secret, name="shared")[0]
    rows: models.QuerySet[Server] = models.QuerySet(Server)  # without the events
    rows.bulk_create(
        Server(
            name=f"s{count}-{number:04}",
            host="h",
            username="u",
            environment=environments[number % 2],
            shared_credential=credential,
            tags=["web", f"t{number % 7}"],
            status=["success", "failed"][number % 2],
        )
        for number in range(count)
    )


@pytest.mark.parametrize(
    "query",
    [
        "page_size=50",
        "page_size=50&ordering=-host,status&page=2",
        "page_size=50&status=failed&environment=us&tag=web&search=s&maintenance=false",
    ],
)
def test_a_list_of_5000_takes_no_more_queries_than_one_of_100(viewer: Person, query: str) -> None:
    counts = []
    for size in (100, 5_000):
        fill(size)
        with CaptureQueriesContext(connection) as queries:
            response = viewer.call("get", f"{SERVERS}?{query}")
        assert response.status_code == 200
        assert len(response.json()["results"]) >= 10
        counts.append(len(queries))
    assert counts[0] == counts[1] < 10


def test_one_of_many_takes_as_few_queries_as_one_alone(viewer: Person) -> None:
    counts = []
    for size in (1, 5_000):
        fill(size)
        with CaptureQueriesContext(connection) as queries:
            assert viewer.call("get", path_of(Server.objects.latest("pk"))).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] < 10


@pytest.mark.parametrize("order", ["host", "-host", "status", "-status,host", "last_tested_at"])
def test_servers_that_are_alike_keep_their_places(viewer: Person, order: str) -> None:
    for number in (2, 0, 3, 1):
        create_server(f"s{number}")
    pages = [names(viewer, f"ordering={order}&page_size=1&page={page}") for page in range(1, 5)]
    assert pages == [["s2"], ["s0"], ["s3"], ["s1"]]


def test_maintenance_picks_those_in_it_now(viewer: Person) -> None:
    now = timezone.now()
    create_server("none")
    create_server("over", maintenance_until=now)
    create_server("now", maintenance_until=now.replace(year=2999))
    assert names(viewer, "maintenance=true") == ["now"]
    assert set(names(viewer, "maintenance=false")) == {"none", "over"}
