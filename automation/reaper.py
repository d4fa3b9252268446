"""Runs whose worker is gone: they fail, with the reason, and keep what was logged.

Any process may look, and several at once: the row's lock lets one through.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Final

from django.db import Error, close_old_connections, transaction

from automation import claims, log, records
from automation.models import Run, Target

logger = logging.getLogger(__name__)

INTERVAL: Final = 10.0  # seconds between two looks of a web process, about


def reap() -> int:
    """Fails the runs whose worker is lost; returns how many."""
    return sum(_reap(pk) for pk in list(claims.lost().values_list("pk", flat=True)))


def _reap(pk: int) -> bool:
    """False where its worker is back, or somebody else was first."""
    with transaction.atomic():
        run = claims.lost().select_for_update(skip_locked=True).filter(pk=pk).first()
        if run is None:
            return False
        error = f"The worker {run.worker} was lost."
        log.append(run, [log.remark(f"{error} {_left_behind(run)}".rstrip())], {})
        records.conclude(run, Target.Status.SKIPPED, error)
    logger.warning("Run %s failed: its worker %s was lost", pk, run.worker)
    return True


def _left_behind(run: Run) -> str:
    running = run.targets.filter(status=Target.Status.RUNNING)
    names = ", ".join(running.values_list("name", flat=True))
    return f"What it had begun may still run on {names}." if names else ""


def watch() -> None:
    """Looks from now on, in a thread of this process: perhaps no worker comes back."""
    threading.Thread(target=_watch, name="reaper", daemon=True).start()


def _watch() -> None:
    while True:
        try:
            reap()
        except Error as error:
            logger.warning("Lost runs cannot be looked for: %r", error)
        finally:
            close_old_connections()
        time.sleep(INTERVAL * random.uniform(0.8, 1.2))
