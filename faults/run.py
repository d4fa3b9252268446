"""A fault run on one stack: faults under load, and what became of the events."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from faults import journal, verdict
from faults.kinds import kinds_of
from faults.reading import mark
from faults.stage import Stage
from faults.verdict import Finding, Harm, Row, Timeline

PAUSE: Final = (0.2, 1.5)  # seconds between two faults
TOGETHER: Final = 0.3  # how often a fault has company, where there is some
CALM: Final = "none"

ROWS: Final = """
    SELECT position, type, subject, audience, data, timestamp FROM events_event
    WHERE position IS NOT NULL ORDER BY position
"""


class Run:
    """A fault run on one stack: first `play`, then `judge`; `table` has the figures."""

    def __init__(self, stage: Stage, seconds: float, chance: random.Random) -> None:
        self.stage = stage
        self.seconds = seconds
        self.chance = chance
        self.kinds = kinds_of(stage.stack)
        self.timeline = Timeline()
        self.counts: Counter[str] = Counter()
        self.begun = time.monotonic()

    async def play(self) -> list[str]:
        """The faults, with the readers at work meanwhile; returns what did not go well."""
        self.start = self.stage.readers[0].cursor
        reading = [
            asyncio.create_task(reader.follow(self.stage.pick, self.stage.draw()))
            for reader in self.stage.readers
        ]
        try:
            problems = await asyncio.to_thread(self._play)
        finally:
            for task in reading:
                task.cancel()
            ended = await asyncio.gather(*reading, return_exceptions=True)
        problems += [f"a reader failed: {e!r}" for e in ended if isinstance(e, Exception)]
        for reader in self.stage.readers:
            if final := {status for status in reader.refusals if status in (400, 401, 403)}:
                problems.append(f"{reader.name} was turned away for good: {final}")
        return problems

    def _play(self) -> list[str]:
        self._begin(CALM)
        self.stage.wait_for_writers()
        end = time.monotonic() + self.seconds
        problems: list[str] = []
        bag: list[str] = []
        with ThreadPoolExecutor() as pool:
            while time.monotonic() < end and not problems:
                bag = bag or self._shuffled()
                time.sleep(self.chance.uniform(*PAUSE))
                names = self._take(bag)
                self._begin(*names)
                seeds = [self.chance.random() for _ in names]
                problems += filter(None, pool.map(self._strike, names, seeds))
        return problems + self.stage.finish()

    def _shuffled(self) -> list[str]:
        names = list(self.kinds)
        self.chance.shuffle(names)
        return names

    def _take(self, bag: list[str]) -> list[str]:
        """The next fault, now and then with another one that comes together with it."""
        names = [bag.pop()]
        touched = self.kinds[names[0]].touches
        others = [name for name in bag if not self.kinds[name].touches & touched]
        if others and self.chance.random() < TOGETHER:
            names.append(others[-1])
            bag.remove(others[-1])
        return names

    def _strike(self, name: str, seed: float) -> str:
        """Returns what went wrong, where the fault could not be done or undone."""
        at = time.monotonic() - self.begun
        try:
            happened = self.kinds[name].strike(self.stage, random.Random(seed))
        except Exception as error:
            return f"{name}: {error!r}"
        print(f"{at:7.1f} s  {name:20} {happened}", flush=True)
        return ""

    def _begin(self, *kinds: str) -> None:
        self.timeline.begin(time.time(), kinds)
        self.counts.update(kinds)

    def judge(self) -> list[Finding]:
        """To be called when everything is quiet."""
        rows = [row_of(*columns) for columns in self.stage.query(ROWS)]
        notes = journal.read(self.stage.directory.glob("*.journal"))
        servers = self.stage.query("SELECT id, name FROM servers_server")
        names = {f"servers.server/{pk}": name for pk, name in servers}
        outsider = self.stage.people["outsider"].id
        findings = [
            *verdict.check_log(rows, notes),
            *verdict.check_state(rows, names, time.time()),
        ]
        for reader in self.stage.readers:
            if reader.name == "wavering":
                findings += verdict.check_wavering(reader, rows, notes, outsider)
            else:
                findings += verdict.check_reader(reader, rows, self.start, outsider)
        got = sum(len(reader.receipts) for reader in self.stage.readers)
        connections = sum(reader.connections for reader in self.stage.readers)
        statuses = Counter(note.status.value for note in notes.values())
        print(
            f"{len(rows)} events in the log, {got} received over {connections} connections by "
            f"{len(self.stage.readers)} readers; of {len(notes)} written "
            + ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        )
        return findings

    def told(self, finding: Finding) -> str:
        faults = ", ".join(self.timeline.at(finding.at))
        return f"{faults}: {finding.harm}: {finding.text}"

    def keep(self, directory: Path, findings: Sequence[Finding]) -> None:
        """Writes there what may explain the findings."""
        self.stage.keep(directory)
        texts = [
            f"{finding.at:.3f} {self.told(finding)}"
            for finding in sorted(findings, key=lambda finding: finding.at)
        ]
        (directory / "findings.txt").write_text("\n".join(texts))
        rows = "\n".join(map(str, (row_of(*columns) for columns in self.stage.query(ROWS))))
        (directory / "log.txt").write_text(rows)
        for reader in self.stage.readers:
            receipts = "\n".join(map(str, reader.receipts))
            (directory / f"{reader.name}.received.txt").write_text(receipts)

    def table(self, findings: Sequence[Finding]) -> str:
        """By fault: how often it came, the longest interruption, and the harms."""
        longest = verdict.interruptions(self.stage.readers, self.timeline)
        harms = Counter(
            (kind, finding.harm) for finding in findings for kind in self.timeline.at(finding.at)
        )
        head = "".join(f"{harm.value:>12}" for harm in Harm)
        lines = [f"{'fault':20} {'times':>6} {'interruption':>13}{head}"]
        for kind, count in sorted(self.counts.items()):
            figures = "".join(f"{harms[kind, harm]:12}" for harm in Harm)
            lines.append(f"{kind:20} {count:6} {longest[kind]:11.1f} s{figures}")
        return "\n".join(lines)


def row_of(
    position: int, type: str, subject: str, audience: str, data: str, timestamp: datetime | str
) -> Row:
    """Of the columns of ROWS; SQLite has times as texts, in UTC."""
    if isinstance(timestamp, str):
        timestamp = datetime.fromisoformat(timestamp).replace(tzinfo=UTC)
    content = json.loads(data)
    name = content["user"] if type == "access.changed" else ""
    if type.startswith("server."):
        name = mark(type, content)
    return Row(
        position, type, subject, frozenset(json.loads(audience)), name, timestamp.timestamp()
    )
