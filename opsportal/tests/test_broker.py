"""The broker of folders: many may send and take at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection
from kombu.exceptions import ChannelError

from opsportal.broker import Transport

pytestmark = pytest.mark.stack("embedded")  # the broker of the other stack is Redis

MESSAGES = 300
TAKERS = 2


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Any]:
    names = ("data_folder_in", "data_folder_out", "processed_folder", "control_folder")
    folders = dict.fromkeys(names, str(tmp_path))
    with Connection("filesystem://", transport=Transport, transport_options=folders) as connection:
        yield connection.channel()


def test_messages_that_are_taken_while_others_are_written_are_whole_and_taken_once(
    channel: Any,
) -> None:
    taken: list[dict[str, int]] = []
    over = threading.Event()

    def take() -> None:
        while True:
            was_over = over.is_set()
            try:
                taken.append(channel._get("jobs"))
            except Empty:
                if was_over:
                    return

    takers = [threading.Thread(target=take) for _ in range(TAKERS)]
    for taker in takers:
        taker.start()
    for number in range(MESSAGES):
        channel._put("jobs", {"number": number})
    over.set()
    for taker in takers:
        taker.join()
    assert sorted(message["number"] for message in taken) == list(range(MESSAGES))


def test_messages_are_taken_in_the_order_in_which_they_were_sent(channel: Any) -> None:
    for number in range(50):
        channel._put("jobs", {"number": number})
    assert [channel._get("jobs")["number"] for _ in range(50)] == list(range(50))


def test_a_folder_that_is_gone_is_an_error_of_the_broker(channel: Any, tmp_path: Path) -> None:
    tmp_path.rmdir()
    with pytest.raises(ChannelError):
        channel._put("jobs", {})
