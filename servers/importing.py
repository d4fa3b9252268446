"""What a file of servers would change, line by line; and doing it: all of it, or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction
from rest_framework import serializers

from servers import csv_files, services
from servers.csv_files import BadFile, BadLine, Line
from servers.models import Credential, Environment, Server, validate_name
from servers.serializers import BIND, ServerSerializer

# An empty cell is the field's default; of those that are not here, there is none.
_cells: Final[dict[str, Callable[[str], Any]]] = {
    "port": lambda cell: cell or Server._meta.get_field("port").get_default(),
    "shared_credential": lambda cell: cell or None,
    "environment": lambda cell: cell or None,
    "tags": lambda cell: cell.split(),
    "check_interval": lambda cell: cell or None,
}


class KnownField(serializers.Field):
    """One of the rows that the context holds by name, so that a line costs no query."""

    def to_internal_value(self, data: str) -> Any:
        column = str(self.field_name)
        try:
            return self.context[column][data]
        except KeyError:
            label = column.replace("_", " ")
            raise serializers.ValidationError(f"There is no {label} of this name.") from None


class LineSerializer(ServerSerializer):
    """A line's values. Whether its name is taken is for the plan to know."""

    name = serializers.CharField(max_length=100, validators=[validate_name])
    environment = KnownField(required=False, allow_null=True)  # type: ignore[assignment]
    shared_credential = KnownField(required=False, allow_null=True)  # type: ignore[assignment]

    class Meta:
        model = Server
        fields = csv_files.COLUMNS


@dataclass(frozen=True, slots=True)
class Difference:
    field: str
    old: Any
    new: Any

    @property
    def old_text(self) -> str:
        return _shown(self.old)

    @property
    def new_text(self) -> str:
        return _shown(self.new)


def _shown(value: Any) -> str:
    """As in a file's cell."""
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Update:
    """A server, and what becomes different about it."""

    server: Server
    differences: list[Difference]


@dataclass(slots=True)
class Plan:
    """What a file without errors does. Of unchanged servers there is only the number."""

    created: list[Server] = field(default_factory=list)
    updated: list[Update] = field(default_factory=list)
    unchanged: int = 0

    @property
    def fingerprint(self) -> str:
        """Two plans of one file that do the same to the same servers have the same."""
        updated = [
            (update.server.pk, [(d.field, d.old_text, d.new_text) for d in update.differences])
            for update in self.updated
        ]
        text = repr(([server.name for server in self.created], updated, self.unchanged))
        return hashlib.sha256(text.encode()).hexdigest()


def run(text: str, user: Any, *, dry_run: bool, expected: str | None = None) -> Plan:
    """The plan, which has been carried out unless it is a dry run, or is not the expected one.

    `expected` is the fingerprint of the plan that somebody has looked at. Raises BadFile with
    every bad line, and IntegrityError where a name is taken in the same moment; then nothing was
    written.
    """
    with transaction.atomic():
        plan = _Planner(text, user, lock=not dry_run).plan()
        if not dry_run and expected in (None, plan.fingerprint):
            _carry_out(plan)
    return plan


def _carry_out(plan: Plan) -> None:
    services.create_many(plan.created)
    for update in plan.updated:
        services.edit(update.server, {d.field: d.new for d in update.differences})


class _Planner:
    """Asks the database once for all lines. The rows that may be edited are locked on demand."""

    def __init__(self, text: str, user: Any, *, lock: bool) -> None:
        self.lines, self.bad = csv_files.read(text)
        self.may_change = user.has_perm("servers.change_server")
        self.may_bind = user.has_perm(BIND)
        self.present = _servers_of(self.lines, lock=lock)
        self.credentials = _by_name(Credential)
        self.known = {"environment": _by_name(Environment)}
        self.new = LineSerializer(context=self.known)
        self.change = LineSerializer(context=self.known, partial=True)
        self.seen: dict[str, int] = {}

    def plan(self) -> Plan:
        plan = Plan()
        for line in self.lines:
            try:
                self._add(plan, line)
            except serializers.ValidationError as error:
                name = _name_of(line)[: csv_files.LONGEST_NAME]
                self.bad.append(BadLine(line.number, name, _by_column(error.detail)))
        if self.bad:
            raise BadFile(self.bad)
        return plan

    def _add(self, plan: Plan, line: Line) -> None:
        server = self.present.get(_name_of(line))
        if server and not self.may_change:
            # Whatever the line holds: its cells are not to be compared with what there is.
            raise serializers.ValidationError("It exists, and you may not change servers.")
        self.known["shared_credential"] = self._credentials_for(server)
        values = (self.change if server else self.new).run_validation(_input(line))
        first = self.seen.setdefault(values["name"], line.number)
        if first != line.number:
            raise serializers.ValidationError({"name": [f"It is on line {first}, too."]})
        if server is None:
            plan.created.append(Server(**values))
        elif differences := _differences(server, values):
            plan.updated.append(Update(server, differences))
        else:
            plan.unchanged += 1

    def _credentials_for(self, server: Server | None) -> dict[str, Any]:
        """By name; for who may not view credentials, the present one alone."""
        if self.may_bind:
            return self.credentials
        present = server and server.shared_credential
        return {present.name: present} if present else {}


def _name_of(line: Line) -> str:
    return line.cells["name"].strip()


def _input(line: Line) -> dict[str, Any]:
    return {c: _cells.get(c, str)(cell.strip()) for c, cell in line.cells.items()}


def _differences(server: Server, values: Mapping[str, Any]) -> list[Difference]:
    pairs = ((name, getattr(server, name), value) for name, value in values.items())
    return [Difference(name, old, new) for name, old, new in pairs if old != new]


def _servers_of(lines: list[Line], *, lock: bool) -> dict[str, Server]:
    """Those that there are, by name. They are locked in one order, so that no two imports wait for
    each other, and apart from reading them: where PostgreSQL had to wait for a lock, it shows the
    new row beside the rows that the old one was joined with.
    """
    # No name holds what PostgreSQL does not take.
    names = {name for line in lines if "\0" not in (name := _name_of(line))}
    rows = Server.objects.filter(name__in=names)
    if lock:
        locked = rows.select_for_update().order_by("pk").values_list("pk", flat=True)
        rows = Server.objects.filter(pk__in=list(locked))
    rows = rows.without_secrets().select_related("environment", "shared_credential")
    return {server.name: server for server in rows}


def _by_name(model: type[Environment] | type[Credential]) -> dict[str, Any]:
    """All rows, which are few; a credential's secrets stay where they are."""
    secrets = services.SECRETS & {field.name for field in model._meta.concrete_fields}
    return {row.name: row for row in model._default_manager.defer(*secrets)}


def _by_column(detail: Any) -> dict[str, list[str]]:
    if not isinstance(detail, dict):
        return {csv_files.NO_COLUMN: _texts(detail)}
    return {column: _texts(errors) for column, errors in detail.items()}


def _texts(detail: Any) -> list[str]:
    """The texts of errors, however deep they are; each once."""
    if isinstance(detail, dict):
        detail = list(detail.values())
    if isinstance(detail, list):
        return list(dict.fromkeys(text for part in detail for text in _texts(part)))
    return [str(detail)]
