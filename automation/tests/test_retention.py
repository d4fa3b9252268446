from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from automation import log, retention, runs
from automation.models import Run
from automation.tests.making import create_automation, end
from servers.models import Server

pytestmark = pytest.mark.django_db

PARAMETERS = [{"name": "token", "type": "secret"}]


def test_old_logs_and_secrets_go_and_their_runs_stay(server: Server, settings: Any) -> None:
    settings.AUTOMATION_RETENTION_DAYS = 7
    automation = create_automation(servers=(server,), parameters=PARAMETERS)
    ages = {"failed": 8, "completed": 6, "running": 9}
    made = {}
    for status, days in ages.items():
        run = runs.start(automation, None, {"token": "swordfish"})
        log.append(run, [log.remark("hello")], {})
        run.save()
        end(run, status, "failed")
        at = timezone.now() - timedelta(days=days)
        Run.objects.filter(pk=run.pk).update(finished_at=None if status == "running" else at)
        made[status] = run.pk
    assert retention.prune() == 1
    assert retention.prune() == 0
    found = {status: Run.objects.get(pk=pk) for status, pk in made.items()}
    kept = {status: (len(log.page(run)), bool(run.secrets)) for status, run in found.items()}
    assert kept == {"failed": (0, False), "completed": (1, True), "running": (1, True)}
    assert found["failed"].log_pruned_at
    assert found["failed"].log_lines == 1
    with pytest.raises(runs.SecretsForgotten):
        runs.retry_failed(found["failed"], None)
