from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from incidents import retention, tasks
from incidents.models import Notification
from incidents.tests.making import create_channel, create_notification
from servers.tests.cast import Person

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def age(time: timedelta) -> None:
    Notification.objects.update(created_at=timezone.now() - time)


def test_what_is_done_goes_after_a_month_and_nothing_else(
    viewer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    channel = create_channel("https://hooks.example.org/")
    for state in ("sent", "failed", "queued", "sending"):
        create_notification(channel, state=state)
    for read_at in (timezone.now(), None):
        create_notification(None, user=viewer.user, state="sent", read_at=read_at)
    age(29 * DAY)
    assert retention.prune() == 0
    age(31 * DAY)
    fresh = create_notification(channel, state="sent")
    tasks.prune_notifications()
    kept = Notification.objects.order_by("pk").values_list("state", "user__username")
    assert list(kept) == [("queued", None), ("sending", None), ("sent", "viewer"), ("sent", None)]
    assert Notification.objects.filter(pk=fresh.pk).exists()
