"""Channels, checked when they are written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from django.core.exceptions import ValidationError

from incidents import senders, webhooks
from incidents.models import NotificationChannel

Kind = NotificationChannel.Kind

SECRETS: Final = frozenset({"url", "secret"})
WAY_OUT: Final = SECRETS | {"kind"}

Checked = tuple[str, str]  # a kind, and a URL that was found to be good for it


def check(
    channel: NotificationChannel,
    changed: Collection[str] | None = None,
    checked: Checked | None = None,
) -> None:
    """Raises ValidationError, by field, where a new channel, or these fields of one, are wrong.

    A URL that is stored is not read to be checked again: with another kind comes another URL.
    To check a URL may take half a minute: where rows are locked, let it be `checked` before.
    """
    fields = WAY_OUT if changed is None else WAY_OUT & set(changed)
    if "kind" in fields and "url" not in fields:
        raise ValidationError({"url": "Give the URL anew to change the kind."})
    if "url" in fields and (channel.kind, channel.url) != checked:
        check_url(channel.kind, channel.url)
    if "secret" in fields and channel.secret:
        check_secret(channel.kind, channel.secret)


def write(channel: NotificationChannel, changed: Collection[str] | None = None) -> str:
    """Writes a new channel, or these fields of one, which were checked.

    Returns the secret that a webhook without one was given, to be told once; else an empty text.
    """
    fields = None if changed is None else set(changed)
    made = ""
    if fields is None or "url" in fields:
        channel.label = label(channel.kind, channel.url)
        fields = fields and fields | {"label"}
    if fields is None or "kind" in fields:
        made = _fit_secret(channel, given=fields is None or "secret" in fields)
        fields = fields and fields | {"secret"}
    if fields is None or fields:
        channel.save(update_fields=fields and {*fields, "updated_at"})
    return made


def _fit_secret(channel: NotificationChannel, given: bool) -> str:
    """A webhook has a secret, and no other kind has one; returns a new one."""
    made = ""
    if channel.kind == Kind.WEBHOOK and not (given and channel.secret):
        made = channel.secret = webhooks.new_secret()
    elif channel.kind != Kind.WEBHOOK:
        channel.secret = ""
    return made


def save(
    channel: NotificationChannel,
    changed: Collection[str] | None = None,
    checked: Checked | None = None,
) -> str:
    """Checks and writes; raises and returns what these do."""
    check(channel, changed, checked)
    return write(channel, changed)


def check_url(kind: str, url: str) -> None:
    """Raises ValidationError, which does not repeat the URL."""
    if not url:
        raise ValidationError({"url": "Enter a URL."})
    try:
        if kind == Kind.APPRISE:
            senders.check_service(url)
        else:
            webhooks.parse(url)
    except (senders.UnknownService, senders.SendError, webhooks.NotAccepted) as error:
        raise ValidationError({"url": str(error)}) from None


def check_secret(kind: str, secret: str) -> None:
    """Raises ValidationError."""
    if kind != Kind.WEBHOOK:
        raise ValidationError({"secret": "Only webhooks have a secret."})
    if not webhooks.is_secret(secret):
        message = "Enter whsec_ and 24 to 64 bytes in base64, or nothing for a new secret."
        raise ValidationError({"secret": message})


def label(kind: str, url: str) -> str:
    """What of a URL may be shown. In Apprise's, what looks like a host may be a token."""
    if kind == Kind.WEBHOOK:
        parts = webhooks.parse(url)
        return f"{parts.scheme}://{parts.netloc.decode()}/…"[:100]
    scheme, colon, _ = url.partition("://")
    return f"{scheme.strip() if colon else ''}://…"[:100]
