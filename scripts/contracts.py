"""A contract for import-linter, which by itself tells no module of `django` from another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


def imported_names(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the full name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = [*path.parent.parts, ""][: -node.level or None] if node.level else []
            prefix = ".".join([*filter(None, package), *filter(None, [node.module])])
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)


class ExternalImports(Contract):
    """Modules that import none of the forbidden ones, nor what is in them, directly."""

    type_name = "external"

    source_modules = fields.ListField(subfield=fields.StringField())
    forbidden_modules = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        broken = [
            f"{path}:{line} imports {name}"
            for path in map(self._path, self.source_modules)  # type: ignore[call-overload]
            for line, name in imported_names(path)
            if any(f"{name}.".startswith(f"{module}.") for module in self.forbidden_modules)  # type: ignore[attr-defined]
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line)

    @staticmethod
    def _path(module: str) -> Path:
        return Path(*module.split(".")).with_suffix(".py")
