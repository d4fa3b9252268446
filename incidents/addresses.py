"""Where the portal may connect to on behalf of its users: not into its own network."""

from __future__ import annotations

import ipaddress
import socket

from django.conf import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(Exception):
    """A host that is private, or cannot be resolved."""


def permitted(host: str, port: int) -> list[Address]:
    """The host's addresses. Raises AddressRefused if any of them is one that may not be reached.

    Whoever connects must connect to these: the name may lead elsewhere a moment later.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"{host} cannot be resolved.") from error
    addresses = list(dict.fromkeys(ipaddress.ip_address(info[4][0]) for info in found))
    for address in addresses:
        if not is_permitted(address):
            raise AddressRefused(
                f"{host} leads to {address}, which is no public address and not among"
                " NOTIFICATIONS_ALLOWED_NETWORKS."
            )
    return addresses


def is_permitted(address: Address) -> bool:
    """Public, or allowed by name. What is mapped into IPv6 is judged as what it is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            return is_permitted(inner)
    networks = [ipaddress.ip_network(text) for text in settings.NOTIFICATIONS_ALLOWED_NETWORKS]
    if any(address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast
