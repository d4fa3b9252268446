"""The content security policy is on every answer, and nothing that is served needs more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from servers.models import Server
from servers.tests.cast import Person
from servers.tests.desk import desk
from tests.services import ROOT

STRICT = {
    "default-src": ["'self'"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
FOR_DOCS = STRICT | {"img-src": ["'self'", "data:"]}  # Swagger UI's icons
TEMPLATES = [
    path
    for folder in ("templates", "*/templates")
    for path in ROOT.glob(f"{folder}/**/*.html")
    if ".venv" not in path.parts
]
INLINE = [
    r"<script(?![^>]*\bsrc=)",
    r"<style\b",
    r"\sstyle=",
    r"\son[a-z]+=",
    r"\shx-on\b",
    r"javascript:",
    r"(?:src|srcset)=[\"']?(?:https?:)?//",
    r"<link[^>]*href=[\"']?(?:https?:)?//",
]


def policy_of(response: object) -> dict[str, list[str]]:
    header: str = response["Content-Security-Policy"]  # type: ignore[index]
    parts = (part.strip().partition(" ") for part in header.split(";"))
    return {name: values.split() for name, _, values in parts}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/servers/", 200),
        ("/servers/{id}/", 200),
        ("/servers/import/", 200),
        ("/notifications/", 200),
        ("/streams/", 200),
        ("/servers/99999/", 404),
        ("/nowhere", 404),
        ("/login/", 302),
        ("/admin/", 200),
        ("/admin/servers/server/{id}/change/", 200),
        ("/api/v1/servers/", 200),
        ("/api/v1/nowhere/", 404),
        ("/healthz", 200),
        ("/static/opsportal/favicon.svg", 200),
    ],
)
def test_every_answer_has_the_policy(admin: Person, server: Server, path: str, status: int) -> None:
    admin.user.is_superuser = True
    response = desk(admin).get(path.format(id=server.pk))
    assert response.status_code == status
    assert policy_of(response) == STRICT


@pytest.mark.django_db
def test_strangers_and_the_refused_get_it_too(outsider: Person) -> None:
    client = Client()
    assert policy_of(client.get("/login/")) == STRICT
    assert policy_of(client.post("/servers/1/test/")) == STRICT
    client.force_login(outsider.user)
    refused = client.get("/servers/")
    assert (refused.status_code, policy_of(refused)) == (403, STRICT)


@pytest.mark.django_db
def test_the_description_of_the_api_may_show_its_icons_and_no_more() -> None:
    page = Client().get("/api/v1/docs/")
    assert policy_of(page) == FOR_DOCS
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)", page.content.decode())
    script = Client().get("/api/v1/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_needs_more(path: Path) -> None:
    text = path.read_text()
    assert not [pattern for pattern in INLINE if re.search(pattern, text, re.IGNORECASE)]


def test_templates_are_looked_at_wherever_django_finds_them() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in TEMPLATES}
    assert found >= {"templates", "events"}
    assert settings.TEMPLATES[0]["DIRS"] == [ROOT / "templates"]
