"""Work that one process may do at a time, and another takes over if that one dies."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from servers.models import Lease

LENGTH: Final = timedelta(seconds=30)  # after which a lease that is not renewed falls to others


def take(name: str) -> uuid.UUID | None:
    """The lease's new holder, or None where another holds it."""
    holder, now = uuid.uuid4(), timezone.now()
    fields = {"holder": holder, "expires_at": now + LENGTH}
    if Lease.objects.filter(name=name, expires_at__lte=now).update(**fields):
        return holder
    if Lease.objects.filter(name=name).exists():
        return None
    try:
        with transaction.atomic():
            Lease.objects.create(name=name, **fields)
    except IntegrityError:  # another process was first
        return None
    return holder


def renew(name: str, holder: uuid.UUID) -> bool:
    """Whether it is still held, from now on for LENGTH."""
    now = timezone.now()
    held = Lease.objects.filter(name=name, holder=holder, expires_at__gt=now)
    return bool(held.update(expires_at=now + LENGTH))


def release(name: str, holder: uuid.UUID) -> None:
    Lease.objects.filter(name=name, holder=holder).update(expires_at=timezone.now())
