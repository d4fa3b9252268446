"""The wire format, as a table of values and bytes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import wire

EVENT = {
    "id": 1533,
    "type": "server.created",
    "timestamp": "2026-11-23T09:00:00.123456Z",
    "subject": "servers.server/42",
    "actor": {"id": 1, "username": "alice"},
    "data": {"id": 42, "name": "web-01", "host": "10.0.0.5", "status": "unknown"},
}


def test_event_frame_is_the_protocols_example_byte_for_byte() -> None:
    assert wire.event_frame(EVENT) == (
        b"id: 1533\n"
        b"event: server.created\n"
        b'data: {"id":1533,"type":"server.created","timestamp":"2026-11-23T09:00:00.123456Z",'
        b'"subject":"servers.server/42","actor":{"id":1,"username":"alice"},'
        b'"data":{"id":42,"name":"web-01","host":"10.0.0.5","status":"unknown"}}\n'
        b"\n"
    )


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            wire.open_frame(1532, 30.0, ["b.two", "a.one"]),
            b"retry: 3000\nid: 1532\nevent: stream.open\n"
            b'data: {"cursor":1532,"heartbeat":30,"types":["a.one","b.two"]}\n\n',
        ),
        (
            wire.open_frame(0, 0.5, []),
            b"retry: 3000\nid: 0\nevent: stream.open\n"
            b'data: {"cursor":0,"heartbeat":0.5,"types":[]}\n\n',
        ),
        (wire.heartbeat_frame(7), b'id: 7\nevent: heartbeat\ndata: {"cursor":7}\n\n'),
        (
            wire.reset_frame("retention", 9),
            b'id: 9\nevent: stream.reset\ndata: {"reason":"retention","cursor":9}\n\n',
        ),
        (wire.closing_frame("lifetime"), b'event: stream.closing\ndata: {"reason":"lifetime"}\n\n'),
        (
            wire.closing_frame("drain", 1234),
            b'retry: 1234\nevent: stream.closing\ndata: {"reason":"drain"}\n\n',
        ),
    ],
)
def test_frames_of_the_stream_itself(frame: bytes, expected: bytes) -> None:
    assert frame == expected


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\r\nb", "a\rb", "\n\ndata: forged\n\n", "\u2028", "\x00", "\ud800", "ü", "🚀"],
)
def test_no_text_breaks_the_frame(text: str) -> None:
    frame = wire.frame("x", {"text": text}, position=1)
    assert frame.count(b"\n") == 4
    assert b"\r" not in frame
    assert frame.endswith(b"\n\n")


@given(st.text())
def test_every_text_comes_back_as_it_was(text: str) -> None:
    import json

    encoded = wire.encode_json({"text": text})
    assert json.loads(encoded.decode()) == {"text": text}


def test_text_is_utf8_where_it_can_be() -> None:
    assert wire.encode_json("Zürich") == '"Zürich"'.encode()


def test_lone_surrogate_is_escaped() -> None:
    assert wire.encode_json("\ud800ü") == b'"\\ud800\\u00fc"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_lacks_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.encode_json(value)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC), "2026-11-23T09:00:00.000000Z"),
        (
            datetime(2026, 11, 23, 9, 0, 0, 5, tzinfo=timezone(timedelta(hours=2))),
            "2026-11-23T07:00:00.000005Z",
        ),
    ],
)
def test_timestamps_are_utc_with_microseconds(moment: datetime, text: str) -> None:
    assert wire.format_timestamp(moment) == text


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0", 0),
        ("1532", 1532),
        ("0001532", 1532),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2**63 - 1),
        ("1" + "0" * 30, 2**63 - 1),
        ("0" * 5000 + "7", 7),
        ("9" * 100_000, 2**63 - 1),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        (" 1", None),
        ("1_000", None),
        ("", None),
        ("abc", None),
        ("٣", None),
        ("²", None),
    ],
)
def test_positions_as_clients_send_them(text: str, position: int | None) -> None:
    assert wire.parse_position(text) == position


@pytest.mark.parametrize("text", ["a", "server.created", "a.b_c.d2", "stats"])
def test_what_can_name_a_type(text: str) -> None:
    assert wire.is_type(text)


@pytest.mark.parametrize(
    "text",
    ["", "Server.created", "a.B", "a.", ".a", "a..b", "a.*", "2.a", "a b", "a.b\n", "a.ä", "a-b"],
)
def test_what_can_name_no_type(text: str) -> None:
    assert not wire.is_type(text)
