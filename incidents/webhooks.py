"""Signed webhooks: https://www.standardwebhooks.com.

Redirects are not followed, and what is connected to is the very address that was looked at.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from standardwebhooks import Webhook

from incidents import addresses

TIMEOUT: Final = 10.0  # seconds for all of it
CONNECT_TIMEOUT: Final = 3.0  # seconds for one of the host's addresses
SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = range(24, 65)


class NotAccepted(Exception):
    """The text says why, and holds no more of the URL than its host."""


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def is_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(SECRET_PREFIX) and len(key) in SECRET_BYTES


def parse(url: str) -> httpx.URL:
    """Raises NotAccepted, also for a user in the URL: the signature says who sent it."""
    try:
        parts = httpx.URL(url)
        good = parts.scheme in ("https", "http") and bool(parts.host) and parts.port != 0
    except (httpx.InvalidURL, UnicodeError, ValueError):
        good = False
    if not good:
        raise NotAccepted("Enter a URL that begins with https:// or http://.")
    if parts.userinfo:
        raise NotAccepted("Enter a URL without a user name: the signature says who sent it.")
    return parts


def send(url: str, secret: str, key: str, payload: Any, allowed: Sequence[str]) -> None:
    """Returns when the receiver has accepted it. Raises NotAccepted."""
    body = json.dumps(payload)
    now = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "OpsPortal",
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(key, now, body),
    }
    status = _post(parse(url), headers, body, allowed)
    if not 200 <= status <= 299:
        raise NotAccepted(f"The receiver answered {status}.")


def _post(url: httpx.URL, headers: dict[str, str], body: str, allowed: Sequence[str]) -> int:
    """The answer's status, within TIMEOUT, however slowly it comes."""
    deadline = time.monotonic() + TIMEOUT
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = addresses.permitted(_host(url), port, allowed)
        return asyncio.run(_post_to(found, url, headers, body, deadline - time.monotonic()))
    except addresses.AddressRefused as error:
        raise NotAccepted(str(error)) from None
    except TimeoutError:
        raise NotAccepted(f"The receiver did not answer within {TIMEOUT:g} s.") from None
    except httpx.HTTPError as error:
        raise NotAccepted(f"The receiver could not be reached: {_reason(error)}.") from None


def _host(url: httpx.URL) -> str:
    """As it is sent. Decoded, others would encode it by older rules, to another name."""
    return url.raw_host.decode("ascii")


async def _post_to(
    found: Sequence[addresses.Address],
    url: httpx.URL,
    headers: dict[str, str],
    body: str,
    seconds: float,
) -> int:
    """To the first of these addresses that can be connected to, under the URL's own name."""
    # The transport alone: a client would log the URL, and follow the machine's proxies.
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncHTTPTransport(verify=_certificates(), trust_env=False) as transport,
    ):
        for address in found:
            request = httpx.Request(
                "POST",
                url.copy_with(host=str(address)),
                headers={"Host": url.netloc.decode(), **headers},
                content=body,
                extensions={
                    "sni_hostname": _host(url),  # what the certificate is for
                    "timeout": {"connect": CONNECT_TIMEOUT},
                },
            )
            try:
                response = await transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == found[-1]:
                    raise
            else:
                await response.aclose()  # what it says is nobody's business, and may have no end
                return response.status_code
    raise AssertionError("unreachable")


def _certificates() -> ssl.SSLContext:
    """Those that are trusted: the ones that httpx brings, and the system's or SSL_CERT_FILE's."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _reason(error: httpx.HTTPError) -> str:
    """For people, where it can be told without the URL."""
    if isinstance(error, httpx.ConnectTimeout):
        return "it did not take the connection"
    text = str(error)
    if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not good for this host"
    return type(error).__name__
