"""What servers are logged in with: checked when it is stored, and read when it is used."""

from __future__ import annotations

from typing import NamedTuple

from django.core.exceptions import ValidationError

from servers import private_keys
from servers.models import Credential, Server


class Secrets(NamedTuple):
    """What proves who logs in; what there is not is empty."""

    password: str = ""
    private_key: str = ""
    passphrase: str = ""


def fingerprint_of_key(text: str, passphrase: str = "") -> str:
    """The "SHA256:…" of a private key's public half.

    Raises ValidationError, in words that hold nothing of the key, where it cannot be read.
    """
    try:
        return private_keys.read(text, passphrase).get_fingerprint()
    except private_keys.UnreadableKey as error:
        reason = str(error)
        field = "passphrase" if "passphrase" in reason else "secret"
        raise ValidationError({field: reason}) from None


def looks_like_key(text: str) -> bool:
    """A private key is told from a password by its PEM header."""
    return text.lstrip().startswith("-----BEGIN")


def prepare(credential: Credential) -> None:
    """Completes a credential whose secret is new. Raises ValidationError, by field."""
    if credential.kind == Credential.Kind.PRIVATE_KEY:
        credential.fingerprint = fingerprint_of_key(credential.secret, credential.passphrase)
    elif credential.passphrase:
        raise ValidationError({"passphrase": "Only a private key has a passphrase."})
    elif looks_like_key(credential.secret):
        raise ValidationError({"kind": "This is a private key, not a password."})
    else:
        credential.fingerprint = ""


def secrets_of(server: Server) -> Secrets:
    """What to log in with. Raises DecryptionError, which names what cannot be read."""
    shared = server.shared_credential
    if shared is None:
        is_key = looks_like_key(server.credential)
        return Secrets(private_key=server.credential) if is_key else Secrets(server.credential)
    if shared.kind == Credential.Kind.PASSWORD:
        return Secrets(shared.secret)
    return Secrets(private_key=shared.secret, passphrase=shared.passphrase)


def check_own(text: str) -> None:
    """A server's own credential. Raises ValidationError for a private key that cannot be read."""
    if looks_like_key(text):
        try:
            fingerprint_of_key(text)
        except ValidationError as error:
            raise ValidationError({"credential": error.messages}) from None
