import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from servers import tcp

ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 22))


def resolved(*_: Any, **__: Any) -> list[tcp.AddressInfo]:
    return [ADDRESS]


def unknown(*_: Any, **__: Any) -> list[tcp.AddressInfo]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.asyncio
async def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    assert await tcp.resolve("one.example", 22) == [ADDRESS]
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        await tcp.resolve("one.example", 22)


@pytest.mark.parametrize("loop_is_closed", [True, False])
@pytest.mark.parametrize("answer", [resolved, unknown])
def test_a_late_answer_holds_up_and_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[], list[tcp.AddressInfo]],
    loop_is_closed: bool,
) -> None:
    release = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> list[tcp.AddressInfo]:
        assert release.wait(10)
        return answer()

    def answer_late() -> None:
        release.set()
        for thread in lookups():
            thread.join(10)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await tcp.resolve("late.example", 22)
        if not loop_is_closed:
            answer_late()
            await asyncio.sleep(0)  # lets the loop take what the thread has left for it

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    asyncio.run(give_up())
    assert bool(lookups()) is loop_is_closed
    answer_late()
    # A thread that dies of an exception fails the test too, as a warning.
    assert caplog.records == []


def lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "resolve"]
