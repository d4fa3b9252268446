"""Private keys, read by asyncssh: whatever is wrong with one, and however much work it wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import asyncssh
from asyncssh.asn1 import ASN1DecodeError, der_decode
from asyncssh.packet import PacketDecodeError, SSHPacket
from asyncssh.public_key import _match_next

# Each is some seconds of CPU; ssh-keygen and openssl ask for 24 rounds and 2,048 iterations.
MOST_ROUNDS: Final = 200
MOST_ITERATIONS: Final = 2_000_000
LONGEST_KEY: Final = 64  # bytes to be derived, each 20 of which take all iterations once more

OPENSSH: Final = b"openssh-key-v1\0"


class UnreadableKey(Exception):
    """Why a private key cannot be read, in an operator's words that hold nothing of it."""


def read(text: str, passphrase: str = "") -> asyncssh.SSHKey:
    """Raises UnreadableKey, also for a key that would keep a processor busy for long."""
    try:
        _refuse_much_work(text)
        return asyncssh.import_private_key(text, passphrase or None)
    except UnreadableKey:
        raise
    except ValueError as error:
        raise UnreadableKey(_explain(error)) from None
    # asyncssh passes on whatever its parsers raise over hostile bytes.
    except Exception:
        raise UnreadableKey("The private key is unreadable.") from None


def _explain(error: ValueError) -> str:
    """asyncssh tells the reasons apart by its text alone."""
    reason = str(error)
    if reason.startswith("Passphrase must be specified"):
        return "The private key is protected by a passphrase, and none was given."
    if reason.startswith(("Incorrect passphrase", "Unable to decrypt")):
        return "The passphrase does not open the private key."
    return f"The private key is unreadable: {reason}."


def _refuse_much_work(text: str) -> None:
    """Who wrote the key chose how often its passphrase is hashed: up to 2³² times, or more."""
    # asyncssh's own search, so that it opens no other key than was looked at here.
    form, found, _ = _match_next(text.encode("ascii", "replace"), b"PRIVATE KEY")
    if form != "pem":  # DER is no text: the names of its functions have bytes above 127
        return
    label, _, body = found
    if label == b"OPENSSH":
        _refuse_rounds(body)
    elif label == b"ENCRYPTED":
        _refuse_iterations(_decoded(body))


def _refuse_rounds(body: bytes) -> None:
    """PROTOCOL.key of OpenSSH: the names of cipher and function, then the latter's options."""
    try:
        header = SSHPacket(body.removeprefix(OPENSSH))
        _, function, options = header.get_string(), header.get_string(), header.get_string()
        if function != b"bcrypt":
            return
        packet = SSHPacket(options)
        packet.get_string()
        rounds = packet.get_uint32()
    except PacketDecodeError:
        return  # and asyncssh says so
    if rounds > MOST_ROUNDS:
        raise _too_much(f"{rounds} rounds of bcrypt", MOST_ROUNDS)


def _decoded(body: bytes) -> object:
    try:
        return der_decode(body)
    except ASN1DecodeError:
        return None


def _refuse_iterations(key: object) -> None:
    """RFC 5958's EncryptedPrivateKeyInfo; RFC 8018's parameters have up to two whole numbers."""
    if not isinstance(key, tuple) or len(key) != 2:
        return
    iterations, length = [*sorted(_numbers(key[0]), reverse=True), 0, 0][:2]
    if iterations > MOST_ITERATIONS:
        raise _too_much(f"{iterations} iterations", MOST_ITERATIONS)
    if length > LONGEST_KEY:
        raise _too_much(f"{length} bytes", LONGEST_KEY)


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)


def _too_much(wanted: str, most: int) -> UnreadableKey:
    return UnreadableKey(f"The private key takes too long to open: {wanted}, at most {most}.")
