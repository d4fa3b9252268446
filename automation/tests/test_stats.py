from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from automation.models import Run
from automation.stats import stats
from automation.tests.making import create_run, end
from servers.models import Server

pytestmark = pytest.mark.django_db

NOTHING = {
    "queued": 0,
    "running": 0,
    "completed": 0,
    "failed": 0,
    "cancelled": 0,
    "mean_duration": None,
}


def test_nothing_has_no_mean() -> None:
    assert stats() == NOTHING


def test_figures_are_of_what_is_under_way_and_what_ended_lately(server: Server) -> None:
    create_run(server)
    end(create_run(server), "running", "running")
    now = timezone.now()
    for status, hours, seconds in [("completed", 1, 10), ("failed", 2, 20), ("failed", 30, 999)]:
        run = end(create_run(server), status, "failed")
        at = now - timedelta(hours=hours)
        begun = at - timedelta(seconds=seconds)
        Run.objects.filter(pk=run.pk).update(started_at=begun, finished_at=at)
    run = end(create_run(server), "cancelled", "cancelled")
    Run.objects.filter(pk=run.pk).update(finished_at=now)  # it never began
    wanted = {"queued": 1, "running": 1, "completed": 1, "failed": 1, "cancelled": 1}
    assert stats() == wanted | {"mean_duration": 15.0}
