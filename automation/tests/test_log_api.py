"""A run's log on the REST API: whole, in parts, and as the bytes that were printed."""

from __future__ import annotations

from typing import Any

import pytest

from automation import excerpt, log
from automation.lines import STDERR, STDOUT, SYSTEM, Line
from automation.models import LogBatch, Run
from automation.tests.making import create_run, end
from servers.models import Server
from servers.tests.cast import Person, create_server, place_events

pytestmark = pytest.mark.django_db

PRINTED = [
    (1, STDOUT, b"hello\n"),
    (2, STDOUT, b"\x1b[31mred\x1b[0m \xff\xfe\x00 half"),
    (1, STDERR, b"Oh: \xc3\xa4rger\n"),
    (0, SYSTEM, b"A remark.\n"),
    (2, STDOUT, b" whole\r\n"),
    (1, STDOUT, b"HELLO again"),
]


@pytest.fixture
def run(server: Server) -> Run:
    """Of web-01 and web-02, which printed PRINTED, two lines in a batch."""
    run = create_run(server, create_server("web-02"))
    names = log.names_of(run)
    for begin in range(0, len(PRINTED), 2):
        pair = PRINTED[begin : begin + 2]
        log.append(run, [Line(target, stream, 1, raw) for target, stream, raw in pair], names)
    run.save()
    return run


def read(person: Person, run: Run, query: str = "") -> Any:
    return person.call("get", f"/api/v1/runs/{run.pk}/log/?{query}")


def seqs(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.content
    return [line["seq"] for line in answer.json()["lines"]]


def test_the_log_is_told_as_by_its_events(viewer: Person, run: Run) -> None:
    head = place_events()
    response = read(viewer, run)
    assert int(response["X-Event-Cursor"]) == head
    told = response.json()
    assert told["lines"] == log.page(run)
    assert told["lines"][1]["partial"] is True
    assert told["lines"][1]["server"] == "web-02"
    assert told | {"lines": []} == {
        "lines": [],
        "cursor": 6,
        "more": False,
        "complete": False,
        "dropped": 0,
    }


@pytest.mark.parametrize(
    ("query", "expected", "cursor", "more"),
    [
        ("after=2", [3, 4, 5, 6], 6, False),
        ("limit=2", [1, 2], 2, True),
        ("after=4&limit=2", [5, 6], 6, False),
        ("after=6", [], 6, False),
        ("after=9223372036854775806", [], 2**63 - 2, False),
        ("server=web-02", [2, 5], 6, False),
        ("server=web-01&stream=stderr", [3], 6, False),
        ("stream=system", [4], 6, False),
        ("server=&stream=&search=", [1, 2, 3, 4, 5, 6], 6, False),
        ("search=hello", [1, 6], 6, False),
        ("search=ÄRGER", [3], 6, False),
        ("search=%20whole", [5], 6, False),
        ("search=nothing", [], 6, False),
        ("search=hello&limit=1", [1], 1, True),
        ("search=hello&limit=1&after=1", [6], 6, False),
    ],
)
def test_a_part_is_asked_for(
    viewer: Person, run: Run, query: str, expected: list[int], cursor: int, more: bool
) -> None:
    answer = read(viewer, run, query)
    assert seqs(answer) == expected
    assert (answer.json()["cursor"], answer.json()["more"]) == (cursor, more)


def test_a_log_is_complete_when_its_run_is_over_and_all_is_given(viewer: Person, run: Run) -> None:
    assert not read(viewer, run).json()["complete"]
    end(run, "failed", "failed", "succeeded")
    Run.objects.update(log_dropped=17)
    assert not read(viewer, run, "limit=5").json()["complete"]
    told = read(viewer, run, "after=5").json()
    assert (told["complete"], told["dropped"]) == (True, 17)
    LogBatch.objects.all().delete()
    told = read(viewer, run).json()
    assert (told["lines"], told["cursor"], told["complete"]) == ([], 6, True)


def test_a_part_is_bounded_and_the_next_goes_on_behind_it(
    viewer: Person, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few lines a filter finds, and however long they are."""
    for name, value, query in (("EXAMINED", 2, "search=again"), ("BYTES", 10, "")):
        with monkeypatch.context() as patch:
            patch.setattr(excerpt, name, value)
            found: list[int] = []
            answers = [read(viewer, run, query)]
            while answers[-1].json()["more"]:
                found += seqs(answers[-1])
                after = answers[-1].json()["cursor"]
                answers.append(read(viewer, run, f"{query}&after={after}"))
            found += seqs(answers[-1])
        assert len(answers) >= 3
        assert found == ([6] if query else [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=-1", "after"),
        ("after=9223372036854775807", "after"),
        ("after=x", "after"),
        ("limit=0", "limit"),
        ("limit=5001", "limit"),
        ("server=db-01", "server"),
        ("server=%00", "server"),
        ("stream=stdin", "stream"),
        ("search=%00", "search"),
        ("before=3", "before"),
        ("format=text&after=0", "after"),
        ("format=text&limit=5", "limit"),
        ("format=text&search=a", "search"),
        ("format=text&server=db-01", "server"),
    ],
)
def test_what_cannot_be_asked_for_is_named(
    viewer: Person, run: Run, query: str, field: str
) -> None:
    response = read(viewer, run, query)
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert list(response.json()["errors"]) == [field]


# As text.


@pytest.mark.parametrize(
    ("query", "numbers", "name"),
    [
        ("", (0, 1, 2, 4, 5), ""),
        ("&server=web-02", (1, 4), "-web-02"),
        ("&stream=stderr", (2,), "-stderr"),
        ("&server=web-01&stream=stdout", (0, 5), "-web-01-stdout"),
        ("&stream=system", (3,), "-system"),
    ],
)
def test_as_text_it_is_what_was_printed_byte_for_byte(
    viewer: Person, run: Run, query: str, numbers: tuple[int, ...], name: str
) -> None:
    head = place_events()
    response = read(viewer, run, f"format=text{query}")
    assert response.status_code == 200
    assert response.content == b"".join(PRINTED[number][2] for number in numbers)
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"] == f'attachment; filename="run-{run.pk}{name}.log"'
    assert int(response["X-Event-Cursor"]) == head
    assert not response.streaming


def test_text_can_be_asked_for_by_its_media_type(viewer: Person, run: Run) -> None:
    path = f"/api/v1/runs/{run.pk}/log/"
    response = viewer.api.get(path, headers={"Accept": "text/plain"})
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert viewer.api.get(path, headers={"Accept": "text/csv"}).status_code == 406


def test_a_name_of_a_server_does_not_get_into_the_header(viewer: Person, run: Run) -> None:
    run.targets.filter(position=2).update(name='../"évil\u202e')
    response = read(viewer, run, 'format=text&server=../"évil%E2%80%AE')
    assert response["Content-Disposition"] == f'attachment; filename="run-{run.pk}-evil.log"'
    run.targets.filter(position=2).update(name="服务器")
    response = read(viewer, run, "format=text&server=服务器")
    assert response["Content-Disposition"] == f'attachment; filename="run-{run.pk}-2.log"'
