"""The fenced blocks of a Markdown text, and what each of them is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

FILES: Final = {"python", "html", "js"}
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_UNFENCED = re.compile(r"^(?:    |\t|~~~|```).*", re.MULTILINE)
_NAME = re.compile(r"(?:#|//|\{#) (\S+\.\w+)(?: #\})?\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A block's language and text. `path` is the file that its first line names, or empty."""

    language: str
    text: str

    @property
    def path(self) -> str:
        named = _NAME.match(self.text)
        return named[1] if named else ""

    @property
    def follows(self) -> bool:
        """Whether it is a command that runs until somebody stops it: `curl -N`."""
        return self.language == "sh" and re.search(r" -\w*N\b", self.text) is not None


def parse(markdown: str) -> list[Block]:
    return [Block(*found) for found in _FENCED.findall(markdown)]


def unruled(markdown: str) -> Iterator[str]:
    """The code that nobody would run: blocks of no known kind, and what stands in no fence."""
    yield from _UNFENCED.findall(_FENCED.sub("", markdown))
    blocks = parse(markdown)
    for number, block in enumerate(blocks):
        if not is_ruled(block, blocks[:number]):
            yield block.text


def is_ruled(block: Block, before: Sequence[Block]) -> bool:
    match block.language:
        case "python" | "html" | "js" | "diff":
            return bool(block.path)
        case "sh":
            return True
        case "text":
            return bool(before) and before[-1].language == "sh"
        case _:
            return False
