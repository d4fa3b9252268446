"""Where the portal may connect to on behalf of its users: not into its own network."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# https://www.iana.org/assignments/ipv6-address-space: all else is reserved, local or multicast.
GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
DOCUMENTATION: Final = ipaddress.IPv6Network("3fff::/20")  # RFC 9637
# RFC 6052: the last four bytes are an IPv4 address, to which a gateway of the network leads.
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(Exception):
    """A host that is private, or cannot be resolved."""


def permitted(host: str, port: int, allowed: Iterable[str]) -> list[Address]:
    """The host's addresses. Raises AddressRefused if any of them is one that may not be reached.

    Whoever connects must connect to these: the name may lead elsewhere a moment later.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(f"{host} cannot be resolved.") from None
    addresses = list(dict.fromkeys(ipaddress.ip_address(info[4][0]) for info in found))
    for address in addresses:
        if not is_permitted(address, allowed):
            raise AddressRefused(f"{host} leads to {refusal(address)}")
    return addresses


def refusal(address: object) -> str:
    return f"{address}, which is no public address and not among NOTIFICATIONS_ALLOWED_NETWORKS."


def is_permitted(address: Address, allowed: Iterable[str]) -> bool:
    """Public, or in one of these networks. An IPv4 address inside is judged as what it is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inside(address)
        if inner is not None:
            return is_permitted(inner, allowed)
    if any(address in ipaddress.ip_network(network) for network in allowed):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_global and address in GLOBAL_UNICAST and address not in DOCUMENTATION
    return address.is_global and not address.is_multicast


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, NAT64, 6to4, or Teredo."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
