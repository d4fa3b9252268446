from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from opsportal import environment

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis

ROOT = Path(settings.BASE_DIR)
DOCUMENTED = (ROOT / ".env.example").read_text()


def read(name: str) -> Any:
    """Reads a setting by the call that settings.py reads it by."""
    source = (ROOT / "opsportal/settings.py").read_text()
    found = re.search(rf'environment\.(\w+)\(\s*"{name}"((?:[^()]|\([^()]*\))*)\)', source)
    assert found, f"settings.py does not read {name}"
    scope = {"environment": environment, "DEBUG": False, "SECRET_KEY": "x", "VAR_DIR": ROOT / "var"}
    scope["BASE_DIR"] = ROOT
    return eval(f'environment.{found[1]}("{name}"{found[2]})', scope)


WRONG = [
    ("DEBUG", "maybe", "1 or 0"),
    ("HTTPS", "2", "1 or 0"),
    ("SECRET_KEY", "", "long random text"),
    ("DATABASE_URL", "db.sqlite3", "sqlite:///var/db.sqlite3"),
    ("DATABASE_URL", "mysql://u:p@h/db", "postgres://"),
    ("DATABASE_URL", "postgres://", "postgres://user:password@host:5432/name"),
    ("DATABASE_URL", "postgres://u:p@h:port/db", "postgres://user:password@host:5432/name"),
    ("REDIS_URL", "127.0.0.1:6379", "redis://127.0.0.1:6379/0"),
    ("REDIS_URL", "http://127.0.0.1", "redis://127.0.0.1:6379/0"),
    ("LOG_FORMAT", "xml", "one of plain, json"),
    ("CORS_ALLOWED_ORIGINS", "ops.example.com", "https://ops.example.com"),
    ("CORS_ALLOWED_ORIGINS", "https://a.example/path", "https://ops.example.com"),
    ("CSRF_TRUSTED_ORIGINS", "https://a.example, *", "https://ops.example.com"),
    ("FIELD_ENCRYPTION_KEYS", "secret", "Fernet keys"),
    ("FIELD_ENCRYPTION_KEYS", f"{Fernet.generate_key().decode()},secret", "Fernet keys"),
    ("EVENTS_HEARTBEAT", "soon", "seconds, 0.05 or more"),
    ("EVENTS_HEARTBEAT", "0", "seconds, 0.05 or more"),
    ("EVENTS_HEARTBEAT", "nan", "seconds, 0.05 or more"),
    ("EVENTS_HEARTBEAT", "inf", "seconds, 0.05 or more"),
    ("EVENTS_FLUSH_WINDOW", "-0.1", "seconds, 0 or more"),
    ("EVENTS_RING_SIZE", "1.5", "whole number of events, 1 or more"),
    ("EVENTS_RING_SIZE", "0", "whole number of events, 1 or more"),
    ("EVENTS_STREAM_LIFETIME", "1h", "seconds, 1 or more"),
    ("EVENTS_MAX_STREAMS", "many", "whole number of streams, 1 or more"),
    ("EVENTS_MAX_STREAMS_PER_USER", "0", "whole number of streams, 1 or more"),
    ("EVENTS_WRITE_TIMEOUT", "0", "seconds, 0.1 or more"),
    ("EVENTS_DRAIN_SECONDS", "-1", "seconds, 0 or more"),
    ("EVENTS_SUBSCRIPTION_ATTEMPTS", "0", "whole number of attempts, 1 or more"),
    ("EVENTS_RETENTION_DAYS", "-1", "whole number of days, 1 or more"),
    ("SERVERS_TEST_TIMEOUT", "0", "seconds, 0.1 or more"),
    ("SERVERS_TEST_TIMEOUT", "60", "at most"),
    ("SERVERS_CHECK_CONCURRENCY", "0", "whole number of checks, 1 or more"),
    ("SERVERS_CHECK_CONCURRENCY", "501", "at most 500"),
    ("PORTAL_URL", "ops.example.com", "https://ops.example.com"),
    ("PORTAL_URL", "ftp://ops.example.com", "https://ops.example.com"),
    ("PORTAL_URL", "https://", "https://ops.example.com"),
    ("PORTAL_URL", "https://ops.example.com:port", "https://ops.example.com"),
    ("PORTAL_URL", "https://me@ops.example.com", "https://ops.example.com"),
    ("PORTAL_URL", "https://ops.example.com/?next=x", "https://ops.example.com"),
    ("PORTAL_URL", "https://ops.example.com/#x", "https://ops.example.com"),
    ("NOTIFICATIONS_ALLOWED_NETWORKS", "mail.example.com", "10.0.0.0/8"),
    ("NOTIFICATIONS_ALLOWED_NETWORKS", "10.0.0.1/8", "10.0.0.0/8"),
    ("NOTIFICATIONS_ALLOWED_NETWORKS", "10.0.0.0/8, 10.0.0.0/33", "10.0.0.0/8"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_a_wrong_value_is_refused_with_its_name_and_what_it_wants(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as caught:
        read(name)
    text = str(caught.value)
    assert text.startswith(f"{name} must ")
    assert wanted in text


@pytest.mark.parametrize("name", sorted({row[0] for row in WRONG} - {"SECRET_KEY"}))
@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_is_unset_or_empty_is_the_default(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    monkeypatch.delenv(name, raising=False)
    default = read(name)
    if value is not None:
        monkeypatch.setenv(name, value)
    assert read(name) == default


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DEBUG", "Yes", True),
        ("DEBUG", " 0 ", False),
        ("ALLOWED_HOSTS", "a.example, b.example", ["a.example", "b.example"]),
        ("CORS_ALLOWED_ORIGINS", "https://a.example:8443", ["https://a.example:8443"]),
        ("REDIS_URL", "redis://h:6379/1", "redis://h:6379/1"),
        ("LOG_FORMAT", "json", "json"),
        ("EVENTS_HEARTBEAT", "2.5", 2.5),
        ("EVENTS_RING_SIZE", "7", 7),
        ("PORTAL_URL", "https://a.example:8443/ops/", "https://a.example:8443/ops"),
        ("NOTIFICATIONS_ALLOWED_NETWORKS", "10.0.0.7, fd00::/8", ["10.0.0.7/32", "fd00::/8"]),
    ],
)
def test_a_right_value_is_taken(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: object
) -> None:
    monkeypatch.setenv(name, value)
    assert read(name) == expected


@pytest.mark.parametrize(
    ("url", "engine", "name"),
    [
        ("sqlite:////tmp/x.sqlite3", "sqlite3", "/tmp/x.sqlite3"),
        ("postgres://u:p%40@h:5433/db", "postgresql", "db"),
        ("postgresql://u@h/db", "postgresql", "db"),
    ],
)
def test_a_database_url_is_taken(
    monkeypatch: pytest.MonkeyPatch, url: str, engine: str, name: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    config = read("DATABASE_URL")
    assert config["ENGINE"] == f"django.db.backends.{engine}"
    assert config["NAME"] == name
    if "p%40" in url:
        assert (config["PASSWORD"], config["PORT"]) == ("p@", 5433)


def test_a_database_urls_options_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that should verify its server must not silently stop to."""
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@h/db?sslmode=verify-full")
    config = environment.database("DATABASE_URL", Path("unused"))
    assert config["OPTIONS"]["sslmode"] == "verify-full"


def test_a_secret_that_begins_with_a_dollar_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET_KEY", "$HOME")
    assert environment.secret_key("SECRET_KEY", debug=False) == "$HOME"


def test_a_database_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite://:memory:")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        environment.database("DATABASE_URL", Path("unused"))


def test_an_encryption_key_is_derived_from_the_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIELD_ENCRYPTION_KEYS", raising=False)
    derive: Callable[[str], list[str]] = lambda secret: environment.fernet_keys(  # noqa: E731
        "FIELD_ENCRYPTION_KEYS", secret
    )
    assert derive("a") == derive("a") != derive("b")
    Fernet(derive("a")[0])


def check(**variables: str) -> subprocess.CompletedProcess[str]:
    """`manage.py check` under these settings; an empty one is the default."""
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SECRET_KEY": "", "DEBUG": "0"}, ("SECRET_KEY must be", "DEBUG is off")),
        ({"EVENTS_HEARTBEAT": "soon"}, ("EVENTS_HEARTBEAT must be", "seconds")),
        ({"VAR_DIR": "/dev/null/var"}, ("VAR_DIR must be", "director")),
    ],
)
def test_a_misconfigured_portal_does_not_start(
    variables: dict[str, str], words: tuple[str, str]
) -> None:
    done = check(**variables)
    assert done.returncode != 0
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_debug_starts_without_a_secret_key() -> None:
    done = check(SECRET_KEY="", DEBUG="1")
    assert done.returncode == 0
    assert "no issues" in done.stdout + done.stderr


def read_by_the_settings() -> list[str]:
    files = ("opsportal/settings.py", "opsportal/environment.py")
    source = "".join((ROOT / file).read_text() for file in files)
    readers = "boolean|choice|number|integer|words|origins|database|directory|redis_url|secret_key"
    readers += "|fernet_keys|base_url|networks"
    return sorted(re.findall(rf'\b(?:{readers})\(\s*"([A-Z_]+)"', source))


def test_every_setting_that_is_read_is_documented_and_no_other() -> None:
    documented = re.findall(r"^#?([A-Z_]+)=", DOCUMENTED, re.MULTILINE)
    assert read_by_the_settings() == sorted(documented)


@pytest.mark.parametrize("name", set(read_by_the_settings()) - {"SECRET_KEY", "DATABASE_POOL_SIZE"})
def test_the_documented_default_is_the_real_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name, raising=False)
    default = read(name)
    documented = re.search(rf"^#{name}=(.*)$", DOCUMENTED, re.MULTILINE)
    assert documented
    monkeypatch.setenv(name, documented[1])
    monkeypatch.chdir(ROOT)
    given = read(name)
    if name == "DATABASE_URL":
        default["NAME"], given["NAME"] = Path(default["NAME"]).name, Path(given["NAME"]).name
        default = {key: default[key] for key in ("ENGINE", "NAME", "OPTIONS")}
        given = {key: given[key] for key in ("ENGINE", "NAME", "OPTIONS")}
    assert given == default
