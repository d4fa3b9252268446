"""The documents keep up with the code."""

from __future__ import annotations

import re

import pytest
from django.core.management import get_commands

from benchmarks import tables
from events.catalogue import catalogue
from events.conf import DEFAULTS
from tests.services import ROOT

OWN_APPS = {"opsportal", "events", "servers", "incidents", "automation"}


def document(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_documented_twice() -> None:
    code = document("opsportal/settings.py") + document("opsportal/environment.py")
    read = set(re.findall(r'environment\.\w+\(\s*"([A-Z_]+)"', code))
    read |= set(re.findall(r'(?:integer|str)\(\s*"([A-Z_]+)"', code))
    assert "DATABASE_URL" in read
    for setting in sorted(read):
        assert re.search(rf"^#?{setting}=", document(".env.example"), re.MULTILINE), setting
        assert f"`{setting}`" in document("docs/operations.md"), setting


def test_defaults_of_settings_and_app_agree() -> None:
    from django.conf import settings

    for name, default in DEFAULTS.items():
        if hasattr(settings, name):
            assert getattr(settings, name) == default, name


@pytest.mark.parametrize("name", sorted(catalogue.types))
def test_every_event_type_is_documented(name: str) -> None:
    assert f"`{name}`" in document("docs/protocol.md")


@pytest.mark.parametrize(
    "name", sorted(name for name, app in get_commands().items() if app in OWN_APPS)
)
def test_every_command_is_documented(name: str) -> None:
    assert f"manage.py {name}" in document("README.md")


def test_every_module_of_events_is_in_the_architecture() -> None:
    text = document("docs/architecture.md")
    plain = {"__init__", "apps", "checks", "conf", "models", "fields", "context", "middleware"}
    for path in (ROOT / "events").glob("*.py"):
        assert path.stem in plain or f"`{path.stem}`" in text, path.stem


def test_links_between_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_protocols_example_frames_are_what_is_sent() -> None:
    from events import wire

    text = re.sub(r"^    ", "", document("docs/protocol.md"), flags=re.MULTILINE)
    types = ["server.created", "server.updated", "server.status_changed", "server.deleted"]
    assert wire.open_frame(1532, 30, types).decode().strip() in text
    example = {
        "id": 1533,
        "type": "server.created",
        "timestamp": "2026-11-23T09:00:00.123456Z",
        "subject": "servers.server/42",
        "actor": {"id": 1, "username": "alice"},
        "data": {"id": 42, "name": "web-01", "host": "10.0.0.5", "status": "unknown"},
    }
    assert wire.event_frame(example).decode().strip() in text


def test_figures_are_those_of_the_result_files() -> None:
    text = document("docs/performance.md")
    assert tables.rendered(text, tables.read_results) == text
