"""Private keys that are broken, or that want more work than anybody has."""

from __future__ import annotations

import base64
import struct
from typing import Any

import asyncssh
import pytest
from asyncssh.asn1 import ObjectIdentifier, der_decode, der_encode

from servers import private_keys, ssh
from servers.tests.cast import SERVERS, Person

KEY = asyncssh.generate_private_key("ssh-ed25519")
ROUNDS = 64
LOCKED = KEY.export_private_key("openssh", "opensesame", rounds=ROUNDS)
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
CREDENTIALS = "/api/v1/credentials/"
TOO_LONG = "takes too long to open"


def pem(label: str, body: bytes) -> str:
    text = base64.encodebytes(body).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"


def body_of(text: str) -> bytes:
    return base64.b64decode("".join(text.strip().splitlines()[1:-1]))


def with_rounds(rounds: int) -> str:
    """An OpenSSH key that asks for so many."""
    known = struct.pack(">II", ROUNDS, 1)  # the rounds, and then the number of keys
    body = body_of(LOCKED.decode())
    assert body.count(known) == 1
    return pem("OPENSSH PRIVATE KEY", body.replace(known, struct.pack(">II", rounds, 1)))


def with_parameters(scheme: str, parameters: Any) -> bytes:
    return der_encode(((ObjectIdentifier(scheme), parameters), b"x" * 64))


def with_iterations(count: int, *length: int) -> bytes:
    """An encrypted PKCS#8 key, as DER, that asks for so many."""
    derived = (ObjectIdentifier("1.2.840.113549.1.5.12"), (b"saltsalt", count, *length))
    cipher = (ObjectIdentifier("2.16.840.1.101.3.4.1.42"), b"i" * 16)
    return with_parameters("1.2.840.113549.1.5.13", (derived, cipher))


def encrypted(body: bytes) -> str:
    return pem("ENCRYPTED PRIVATE KEY", body)


OLD = "1.2.840.113549.1.12.1.3"  # PKCS#12 with 3DES
HOSTILE = {
    "bcrypt": with_rounds(2**32 - 1),
    "a little more than allowed": with_rounds(private_keys.MOST_ROUNDS + 1),
    "PBKDF2": encrypted(with_iterations(2**62)),
    "a long derived key": encrypted(with_iterations(1000, 2**40)),
    "PKCS#12": encrypted(with_parameters(OLD, (b"saltsalt", 2**62))),
    "after other text": "subject: ops\n\n" + encrypted(with_iterations(2**62)),
    "before a good one": with_rounds(2**32 - 1) + KEY.export_private_key().decode(),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_key_that_takes_too_long_to_open_is_refused_at_once(text: str) -> None:
    with pytest.raises(private_keys.UnreadableKey, match=TOO_LONG):
        private_keys.read(text, "opensesame")


READABLE = {
    "plain": KEY.export_private_key(),
    "bcrypt": LOCKED,
    "PBES2": KEY.export_private_key("pkcs8-pem", "opensesame"),
    "PKCS#12": RSA.export_private_key(
        "pkcs8-pem", "opensesame", cipher_name="des3-cbc", hash_name="sha1", pbe_version=1
    ),
    "PKCS#1": RSA.export_private_key("pkcs1-pem", "opensesame"),
    "PKCS#1 without a passphrase": RSA.export_private_key("pkcs1-pem"),
    "PKCS#8 without a passphrase": RSA.export_private_key("pkcs8-pem"),
}


@pytest.mark.parametrize("text", READABLE.values(), ids=list(READABLE))
def test_keys_as_tools_write_them_are_read(text: bytes) -> None:
    known = {KEY.get_fingerprint(), RSA.get_fingerprint()}
    assert private_keys.read(text.decode(), "opensesame").get_fingerprint() in known


def negative() -> str:
    """An RSA key whose private exponent is below nought."""
    numbers: Any = der_decode(body_of(RSA.export_private_key("pkcs1-pem").decode()))
    version, modulus, public, private, *primes = numbers
    return pem("RSA PRIVATE KEY", der_encode((version, modulus, public, -private, *primes)))


@pytest.mark.django_db
@pytest.mark.parametrize("text", [negative(), with_rounds(2**32 - 1)], ids=["broken", "slow"])
def test_such_a_key_is_not_stored(operator: Person, text: str) -> None:
    shared = {"name": "key", "kind": "private_key", "secret": text, "passphrase": "opensesame"}
    own = {"name": "web", "host": "h", "username": "u", "credential": text}
    for path, body, field in ((CREDENTIALS, shared, "secret"), (SERVERS, own, "credential")):
        response = operator.call("post", path, body)
        assert (response.status_code, list(response.json()["errors"])) == (400, [field])


@pytest.mark.asyncio
@pytest.mark.parametrize("text", [negative(), with_rounds(2**32 - 1)], ids=["broken", "slow"])
async def test_a_check_says_so_of_one_that_is_stored(text: str) -> None:
    target = ssh.Target("127.0.0.1", 1, "ops", private_key=text, passphrase="opensesame")
    outcome = await ssh.check(target, timeout=10)
    assert outcome.message.startswith("The private key ")
