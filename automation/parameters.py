"""What an automation can be told: definitions of parameters, and the values given for them.

A definition is an object:

    name        lower-case letters, digits and _; the script finds it in PARAM_NAME
    type        string, integer, choice or secret
    label       for people; optional
    required    whether a value must be given where there is no default
    default     optional; a secret has none
    choices     of a choice: a list of distinct texts
    minimum, maximum        of an integer, optional
    max_length, pattern     of a string or a secret, optional; the pattern is Python's, of all of it

Pure: no database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError

STRING: Final = "string"
INTEGER: Final = "integer"
CHOICE: Final = "choice"
SECRET: Final = "secret"

MOST: Final = 50  # parameters of one automation
LONGEST_VALUE: Final = 100_000  # bytes: Linux takes no longer variable
LONGEST_OF_ALL: Final = 500_000  # bytes
SHORTEST_SECRET: Final = 4  # characters: to mask shorter ones would mask half of the log
LARGEST: Final = 2**63 - 1
MASK: Final = "********"
TWICE: Final = "there are two of this name."

_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_COMMON: Final = frozenset({"name", "type", "label", "required", "default"})
_OF_TYPE: Final[dict[str, frozenset[str]]] = {
    STRING: frozenset({"max_length", "pattern"}),
    INTEGER: frozenset({"minimum", "maximum"}),
    CHOICE: frozenset({"choices"}),
    SECRET: frozenset({"max_length", "pattern"}),
}


class InvalidValues(Exception):
    """Values that do not fit. `errors` says why, by the parameter's name."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("; ".join(f"{name}: {' '.join(said)}" for name, said in errors.items()))
        self.errors = errors


def check_definitions(definitions: Any) -> None:
    """Raises ValidationError, with a message for each definition that is not one."""
    if not isinstance(definitions, list) or len(definitions) > MOST:
        raise ValidationError(f"Enter a list of at most {MOST} parameters.")
    messages = [said for one in definitions if (said := _fault(one))]
    names = [one["name"] for one in definitions if isinstance(one, dict) and "name" in one]
    twice = {str(name) for name in names if names.count(name) > 1}
    messages += [f"{name}: {TWICE}" for name in sorted(twice)]
    if messages:
        raise ValidationError(messages)


def _fault(one: Any) -> str:
    """What is wrong with a definition, by its name; empty where nothing is."""
    if not isinstance(one, dict):
        return "A parameter is an object."
    field, said = next(faults(one), ("", ""))
    name = one.get("name") if field != "name" else repr(one.get("name"))[:60]
    return f"{name}: {said}" if said else ""


