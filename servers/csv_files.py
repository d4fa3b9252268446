"""Servers as CSV (RFC 4180, in UTF-8): lines and cells, apart from what they mean.

A cell that a spreadsheet would take for a formula is written with an apostrophe before it, and read
without (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

COLUMNS: Final = (
    "name",
    "host",
    "port",
    "username",
    "shared_credential",
    "environment",
    "tags",
    "check_interval",
)
EXPORTED: Final = (*COLUMNS, "status")  # the last is for people; an import passes it by
SECRETS: Final = frozenset({"credential", "password", "private_key", "secret", "passphrase"})
DELIMITERS: Final = ",;\t"  # as programs, Excel in much of Europe, and its clipboard write them
MOST_LINES: Final = 5_000  # of servers, in one file
NO_COLUMN: Final = "non_field_errors"
LONGEST_NAME: Final = 100  # of a name that an error repeats

# With the full-width forms, which count in East Asian versions.
_formula = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_reasons = {
    "unexpected end of data": "A quote is opened and not closed.",
    "expected after": "After a closing quote comes the next cell; a quote in a cell is doubled.",
    "field larger than field limit": "A cell is too long.",
}


@dataclass(frozen=True, slots=True)
class BadLine:
    """`errors` are texts by column, and under NO_COLUMN those of the line as a whole."""

    line: int
    name: str
    errors: dict[str, list[str]]


class BadFile(Exception):
    """It is not taken; `lines` are all that are bad, in order."""

    def __init__(self, lines: Iterable[BadLine]) -> None:
        super().__init__("The file has errors.")
        self.lines = sorted(lines, key=lambda bad: bad.line)


@dataclass(frozen=True, slots=True)
class Line:
    """A server's cells by column. `number` is that of its first line, as an editor shows it."""

    number: int
    cells: dict[str, str]


def write(rows: Iterable[Sequence[Any]]) -> str:
    """The file with a header of EXPORTED and these rows. None is an empty cell."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(EXPORTED)
    for row in rows:
        writer.writerow(["" if cell is None else defused(str(cell)) for cell in row])
    return file.getvalue()


def decode(data: bytes) -> str:
    """Raises BadFile for what is no UTF-8, with the line."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        number = sum(1 for _ in io.StringIO(f"{before}.", newline=""))
        raise BadFile([_bad(number, "The file is not in UTF-8 from here on.")]) from None


def read(text: str) -> tuple[list[Line], list[BadLine]]:
    """The lines, and those that are none. Lines without anything in them are passed by.

    Raises BadFile for a header that is not as it must be, and for too many lines.
    """
    text = text.removeprefix("\ufeff")
    records = _records(text, _delimiter(text))
    columns = _header(records)
    lines: list[Line] = []
    bad: list[BadLine] = []
    for number, cells in records:
        if len(lines) + len(bad) == MOST_LINES:
            raise BadFile([_bad(number, f"A file has at most {MOST_LINES:,} servers.")])
        if isinstance(cells, csv.Error):
            bad.append(_bad(number, _reason(cells)))
        elif len(cells) != len(columns):
            told = f"The header has {len(columns)} columns, and this line {len(cells)}."
            bad.append(_bad(number, told))
        else:
            found = zip(columns, map(restored, cells), strict=True)
            lines.append(Line(number, {c: v for c, v in found if c in COLUMNS}))
    return lines, bad


def defused(cell: str) -> str:
    """What no spreadsheet calculates; `restored` gives the cell back, whatever it was."""
    return f"'{cell}" if _formula.match(cell) else cell


def restored(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _formula.match(cell) else cell


def _delimiter(text: str) -> str:
    header = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    return max(DELIMITERS, key=header.count)


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Each with the number of its first line: a cell in quotes may hold many."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, error
        else:
            if any(cells):
                yield number, cells


def _header(records: Iterator[tuple[int, list[str] | csv.Error]]) -> list[str]:
    number, cells = next(records, (1, []))
    if isinstance(cells, csv.Error):
        raise BadFile([_bad(number, _reason(cells))])
    columns = [cell.strip() for cell in cells]
    if errors := _header_errors(columns):
        raise BadFile([BadLine(number, "", errors)])
    return columns


def _header_errors(columns: list[str]) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    counts = Counter(columns)
    for place, column in enumerate(columns, 1):
        if column in SECRETS:
            errors[column] = ["Secrets are not taken from files. Name a shared_credential."]
        elif column not in EXPORTED:
            errors[column[:LONGEST_NAME] or f"column {place}"] = ["This column is not known."]
        elif counts[column] > 1:
            errors[column] = [f"This column is there {counts[column]} times."]
    if "name" not in counts:
        errors["name"] = ["This column is missing."]
    return errors


def _reason(error: csv.Error) -> str:
    return next((text for part, text in _reasons.items() if part in str(error)), str(error))


def _bad(number: int, text: str) -> BadLine:
    return BadLine(number, "", {NO_COLUMN: [text]})
