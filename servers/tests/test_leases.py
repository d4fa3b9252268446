"""Leases: one holder at a time, and the next one where that one is lost."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from servers import leases
from servers.models import Lease

pytestmark = pytest.mark.django_db

NAME = "tests"
HOLDERS = 4


def expire() -> None:
    """As if its holder had not been heard of for too long."""
    Lease.objects.update(expires_at=timezone.now())


def take() -> uuid.UUID:
    holder = leases.take(NAME)
    assert holder is not None
    return holder


def test_a_lease_has_one_holder() -> None:
    take()
    assert leases.take(NAME) is None
    assert leases.take("another") is not None


def test_a_lease_that_is_given_back_is_free() -> None:
    leases.release(NAME, take())
    take()


def test_a_lease_that_is_renewed_stays() -> None:
    holder = take()
    Lease.objects.update(expires_at=timezone.now() + timedelta(seconds=1))
    assert leases.renew(NAME, holder)
    assert Lease.objects.get().expires_at > timezone.now() + leases.LENGTH / 2
    assert leases.take(NAME) is None


def test_a_lease_that_is_over_falls_to_another_and_the_first_learns_of_it() -> None:
    first = take()
    expire()
    second = take()
    assert not leases.renew(NAME, first)
    assert leases.renew(NAME, second)


def test_a_lease_that_is_over_cannot_be_renewed_though_nobody_has_it() -> None:
    holder = take()
    expire()
    assert not leases.renew(NAME, holder)


def test_a_former_holder_gives_back_nothing() -> None:
    first = take()
    expire()
    take()
    leases.release(NAME, first)
    assert leases.take(NAME) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_there", [False, True], ids=["the first ever", "one that is over"])
def test_of_many_that_want_a_lease_at_once_one_gets_it(is_there: bool) -> None:
    if is_there:
        take()
        expire()
    barrier = threading.Barrier(HOLDERS, timeout=20)

    def contend() -> uuid.UUID | None:
        barrier.wait()
        try:
            return leases.take(NAME)
        finally:
            connection.close()

    with ThreadPoolExecutor(HOLDERS) as pool:
        attempts = [pool.submit(contend) for _ in range(HOLDERS)]
    [holder] = filter(None, (attempt.result() for attempt in attempts))
    assert Lease.objects.get().holder == holder
