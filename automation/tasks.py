"""Automations' work outside of requests."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.signals import (
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from automation import reaper, retention
from automation.runner import runner


@shared_task
def start_queued() -> None:
    """Rings only: the process's runner takes what waits."""
    runner.wake()


@shared_task
def reap_runs() -> None:
    reaper.reap()


@shared_task
def prune_logs() -> None:
    retention.prune()


@worker_ready.connect
def look_for_runs(**_: Any) -> None:
    start_queued.apply_async(retry=False)
    reap_runs.apply_async(retry=False)


@worker_shutting_down.connect
def begin_no_more_runs(**_: Any) -> None:
    runner.drain()


@worker_shutdown.connect
@worker_process_shutdown.connect
def leave_no_run_behind(**_: Any) -> None:
    """Celery waits for tasks, of which runs are none."""
    runner.stop()
