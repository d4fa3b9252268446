"""The guide's shell blocks in one bash, as somebody would type them, and what each printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.guide.blocks import Block
from tests.services import Process

PATIENCE = 60  # seconds; must not be met

# Waits until a file has so many lines that are not empty.
WAIT = "for _ in {{1..400}}; do (($(grep -c . {}) < {})) || break; sleep 0.05; done"

VARYING = [
    (r'"timestamp":"[^"]*"', '"timestamp":"…"'),
    (r'(\bid|\bcursor)("?): ?\d+', r"\1\2:0"),
    (r'"ticket":"[\w-]+"', '"ticket":"…"'),
    (r"\bin \d+\.\d+s", "in 0s"),
]


@dataclass(slots=True)
class Command:
    """A shell block, the file that holds what it printed, and what the guide says it prints."""

    block: Block
    output: Path
    expected: str | None = None

    def printed(self) -> str:
        """Of a command that goes on, as much as the guide shows: more may have come since."""
        lines = plain(self.output.read_text()).splitlines()
        shown = len((self.expected or "").splitlines()) if self.block.follows else len(lines)
        return "\n".join(lines[:shown])


def plain(text: str) -> str:
    """Without what differs from run to run: times, positions and keys."""
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text)
    return text.strip()


@dataclass
class Terminal:
    """Commands to be typed, and what bash is to do for it."""

    directory: Path
    commands: list[Command] = field(default_factory=list)
    script: list[str] = field(default_factory=lambda: ["set -eo pipefail"])

    def type(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            if block.language == "sh":
                self._command(block)
            elif block.language == "text":
                self._output(block)

    def _command(self, block: Block) -> None:
        output = self.directory / f"command-{len(self.commands)}.txt"
        self.commands.append(Command(block, output))
        self.script.append(f": >{output}\n{{\n{block.text}}} >{output} 2>&1")
        if block.follows:  # and what happens from now on is seen by it
            self.script[-1] += f" &\n{WAIT.format(output, 1)}"

    def _output(self, block: Block) -> None:
        """It is of the last command that goes on, or else of the last one there was."""
        waiting = [each for each in self.commands if each.block.follows and not each.expected]
        command = (waiting or self.commands)[-1]
        command.expected = plain(block.text)
        if command.block.follows:
            lines = sum(map(bool, block.text.splitlines()))
            self.script.append(WAIT.format(command.output, lines))

    def run(self, project: Path, environment: Mapping[str, str]) -> Process:
        """Returns once all are typed; those that go on do. Raises ProcessFailed where one fails."""
        script = self.directory / "script.sh"
        script.write_text("\n".join(self.script))
        output = self.directory / "bash.txt"
        bash = Process(["bash", str(script)], output, env=environment, cwd=project)
        if bash.wait(PATIENCE):
            bash.kill()
            last = [each for each in self.commands if each.output.exists()][-1]
            raise bash.failure(f"{last.block.text}{last.output.read_text()}")
        return bash
