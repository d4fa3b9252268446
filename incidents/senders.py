"""How a notification leaves: through Apprise, or as a signed webhook.

Errors are for operators and hold neither URLs nor secrets.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import apprise
import httpx
from django.core.exceptions import ValidationError
from standardwebhooks import Webhook

from incidents import addresses
from incidents.models import Notification, NotificationChannel

TIMEOUT: Final = 10.0  # seconds for a webhook's answer
SECRET_PREFIX: Final = "whsec_"
# Those of Apprise's services that call any address, or this machine itself.
REFUSED_SCHEMAS: Final = frozenset(
    {
        *("json", "jsons", "xml", "xmls", "form", "forms", "apprise", "apprises"),
        *("dbus", "kde", "qt", "glib", "gnome", "macosx", "windows", "syslog", "rsyslog"),
    }
)


class SendError(Exception):
    """It was not accepted; the text says why."""


def send(channel: NotificationChannel, notification: Notification) -> None:
    """Returns when the service has accepted it. Raises SendError, and DecryptionError."""
    senders: dict[str, Callable[..., None]] = {
        NotificationChannel.Kind.APPRISE: _send_by_apprise,
        NotificationChannel.Kind.WEBHOOK: _send_webhook,
    }
    senders[channel.kind](channel, notification)


# Apprise


def service(url: str) -> Any:
    """Apprise's, for this URL. Raises ValidationError, which does not repeat the URL."""
    asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY)
    found = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if found is None:
        raise ValidationError({"url": "Apprise does not know such a URL."})
    if urlsplit(url).scheme.lower() in REFUSED_SCHEMAS:
        raise ValidationError({"url": "This service is not offered. For JSON, use a webhook."})
    return found


def _send_by_apprise(channel: NotificationChannel, notification: Notification) -> None:
    try:
        found = service(channel.url)
    except ValidationError as error:
        raise SendError(error.messages[0]) from None
    for host in {getattr(found, "smtp_host", ""), getattr(found, "host", "")} - {"", None}:
        _permit(host, getattr(found, "port", None) or 0)
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        accepted = found.notify(title=notification.title, body=notification.body)
        said = " ".join(log.getvalue().split())
    if not accepted:
        raise SendError(_without_secrets(channel, said) or "The service did not accept it.")


def _without_secrets(channel: NotificationChannel, text: str) -> str:
    """The service's words, unless they repeat a part of the URL beyond scheme and host."""
    parts = urlsplit(channel.url)
    known = [parts.username, parts.password, *parts.path.split("/"), parts.query]
    if any(part and len(part) > 3 and part in text for part in known):
        return "The service did not accept it; what it said holds a secret."
    return text[:500]


# Webhooks


def new_secret() -> str:
    """As the Standard Webhooks have it: 24 to 64 random bytes, in base64, after a prefix."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _send_webhook(channel: NotificationChannel, notification: Notification) -> None:
    """https://www.standardwebhooks.com: id, timestamp and HMAC-SHA256 of both and the body."""
    body = json.dumps(notification.payload)
    now = datetime.now(UTC)
    key = str(notification.key)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "OpsPortal",
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(channel.secret).sign(key, now, body),
    }
    response = _post(channel.url, headers, body)
    if not response.is_success:
        raise SendError(f"The receiver answered {response.status_code}.")


def _post(url: str, headers: dict[str, str], body: str) -> httpx.Response:
    """To an address that was looked at, under the URL's own name; redirects are not followed."""
    parts = httpx.URL(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _permit(parts.host, port)[0]
    pinned = parts.copy_with(host=str(address))
    headers = {**headers, "Host": parts.netloc.decode()}
    try:
        with httpx.Client(timeout=TIMEOUT, trust_env=False, follow_redirects=False) as client:
            extensions = {"sni_hostname": parts.host}
            request = client.build_request(
                "POST", pinned, headers=headers, content=body, extensions=extensions
            )
            response = client.send(request, stream=True)
            response.close()  # what it says is nobody's business, and might have no end
            return response
    except httpx.TimeoutException:
        raise SendError(f"The receiver did not answer within {TIMEOUT:g} s.") from None
    except httpx.HTTPError as error:
        raise SendError(f"The receiver could not be reached: {type(error).__name__}.") from None


def _permit(host: str, port: int) -> list[addresses.Address]:
    try:
        return addresses.permitted(host, port)
    except addresses.AddressRefused as error:
        raise SendError(str(error)) from None
