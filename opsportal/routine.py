"""Tasks that run all the time: to log each run of them would hide what else is logged."""

from __future__ import annotations

import logging
from typing import Final

ROUTINE: Final = (
    "automation.tasks.reap_runs",
    "automation.tasks.start_queued",
    "incidents.tasks.deliver_due",
    "incidents.tasks.resolve_recovered",
    "opsportal.tasks.run_due_subscriptions",
    "opsportal.tasks.run_subscription",
    "servers.tasks.end_maintenance",
    "servers.tasks.fail_overdue_tests",
    "servers.tasks.run_due_checks",
)


class RoutineFilter(logging.Filter):
    """Drops what Celery tells of such tasks, up to INFO: that they are due, received and done.

    A retry is trouble, but Celery tells it at INFO, too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO or not record.name.startswith("celery."):
            return True
        message = record.getMessage()
        return "] retry: " in message or not any(name in message for name in ROUTINE)
