"""How servers, and how to log in to them, are written: API, pages, admin and import come here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from servers import checks, credentials, history, ssh
from servers.models import MAXIMUM_TAGS, Credential, Server

WAY_IN: Final = frozenset({"host", "port", "username", "credential", "shared_credential"})
NOT_BOTH: Final = {"shared_credential": "Give a credential of its own or a shared one, not both."}
SECRETS: Final = frozenset({"credential", "secret", "passphrase"})


class HostKeyMismatch(Exception):
    """The key to be accepted is not the one that the server offered last."""


def create(server: Server) -> None:
    """Writes a new server. Raises ValidationError, by field."""
    _settle_credential(server, WAY_IN)
    with transaction.atomic():
        server.save()
        history.note(server)


def create_many(servers: Collection[Server]) -> None:
    """Writes new servers in a few statements. Raises ValidationError, by field."""
    for server in servers:
        _settle_credential(server, WAY_IN)
    with transaction.atomic():
        Server.objects.bulk_create(servers)
        history.note_many(servers)


def edit(server: Server, values: Mapping[str, Any]) -> None:
    """Sets these fields of a server whose row is locked. Raises ValidationError, by field."""
    if values.get("credential") and values.get("shared_credential") is not None:
        raise ValidationError(NOT_BOTH)
    changed = _set(server, values)
    if "credential" in changed and not server.credential and _has_none_of_its_own(server):
        changed.remove("credential")
    save(server, changed)


def _has_none_of_its_own(server: Server) -> bool:
    """Without its being read, as it may not be readable any more."""
    return Server.objects.filter(pk=server.pk, credential="").exists()


def _set(instance: Server | Credential, values: Mapping[str, Any]) -> set[str]:
    """The names of what changed. A secret is not read to be compared: any that is given did."""
    changed = {n for n, v in values.items() if n in SECRETS or getattr(instance, n) != v}
    for name in changed:
        setattr(instance, name, values[name])
    return changed


def save(server: Server, changed: Collection[str]) -> None:
    """Writes these fields, which hold new values, and no others that a test may write meanwhile.

    A server that is reached in another way is not known any more, and is checked soon. Raises
    ValidationError, by field.
    """
    fields = set(changed)
    if not fields:
        return
    if fields & {"credential", "shared_credential"}:
        _settle_credential(server, fields)
        fields |= {"credential", "shared_credential"}
    if fields & WAY_IN:
        fields |= _forget_result(server)
    elif "check_interval" in fields and server.check_requested_by_id is None:
        server.next_check_at = checks.next_check(server, timezone.now())
        fields.add("next_check_at")
    with transaction.atomic():
        server.save(update_fields={*fields, "updated_at"})
        history.note(server)


def _forget_result(server: Server) -> set[str]:
    """The names of the fields it sets."""
    server.status, server.last_test_message = Server.Status.UNKNOWN, ""
    server.last_tested_at = server.last_test_latency = server.test_id = None
    server.offered_host_key, server.next_check_at = "", timezone.now()
    return {
        "status",
        "last_test_message",
        "last_tested_at",
        "last_test_latency",
        "test_id",
        "offered_host_key",
        "next_check_at",
    }


def _settle_credential(server: Server, changed: Collection[str]) -> None:
    """One way to log in: what is set takes the place of what was. Raises ValidationError."""
    own = "credential" in changed and server.credential
    shared = "shared_credential" in changed and server.shared_credential is not None
    if own and shared:
        raise ValidationError(NOT_BOTH)
    if own:
        credentials.check_own(server.credential)
        server.shared_credential = None
    if shared:
        server.credential = ""


def edit_credential(credential: Credential, values: Mapping[str, Any]) -> None:
    """Sets these fields of a credential whose row is locked. Raises ValidationError, by field."""
    save_credential(credential, _set(credential, values))


def save_credential(credential: Credential, changed: Collection[str] | None = None) -> None:
    """Writes a new credential, or these fields of one. Raises ValidationError, by field.

    What is not among the fields may not be readable any more, and is not read: with another kind
    comes another secret.
    """
    if changed is not None and not changed:
        return
    fields = None if changed is None else set(changed)
    if fields is None or fields & {"kind", "secret", "passphrase"}:
        if fields is not None and "secret" not in fields:
            raise ValidationError({"secret": "Give the secret anew to change what it is."})
        if fields is not None and "passphrase" not in fields:
            credential.passphrase = ""
        credentials.prepare(credential)
        fields = fields and fields | {"passphrase", "fingerprint"}
    with transaction.atomic():
        credential.save(update_fields=fields and {*fields, "updated_at"})
        if fields is None or "secret" in fields:
            _check_users_soon(credential)


def _check_users_soon(credential: Credential) -> None:
    Server.objects.filter(shared_credential=credential).update(next_check_at=timezone.now())


def accept_host_key(server: Server, fingerprint: str, actor: Any) -> None:
    """Accepts the key that the server offered last, if this is its fingerprint, and has it tested.

    Raises HostKeyMismatch, so that nobody accepts another key than the one they looked at.
    """
    with transaction.atomic():
        row = Server.objects.without_secrets().select_for_update().get(pk=server.pk)
        offered = row.offered_host_key
        if not offered or ssh.fingerprint(offered) != fingerprint:
            raise HostKeyMismatch
        row.host_key, row.offered_host_key = offered, ""
        row.save(update_fields=["host_key", "offered_host_key", "updated_at"])
        checks.request_checks([row], actor)
    server.refresh_from_db()


def change_tags(servers: Iterable[Server], add: Collection[str], remove: Collection[str]) -> int:
    """Adds and removes tags; returns how many servers that changed.

    Raises ValidationError, and changes none, where one would have too many.
    """
    now = timezone.now()
    changed = []
    with transaction.atomic():
        rows = Server.objects.without_secrets().select_for_update()
        for row in rows.filter(pk__in=[server.pk for server in servers]).order_by("pk"):
            kept = [tag for tag in row.tags if tag not in remove]
            tags = [*kept, *(tag for tag in add if tag not in kept)]
            if len(tags) > MAXIMUM_TAGS:
                message = f"{row} would have more than {MAXIMUM_TAGS} tags."
                raise ValidationError({"add": message})
            if tags != row.tags:
                row.tags, row.updated_at = tags, now
                changed.append(row)
        Server.objects.bulk_update(changed, ["tags", "updated_at"])
    return len(changed)