def faults(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a definition: each time its field, and words that begin in lower case."""
    name, kind = one.get("name"), one.get("type")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield "name", "its name must be lower-case letters, digits and _, with a letter first."
    if not isinstance(kind, str) or kind not in _OF_TYPE:
        yield "type", f"its type must be one of {', '.join(_OF_TYPE)}."
        return
    if unknown := sorted(set(map(str, one)) - _COMMON - _OF_TYPE[kind]):
        yield "type", f"a parameter of type {kind} has no {', '.join(unknown)}."
    if not isinstance(one.get("label", ""), str) or len(one.get("label", "")) > 200:
        yield "label", "its label must be a text of at most 200 characters."
    if not isinstance(one.get("required", False), bool):
        yield "required", "required must be true or false."
    limits = [*_faults_of_choices(one), *_faults_of_limits(one)]
    yield from limits or _faults_of_default(one)  # which is held against them


def _faults_of_choices(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if one["type"] != CHOICE:
        return
    choices = one.get("choices")
    texts = isinstance(choices, list) and all(isinstance(each, str) for each in choices)
    if not texts or not choices or len(choices) > 100 or len(set(choices)) < len(choices):
        yield "choices", "its choices must be a list of 1 to 100 distinct texts."


def _faults_of_limits(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("minimum", "maximum"):
        value = one.get(name, 0)
        if type(value) is not int or abs(value) > LARGEST:
            yield name, f"its {name} must be a whole number."
            return
    if one.get("minimum", -LARGEST) > one.get("maximum", LARGEST):
        yield "minimum", "its minimum is above its maximum."
    length = one.get("max_length", 1)
    if type(length) is not int or not 1 <= length <= LONGEST_VALUE:
        yield "max_length", f"its max_length must be a whole number from 1 to {LONGEST_VALUE}."
    pattern = one.get("pattern", "")
    if not isinstance(pattern, str) or len(pattern) > 500 or not _compiles(pattern):
        yield "pattern", "its pattern must be a regular expression of at most 500 characters."


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _faults_of_default(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "default" not in one:
        return
    if one["type"] == SECRET:
        yield "default", "a secret has no default."
        return
    try:
        _value(one, one["default"])
    except ValueError as error:
        yield "default", f"its default does not fit: {error}"


def settle(
    definitions: Iterable[Mapping[str, Any]], given: Mapping[str, Any]
) -> tuple[dict[str, str | int], dict[str, str]]:
    """The value of each parameter that has one: those for everybody to see, and the secrets.

    An integer may be given as text. Raises InvalidValues.
    """
    values: dict[str, str | int] = {}
    secrets: dict[str, str] = {}
    known = {one["name"]: one for one in definitions}
    errors = {str(name): ["There is no such parameter."] for name in given if name not in known}
    for name, one in known.items():
        try:
            value = _settled(one, given.get(name))
        except ValueError as error:
            errors[name] = [str(error)]
            continue
        if one["type"] == SECRET and value is not None:
            secrets[name] = str(value)
        elif value is not None:
            values[name] = value
    if not errors and _size(values) + _size(secrets) > LONGEST_OF_ALL:
        errors = {"": [f"All values together may have {LONGEST_OF_ALL:,} bytes."]}
    if errors:
        raise InvalidValues(errors)
    return values, secrets


def shown(
    definitions: Iterable[Mapping[str, Any]], values: Mapping[str, str | int]
) -> dict[str, str | int]:
    """The values for everybody to see, and MASK for each secret, whether it was given or not."""
    secrets = {one["name"]: MASK for one in definitions if one["type"] == SECRET}
    return {**values, **secrets}


def _size(values: Mapping[str, Any]) -> int:
    return sum(len(str(value).encode()) for value in values.values())


def _settled(one: Mapping[str, Any], given: Any) -> str | int | None:
    """An empty text is none, as a form sends it. Raises ValueError."""
    if given is None or given == "":
        if "default" in one:
            return _value(one, one["default"])
        if one.get("required", False):
            raise ValueError("A value is required.")
        return None
    return _value(one, given)


def _value(one: Mapping[str, Any], given: Any) -> str | int:
    """Raises ValueError, in words that do not repeat what was given."""
    if one["type"] == INTEGER:
        return _integer(one, given)
    if not isinstance(given, str):
        raise ValueError("This must be a text.")
    if one["type"] == CHOICE:
        if given not in one["choices"]:
            raise ValueError(f"Choose one of {', '.join(one['choices'])}.")
        return given
    return _text(one, given)


def _integer(one: Mapping[str, Any], given: Any) -> int:
    if isinstance(given, str) and _INTEGER.fullmatch(given.strip()):
        given = int(given)
    if type(given) is not int or abs(given) > LARGEST:
        raise ValueError("This must be a whole number.")
    if given < one.get("minimum", -LARGEST):
        raise ValueError(f"This must be {one['minimum']} or more.")
    if given > one.get("maximum", LARGEST):
        raise ValueError(f"This must be {one['maximum']} or less.")
    return given


def _text(one: Mapping[str, Any], given: str) -> str:
    if "\0" in given:
        raise ValueError("The character NUL cannot be passed on.")
    try:
        size = len(given.encode())
    except UnicodeEncodeError:
        raise ValueError("This is not Unicode text.") from None
    longest = one.get("max_length", LONGEST_VALUE)
    if len(given) > longest or size > LONGEST_VALUE:
        raise ValueError(f"This is too long: {longest:,} characters at most.")
    if one["type"] == SECRET and len(given.strip()) < SHORTEST_SECRET:
        raise ValueError(f"A secret has at least {SHORTEST_SECRET} characters, to be masked.")
    if one.get("pattern") and not re.fullmatch(one["pattern"], given):
        raise ValueError(f"This must match {one['pattern']}.")
    return given
