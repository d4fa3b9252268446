"""How a notification leaves: through Apprise, or as a signed webhook.

Errors are for operators and hold neither URLs nor secrets.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_plus, urlsplit

from django.conf import settings

from incidents import webhooks
from incidents.addresses import refusal
from incidents.models import Notification, NotificationChannel

APPRISE_TIMEOUT: Final = 30  # seconds, its start included
# Of this process's environment: not its secrets, and no proxy, which would lead past the rules.
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
MAIL: Final = frozenset({"mailto", "mailtos"})  # in whose URLs the host is one, and no token
SEPARATORS: Final = re.compile(r"[/?&=:@,;#\s]+")


class SendError(Exception):
    """It was not accepted; the text says why."""


class UnknownService(Exception):
    """A URL that Apprise does not know, or that is not offered; the text does not repeat it."""


def send(channel: NotificationChannel, notification: Notification) -> None:
    """Returns when the service has accepted it. Raises SendError, and DecryptionError."""
    senders: dict[str, Callable[..., None]] = {
        NotificationChannel.Kind.APPRISE: _send_by_apprise,
        NotificationChannel.Kind.WEBHOOK: _send_webhook,
    }
    senders[channel.kind](channel, notification)


def _send_webhook(channel: NotificationChannel, notification: Notification) -> None:
    allowed = settings.NOTIFICATIONS_ALLOWED_NETWORKS
    key = str(notification.key)
    try:
        webhooks.send(channel.url, channel.secret, key, notification.payload, allowed)
    except webhooks.NotAccepted as error:
        raise SendError(str(error)) from None


def check_service(url: str) -> None:
    """Raises UnknownService, and SendError if Apprise itself fails."""
    told = _run_apprise(url)
    if not told["known"]:
        raise UnknownService(told["error"])


def _send_by_apprise(channel: NotificationChannel, notification: Notification) -> None:
    url = channel.url
    told = _run_apprise(url, notification.title, notification.body)
    if not told["known"]:
        raise SendError(told["error"])
    if told["accepted"]:
        return
    if told["refused"]:
        raise SendError(f"It leads to {refusal(told['refused'])}")
    raise SendError(_without_secrets(url, told["said"]) or "The service did not accept it.")


def _run_apprise(url: str, title: str = "", body: str | None = None) -> dict[str, Any]:
    """What came of it, as incidents.apprise_process tells it. Raises SendError."""
    order = {
        "url": url,
        "title": title,
        "body": body,
        "allowed": settings.NOTIFICATIONS_ALLOWED_NETWORKS,
        "seconds": APPRISE_TIMEOUT + 5,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "incidents.apprise_process"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=APPRISE_TIMEOUT,
            cwd=settings.BASE_DIR,
            env={name: os.environ[name] for name in INHERITED if name in os.environ},
        )
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise SendError(f"The service did not answer within {APPRISE_TIMEOUT} s.") from None
    except OSError as error:  # as where the machine has no process left
        raise SendError(f"Apprise could not be started: {type(error).__name__}.") from None
    except (ValueError, IndexError):
        # What it printed may hold a part of the URL.
        raise SendError(f"Apprise failed, with exit code {done.returncode}.") from None
    return told


def _without_secrets(url: str, text: str) -> str:
    """The service's words, unless they repeat a part of the URL beyond its scheme."""
    scheme, _, rest = url.partition("://")
    parts = {*SEPARATORS.split(rest), *SEPARATORS.split(unquote_plus(rest))}
    if scheme in MAIL:
        parts.discard(urlsplit(url).hostname or "")
    if any(len(part) > 3 and part in text for part in parts):
        return "The service did not accept it; what it said repeats a part of the channel's URL."
    return text[:500]
