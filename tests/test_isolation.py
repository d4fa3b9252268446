"""What one test leaves running meets no other, nor its database being put right."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.test import TransactionTestCase

from events.relay import relay


def relay_runs() -> bool:
    return any(thread.name == "relay" for thread in threading.enumerate())


@pytest.fixture(scope="module", autouse=True)
def put_right(django_db_setup: None) -> Iterator[None]:
    """Watches who puts the database right after a test."""
    found: list[bool] = []
    restore = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def watch(case: TransactionTestCase) -> None:
        found.append(relay_runs())
        restore(case)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", watch)
        yield
    assert found == [False, False]


@pytest.mark.django_db(transaction=True)
def test_a_marked_test_leaves_a_relay_behind() -> None:
    relay.ring()
    assert relay_runs()


def test_one_that_asks_for_transactions_does_too(transactional_db: None) -> None:
    relay.ring()
    assert relay_runs()
