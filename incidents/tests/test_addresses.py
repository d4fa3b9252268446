from __future__ import annotations

import ipaddress

import pytest

from incidents.addresses import AddressRefused, is_permitted, permitted

pytestmark = pytest.mark.stack("embedded")  # it touches neither database nor Redis

PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.254",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "100::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
]
PUBLIC = [
    "1.1.1.1",
    "93.184.215.14",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2002:101:101::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_no_public_address_is_refused(address: str) -> None:
    assert not is_permitted(ipaddress.ip_address(address), [])


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_permitted(address: str) -> None:
    assert is_permitted(ipaddress.ip_address(address), [])


@pytest.mark.parametrize(
    ("address", "networks", "good"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], True),
        ("192.168.0.1", ["10.0.0.0/8"], False),
        ("192.168.0.1", ["10.0.0.0/8", "192.168.0.1/32"], True),
        ("192.168.0.2", ["10.0.0.0/8", "192.168.0.1/32"], False),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("::ffff:192.168.0.1", ["::/0"], False),
        ("fd00::1", ["fd00::/8"], True),
        ("fe80::1", ["fd00::/8"], False),
    ],
)
def test_named_networks_are_permitted_beside_the_public_ones(
    address: str, networks: list[str], good: bool
) -> None:
    assert is_permitted(ipaddress.ip_address(address), networks) is good


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "0",
        "::1",
        "::ffff:7f00:1",
    ],
)
def test_however_a_private_host_is_written_it_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused, match="no public address"):
        permitted(host, 80, [])


@pytest.mark.parametrize("host", ["name.invalid", "a" * 64 + ".example", "", "ex ample", "\udcff"])
def test_what_cannot_be_resolved_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        permitted(host, 80, [])


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(2, 1, 6, "", (host, 80)) for host in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(AddressRefused, match=r"mixed\.example leads to 10\.0\.0\.1"):
        permitted("mixed.example", 80, [])
    both = [ipaddress.ip_address(host) for host in ("1.1.1.1", "10.0.0.1")]
    assert permitted("mixed.example", 80, ["10.0.0.0/8"]) == both
