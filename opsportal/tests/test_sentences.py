"""Sentences of events: each fits its type, and holds whatever an event brings."""

from __future__ import annotations

import re
from typing import Any

import pytest

from events.catalogue import catalogue
from opsportal import sentences
from opsportal.sentences import SENTENCES, parts, sentence_of

DECLARED = sorted(name for name in SENTENCES if name in catalogue.types)


def words(type: str, **data: Any) -> str:
    """What is told of it, with its links in brackets."""
    found = sentence_of({"type": type, "data": data})
    if found is None:
        return ""
    told = parts(found, data)
    return "".join(f"[{part.text}]" if part.is_link else part.text for part in told)


@pytest.mark.parametrize("name", DECLARED)
def test_a_sentence_asks_for_declared_fields_only(name: str) -> None:
    fields = set(catalogue.type(name).schema().fields)
    for sentence in SENTENCES[name]:
        asked = set(re.findall(r"\{(\w+)", sentence.text)) | {sentence.when.partition("=")[0]}
        assert asked - {""} <= fields
        assert sentence.tone in ("", "good", "bad", "quiet")


def test_the_domains_of_the_pages_are_told_of() -> None:
    assert {"server.status_changed", "incident.created", "notification.sent"} <= set(DECLARED)


@pytest.mark.parametrize(
    ("type", "data", "told"),
    [
        ("server.created", {"name": "web-01"}, "[web-01] was added"),
        ("server.deleted", {"name": "web-01"}, "web-01 was deleted"),
        (
            "server.status_changed",
            {"name": "web-01", "new_status": "failed", "message": "Refused."},
            "[web-01] fails: Refused.",
        ),
        (
            "server.updated",
            {"name": "web-01", "changes": {"host": {}, "check_interval": {}}},
            "[web-01] was changed: host, check interval",
        ),
        (
            "incident.status_changed",
            {"title": "Disk full", "new_status": "closed", "comment": ""},
            "[Disk full] was closed",
        ),
        (
            "automation.definition_changed",
            {"name": "Restart", "change": "updated", "changes": {"script": {}}},
            "Automation [Restart] was updated: script",
        ),
        (
            "automation.definition_changed",
            {"name": "Restart", "change": "deleted"},
            "Automation Restart was deleted",
        ),
        ("notification.sent", {"channel": None, "title": "T"}, "A bell was rung for [T]"),
        ("notification.sent", {"channel": "ops", "title": "T"}, "ops was told of [T]"),
        ("server.status_changed", {"name": "web-01", "new_status": "on fire"}, ""),
        ("server.created", {"name": "{host} [x]"}, "[{host} [x]] was added"),
        ("server.created", {"name": None}, "[] was added"),
        ("server.created", {"name": [1, {"a": 2}]}, "[1, {'a': 2}] was added"),
        ("nobody.knows", {}, ""),
    ],
)
def test_what_is_told(type: str, data: dict[str, Any], told: str) -> None:
    assert words(type, **data) == told


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        ("servers.server/42", "/servers/42/"),
        ("automation.run/42", "/automations/runs/42/"),
        ("automation.automation/42", "/automations/42/"),
        ("servers.server/../../admin", ""),
        ("servers.server/", ""),
        ("servers.credential/1", ""),
        ("", ""),
    ],
)
def test_a_subject_leads_to_its_page_where_it_has_one(subject: str, path: str) -> None:
    assert sentences.page_of(subject) == path
