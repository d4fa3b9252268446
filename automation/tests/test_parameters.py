"""What an automation can be told, and what it refuses to be told."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from automation.parameters import InvalidValues, check_definitions, settle
from automation.tests.making import PARAMETERS


def one(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "it", "type": "string"} | fields]


def test_sound_definitions_pass() -> None:
    check_definitions(PARAMETERS)
    check_definitions([])


@pytest.mark.parametrize(
    ("definitions", "said"),
    [
        ("text", "list of at most"),
        ([1], "an object"),
        (one(name="It"), "'It': its name must be lower-case"),
        (one(name="it\n"), "lower-case"),
        (one(name=7), "lower-case"),
        (one(type="float"), "its type must be"),
        (one(type=[]), "its type must be"),
        (one(choices=["a"]), "has no choices"),
        (one(required="yes"), "true or false"),
        (one(label=5), "label"),
        (one(type="choice"), "distinct texts"),
        (one(type="choice", choices=[]), "distinct texts"),
        (one(type="choice", choices=["a", "a"]), "distinct texts"),
        (one(type="choice", choices=["a"], default="b"), "default does not fit"),
        (one(type="integer", minimum=5, maximum=4), "above"),
        (one(type="integer", minimum=True), "whole number"),
        (one(type="integer", maximum=4, default=5), "default does not fit"),
        (one(type="integer", default="x"), "default does not fit"),
        (one(pattern="("), "regular expression"),
        (one(max_length=0), "max_length"),
        (one(max_length=2, default="abc"), "default does not fit"),
        (one(type="secret", default="abcd"), "a secret has no default"),
        (one() + one(), "two of this name"),
        (one() * 51, "at most 50"),
    ],
)
def test_definitions_that_are_none_are_refused(definitions: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        check_definitions(definitions)


def test_values_are_taken_defaults_fill_in_and_secrets_are_apart() -> None:
    values, secrets = settle(PARAMETERS, {"times": "3", "token": "swordfish"})
    assert values == {"greeting": "hello", "times": 3, "mode": "slow"}
    assert secrets == {"token": "swordfish"}


def test_what_is_not_given_and_has_no_default_is_left_out() -> None:
    assert settle(one(), {}) == ({}, {})
    assert settle(one(default="x"), {"it": ""}) == ({"it": "x"}, {})


@pytest.mark.parametrize(
    ("definitions", "given", "said"),
    [
        (one(required=True), None, "required"),
        (one(required=True), "", "required"),
        (one(), 5, "a text"),
        (one(), "a\0b", "NUL"),
        (one(), "\ud800", "Unicode"),
        (one(max_length=3), "abcd", "too long"),
        (one(), "é" * 50_001, "too long"),
        (one(pattern="[a-z]+"), "a1", "match"),
        (one(pattern="[a-z]+"), "a\n", "match"),
        (one(type="integer"), "1.5", "whole number"),
        (one(type="integer"), True, "whole number"),
        (one(type="integer"), "9" * 19, "whole number"),
        (one(type="integer", minimum=3), 2, "3 or more"),
        (one(type="integer", maximum=3), 4, "3 or less"),
        (one(type="choice", choices=["a"]), "b", "Choose one of a"),
        (one(type="choice", choices=["a"]), ["a"], "a text"),
        (one(type="secret"), "abc", "at least 4"),
        (one(type="secret"), "abc    ", "at least 4"),
    ],
)
def test_values_that_do_not_fit_are_refused(definitions: Any, given: Any, said: str) -> None:
    with pytest.raises(InvalidValues, match=said) as caught:
        settle(definitions, {"it": given})
    assert list(caught.value.errors) == ["it"]


def test_a_secret_that_does_not_fit_is_not_repeated() -> None:
    with pytest.raises(InvalidValues) as caught:
        settle(one(type="secret", pattern="[0-9]+"), {"it": "swordfish"})
    assert "swordfish" not in str(caught.value)


def test_an_unknown_parameter_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidValues) as caught:
        settle(one(), {"its": "x"})
    assert caught.value.errors == {"its": ["There is no such parameter."]}


def test_all_values_together_fit_an_environment() -> None:
    many = [{"name": f"p{n}", "type": "string"} for n in range(6)]
    with pytest.raises(InvalidValues, match="together"):
        settle(many, {each["name"]: "x" * 90_000 for each in many})
