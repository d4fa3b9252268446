"""Whole events over the channel layer, in the groups of their audience."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from channels.layers import get_channel_layer

from events.audience import group_name
from events.log import Entry, Record

MESSAGE_TYPE: Final = "system.events"
MESSAGE_EVENTS: Final = 100  # the most events in one message


def messages(records: Iterable[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pairs of group and message, which carry each event once to every group of its audience.

    A message is `{"type": "system.events", "events": [{"audience": [key, …], "event": {…}}, …]}`
    with the events in order, each in its public form.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        item = {"audience": record.audience, "event": record.event}
        for key in record.audience:
            groups.setdefault(group_name(key), []).append(item)
    for group, items in groups.items():
        for start in range(0, len(items), MESSAGE_EVENTS):
            yield group, {"type": MESSAGE_TYPE, "events": items[start : start + MESSAGE_EVENTS]}


async def publish(records: Iterable[Record]) -> None:
    """Sends the records to their groups. Raises what the layer raises."""
    layer = get_channel_layer()
    if layer is not None:
        for group, message in messages(records):
            await layer.group_send(group, message)


def entries(message: dict[str, Any], after: int) -> Iterator[Entry]:
    """The events of a message that `publish` sent, but for those up to a position.

    An event for several groups comes several times: only the first is worth encoding.
    """
    for item in message["events"]:
        if item["event"]["id"] > after:
            yield Entry.of(item["audience"], item["event"])
