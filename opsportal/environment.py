"""Reads settings from the environment, and refuses a wrong value by name."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from opsportal import pool

T = TypeVar("T")

BROKER_TIMEOUT = 1.0  # seconds until a Redis that does not answer counts as failed

env = environ.Env()


def refuse(name: str, wanted: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} {wanted}. Set it in the environment or in .env.")


def read(name: str, parse: Callable[[str], T], default: T, wanted: str) -> T:
    """The variable `name`, parsed, or `default` where it is unset or empty.

    Raises ImproperlyConfigured, with the name and what it wants, where `parse` raises.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        return parse(text)
    except (ValueError, ImproperlyConfigured) as error:
        raise refuse(name, f"must be {wanted}") from error


def boolean(name: str, default: bool) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}

    def parse(text: str) -> bool:
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]

    return read(name, parse, default, "1 or 0 (also true, false, yes, no, on, off)")


def number(
    name: str, default: float, minimum: float, unit: str, maximum: float = sys.float_info.max
) -> float:
    def parse(text: str) -> float:
        value = float(text)
        if not minimum <= value <= maximum:
            raise ValueError(text)
        return value

    limit = "" if maximum == sys.float_info.max else f", at most {maximum:g}"
    return read(name, parse, default, f"a number of {unit}, {minimum:g} or more{limit}")


def integer(
    name: str, default: int, minimum: int, unit: str, maximum: float = sys.float_info.max
) -> int:
    def parse(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            raise ValueError(text)
        return value

    limit = "" if maximum == sys.float_info.max else f", at most {maximum:g}"
    return read(name, parse, default, f"a whole number of {unit}, {minimum} or more{limit}")


def words(name: str, default: list[str]) -> list[str]:
    return read(
        name,
        lambda text: [w for w in text.replace(",", " ").split() if w],
        default,
        "a comma-separated list",
    )


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read(name, parse, default, f"one of {', '.join(choices)}")


def origins(name: str) -> list[str]:
    found = words(name, [])
    for origin in found:
        if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
            raise refuse(name, f"must list origins such as https://ops.example.com, not {origin!r}")
    return found


def base_url(name: str) -> str:
    """Where the portal is reached, without a slash at its end; empty where nobody said so."""

    def parse(text: str) -> str:
        parts = urlsplit(text)
        beside = parts.query or parts.fragment or parts.username or parts.port == 0
        if parts.scheme not in ("http", "https") or not parts.hostname or beside:
            raise ValueError(text)
        return text.rstrip("/")

    return read(name, parse, "", "a URL such as https://ops.example.com")


def networks(name: str) -> list[str]:
    """Networks as 10.0.0.0/8, of IPv4 or IPv6."""

    def parse(text: str) -> list[str]:
        return [str(ip_network(word)) for word in text.replace(",", " ").split()]

    return read(name, parse, [], "a comma-separated list of networks such as 10.0.0.0/8")


def directory(name: str, default: Path) -> Path:
    """An absolute path, made where it is missing; a relative one begins where `default` lies."""
    path = read(name, lambda text: default.parent / text, default, "a path").resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refuse(name, "must be a directory that can be written to") from error
    return path


def database(name: str, default: Path) -> dict[str, Any]:
    """Django's settings of the database at this URL: sqlite:///path or postgres://…"""
    wanted = "a URL such as sqlite:///var/db.sqlite3 or postgres://user:password@host:5432/name"

    def parse(text: str) -> dict[str, Any]:
        if not text.startswith(("sqlite://", "postgres://", "postgresql://")):
            raise ValueError(text)
        if ":memory:" in text:  # each thread would have a database of its own
            raise ValueError(text)
        return dict(env.db_url_config(text))

    nothing: dict[str, Any] = {}
    config = read(name, parse, nothing, wanted)
    if not config:
        config = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(default)}
    if config["ENGINE"] == "django.db.backends.sqlite3":
        return config | {
            # Tests need the file: threads and processes must see each other's commits.
            "TEST": {"NAME": str(default.with_name("test.sqlite3"))},
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    if config["ENGINE"] == "django.db.backends.postgresql" and config.get("NAME"):
        size = integer("DATABASE_POOL_SIZE", 20, 0, "connections")
        options = config.get("OPTIONS", {}) | ({"pool": pool.options(size)} if size else {})
        return config | {"OPTIONS": options, "CONN_HEALTH_CHECKS": True}
    raise refuse(name, f"must be {wanted}")


def redis_url(name: str) -> str:
    url: str = os.environ.get(name, "").strip()
    if url and not url.startswith(("redis://", "rediss://", "unix://")):
        raise refuse(name, "must be a URL such as redis://127.0.0.1:6379/0")
    return url


def secret_key(name: str, debug: bool) -> str:
    key: str = os.environ.get(name, "")
    if not key and not debug:
        raise refuse(name, "must be a long random text while DEBUG is off")
    return key or "insecure-development-key-never-used-with-debug-off"


def fernet_keys(name: str, secret: str) -> list[str]:
    """The keys of encrypted fields, newest first; one derived from the secret key by default."""
    derived = base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()
    keys = words(name, [derived])
    for key in keys:
        try:
            Fernet(key)
        except ValueError as error:
            wanted = "must list Fernet keys: 32 random bytes each, in URL-safe base64"
            raise refuse(name, wanted) from error
    return keys


def prefix(secret: str) -> str:
    """What this installation's keys in Redis begin with: two portals may share one Redis."""
    return f"opsportal-{hashlib.sha256(secret.encode()).hexdigest()[:12]}"


def broker(redis_url: str, key_prefix: str, directory: Path) -> tuple[str, dict[str, Any]]:
    """Celery's broker and its options: Redis where there is one, else folders in `directory`."""
    if redis_url:
        # A Redis that accepts and says nothing would hold a request that queues a job for ever.
        timeouts = {"socket_timeout": BROKER_TIMEOUT, "socket_connect_timeout": BROKER_TIMEOUT}
        return redis_url, {"global_keyprefix": f"{key_prefix}:"} | timeouts
    queue = directory / "queue"
    folders = {
        "data_folder_in": queue,
        "data_folder_out": queue,
        "processed_folder": directory / "processed",
        "control_folder": directory / "control",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {name: str(folder) for name, folder in folders.items()}
    return "filesystem://localhost", options | {"polling_interval": 0.1}
