"""What is gathered is written in order and whole, and never more than there is room for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from automation import recorder
from automation.lines import STDERR, STDOUT, Line
from automation.recorder import Batch, Recorder

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis

MEGABYTE = 1_048_576


class Source:
    def __init__(self) -> None:
        self.paused = 0

    def pause(self) -> None:
        self.paused += 1

    def resume(self) -> None:
        self.paused -= 1


class Desk:
    """A recorder, and what it has written; while `open` is clear, writing takes long."""

    def __init__(self, limit: int = MEGABYTE, hidden: tuple[bytes, ...] = ()) -> None:
        self.recorder = Recorder(self._write, limit, list(hidden))
        self.batches: list[Batch] = []
        self.open = asyncio.Event()
        self.open.set()

    async def _write(self, batch: Batch) -> None:
        await self.open.wait()
        self.batches.append(batch)

    @property
    def lines(self) -> list[Line]:
        return [line for batch in self.batches for line in batch.lines]

    def text(self, stream: str = STDOUT) -> bytes:
        return b"".join(line.raw for line in self.lines if line.stream == stream)

    async def finish(self) -> None:
        self.recorder.end()
        async with asyncio.timeout(30):
            await self.recorder.run()


@pytest.mark.asyncio
async def test_batches_are_numbered_and_hold_what_came_in_order() -> None:
    desk = Desk()
    desk.recorder.change(1, status="running")
    for number in range(9000):
        desk.recorder.output(1, STDOUT, b"%06d: some words of output\n" % number)
    desk.recorder.change(1, status="succeeded")
    await desk.finish()
    assert [batch.number for batch in desk.batches] == list(range(1, len(desk.batches) + 1))
    assert len(desk.batches) > 2
    assert max(sum(len(line.raw) for line in b.lines) for b in desk.batches) < recorder.BATCH
    assert desk.text() == b"".join(b"%06d: some words of output\n" % n for n in range(9000))
    assert desk.batches[0].changes[0].values == {"status": "running"}
    assert desk.batches[-1].changes[-1].values == {"status": "succeeded"}


@pytest.mark.asyncio
async def test_sources_pause_while_too_much_waits_and_go_on_after() -> None:
    desk, source, late = Desk(limit=64 * MEGABYTE), Source(), Source()
    desk.open.clear()
    desk.recorder.listen_to(source)
    running = asyncio.create_task(desk.recorder.run())
    size = 0
    while not source.paused:
        desk.recorder.output(1, STDOUT, b"x" * 999 + b"\n")
        size += 1000
        await asyncio.sleep(0)
    assert recorder.HIGH / 2 < size < 2 * recorder.HIGH
    desk.recorder.listen_to(late)
    assert (source.paused, late.paused) == (1, 1)
    desk.open.set()
    async with asyncio.timeout(30):
        while source.paused or late.paused:
            await asyncio.sleep(0.01)
    desk.recorder.end()
    await running
    assert len(desk.text()) == size


@pytest.mark.asyncio
async def test_who_leaves_is_not_kept_waiting() -> None:
    desk, source = Desk(limit=64 * MEGABYTE), Source()
    desk.recorder.listen_to(source)
    for _ in range(3000):
        desk.recorder.output(1, STDOUT, b"x" * 999 + b"\n")
    assert source.paused
    desk.recorder.leave(source)
    assert not source.paused


@pytest.mark.asyncio
async def test_secrets_are_masked_for_each_stream_by_itself() -> None:
    desk = Desk(hidden=(b"swordfish",))
    for piece in (b"a sword", b"fish\n"):
        desk.recorder.output(1, STDOUT, piece)
        desk.recorder.output(2, STDOUT, piece)
        desk.recorder.output(1, STDERR, piece.upper())
    desk.recorder.remark("No command swordfish", 1)
    desk.recorder.change(1, status="failed", error="no swordfish")
    await desk.finish()
    assert desk.text() == b"a ********\n" * 2
    assert desk.text(STDERR) == b"A SWORDFISH\n"
    assert desk.text("system") == b"No command ********\n"
    [change] = [change for batch in desk.batches for change in batch.changes]
    assert change.values["error"] == "no ********"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("pieces", "kept", "dropped"),
    [
        ([b"x" * 50_000 + b"\n"] * 2, 65_536, 34_466),
        ([b"y" * 65_535 + b"\n"], 65_536, 0),
        ([b"y" * 65_535 + b"\n", b"z"], 65_536, 1),
        ([b"\n"] * 4000, 3276, 724),
    ],
)
async def test_no_more_is_kept_than_the_limit_and_what_is_not_is_counted(
    pieces: list[bytes], kept: int, dropped: int
) -> None:
    desk = Desk(limit=65_536)
    for piece in pieces:
        desk.recorder.output(1, STDOUT, piece)
    desk.recorder.close(1)
    desk.recorder.remark("Exit code 0.", 1)
    await desk.finish()
    assert desk.text() == b"".join(pieces)[:kept]
    assert desk.batches[-1].dropped == dropped
    assert desk.text("system").count(b"truncated") == bool(dropped)
    assert desk.text("system").endswith(b"Exit code 0.\n")


@pytest.mark.asyncio
async def test_many_small_outputs_are_few_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    running = asyncio.create_task(desk.recorder.run())
    for number in range(100):
        desk.recorder.output(1, STDOUT, b"%d\n" % number)
        await asyncio.sleep(0.001)
    desk.recorder.end()
    await running
    assert len(desk.batches) <= 6
    assert desk.text() == b"".join(b"%d\n" % n for n in range(100))


@pytest.mark.asyncio
async def test_what_fails_to_be_written_is_raised() -> None:
    async def fail(_: Batch) -> Any:
        raise ZeroDivisionError

    broken = Recorder(fail, MEGABYTE, [])
    broken.remark("x")
    with pytest.raises(ZeroDivisionError):
        await broken.run()
