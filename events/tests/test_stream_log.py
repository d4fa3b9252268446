"""Each stream's end is one line, with its reason."""

from __future__ import annotations

import logging

import pytest
from django.contrib.auth.models import User

from events.cohorts import Filter
from events.hub import Hub
from events.stream_log import logged
from events.streams import Stream
from events.tests.streaming import connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "events.stream_log")
    return caplog


def ends(lines: pytest.LogCaptureFixture) -> list[str]:
    """What was said of ends, without the seconds."""
    texts = (line.getMessage() for line in lines.records if line.name == "events.stream_log")
    return [text.rpartition(", after ")[0] for text in texts]


async def opened(hub: Hub, user: User) -> Stream:
    stream = hub.open(0, user.pk, Filter())
    assert await stream.admitted()
    return stream


async def test_a_client_that_goes_has_left(
    hub: Hub, reader: User, lines: pytest.LogCaptureFixture
) -> None:
    with logged(await opened(hub, reader)):
        assert ends(lines) == []
    assert ends(lines) == [f"Stream of user {reader.pk} ended: left"]


async def test_the_first_reason_that_the_server_gives_is_told(
    hub: Hub, reader: User, lines: pytest.LogCaptureFixture
) -> None:
    stream = await opened(hub, reader)
    with logged(stream):
        stream.end("lifetime")
        stream.end("drain")
        assert b"lifetime" in await stream.next_chunk()
    assert ends(lines) == [f"Stream of user {reader.pk} ended: lifetime"]


async def test_a_client_that_takes_no_bytes_has_not_left(
    hub: Hub, reader: User, lines: pytest.LogCaptureFixture
) -> None:
    stream = await opened(hub, reader)
    with logged(stream):
        stream.sending_since = float("-inf")
        hub._sweep(hub.time())
    assert ends(lines) == [f"Stream of user {reader.pk} ended: write_timeout"]


async def test_an_error_of_ours_is_told_as_one_and_goes_on(
    hub: Hub, reader: User, lines: pytest.LogCaptureFixture
) -> None:
    stream = await opened(hub, reader)
    with pytest.raises(ZeroDivisionError), logged(stream):
        raise ZeroDivisionError
    assert ends(lines) == [f"Stream of user {reader.pk} ended: error"]


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("ticket=SECRET", "401, The ticket is not valid, was used, or has expired."),
        ("ticket=SECRET%0aX", "400, must be as events/ticket/ gave it."),
        ("SECRET%0aX=1", "400, unknown parameter."),
        ("ticket=SECRET&types=SECRET", "400, must list event types such as server.created or"),
    ],
)
async def test_a_refusal_is_one_line_without_what_was_sent(
    hub: Hub, lines: pytest.LogCaptureFixture, query: str, line: str
) -> None:
    async with connected(None, query) as client:
        await client.until(lambda: client.ended)
    (record,) = (each for each in lines.records if each.name == "events.stream_log")
    assert record.levelname == "INFO"
    assert record.getMessage().startswith(f"A stream was refused: {line}")
    assert "SECRET" not in lines.text
