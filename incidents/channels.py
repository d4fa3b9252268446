"""Channels, checked when they are written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from standardwebhooks import Webhook

from incidents import senders
from incidents.models import NotificationChannel

Kind = NotificationChannel.Kind

WAY_OUT: Final = frozenset({"kind", "url", "secret"})


def save(channel: NotificationChannel, changed: Collection[str] | None = None) -> None:
    """Writes a new channel, or these fields of one. Raises ValidationError, by field.

    A URL that is stored is not read to be checked again: with another kind comes another URL.
    """
    fields = None if changed is None else set(changed)
    if fields is None or fields & {"kind", "url"}:
        if fields is not None and "url" not in fields:
            raise ValidationError({"url": "Give the URL anew to change the kind."})
        check_url(channel.kind, channel.url)
        channel.label = label(channel.kind, channel.url)
        fields = fields and fields | {"label"}
    if channel.kind == Kind.WEBHOOK and (fields is None or "secret" in fields):
        channel.secret = channel.secret or senders.new_secret()
        check_secret(channel.secret)
    if fields is None or fields:
        channel.save(update_fields=fields and {*fields, "updated_at"})


def check_url(kind: str, url: str) -> None:
    """Raises ValidationError, which does not repeat the URL."""
    if kind == Kind.APPRISE:
        senders.service(url)
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValidationError({"url": "Enter a URL that begins with https:// or http://."})


def check_secret(secret: str) -> None:
    """Raises ValidationError."""
    try:
        Webhook(secret)
    except Exception:
        message = "Enter whsec_ and 24 to 64 bytes in base64, or nothing for a new secret."
        raise ValidationError({"secret": message}) from None


def label(kind: str, url: str) -> str:
    """What of a URL may be shown. In Apprise's, what looks like a host may be a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname if kind == Kind.WEBHOOK else ''}/…"
