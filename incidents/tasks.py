"""Incidents' work outside of requests."""

from __future__ import annotations

from celery import shared_task

from incidents import automatic, deliveries, retention


@shared_task
def deliver(pk: int) -> None:
    deliveries.deliver(pk)


@shared_task
def deliver_due() -> None:
    deliveries.hand_over_due()


@shared_task
def resolve_recovered() -> None:
    automatic.resolve_recovered()


@shared_task
def prune_notifications() -> None:
    retention.prune()
