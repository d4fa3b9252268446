"""A working copy of the project, to which an app is added as the guide says."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.guide.blocks import FILES, Block
from tests.services import ROOT

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".env", "var", "*.pyc.*", "*_cache", ".hypothesis", "node_modules"
)
_FILE = re.compile(r"# (\S+\.\w+)")


def copy_project(directory: Path) -> Path:
    """The project's files in a new directory, and its virtual environment by a link."""
    copy = shutil.copytree(ROOT, directory, ignore=LEFT_OUT)
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


def apply(blocks: Iterable[Block], project: Path) -> None:
    """Writes the files, and amends what is there. Raises ValueError where that cannot be."""
    for block in blocks:
        if block.language in FILES:
            write(block, project / block.path)
        elif block.language == "diff":
            amend(block, project)


def write(block: Block, path: Path) -> None:
    if path.exists():
        raise ValueError(f"{block.path} exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


def amend(block: Block, project: Path) -> None:
    """Inserts each line with a plus after the one before it, which its file has just once."""
    path, anchor = project, ""
    for line in block.text.splitlines():
        if named := _FILE.fullmatch(line):
            path = project / named[1]
        elif line.startswith("+"):
            insert(path, anchor, line[1:])
            anchor = line[1:]
        elif line.startswith(" "):
            anchor = line[1:]
        else:
            raise ValueError(f"neither context nor addition: {line}")


def insert(path: Path, anchor: str, line: str) -> None:
    lines = path.read_text().splitlines()
    if lines.count(anchor) != 1:
        raise ValueError(f"{path.name} has {lines.count(anchor)} lines like: {anchor}")
    lines.insert(lines.index(anchor) + 1, line)
    path.write_text("\n".join(lines) + "\n")
