"""Figures by push in real workers: seldom, however much happens, and right in the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.database import query
from tests.portal import Portal
from tests.services import wait_until

COUNT = 200  # servers
PAUSE = 0.02  # seconds between two of them: at the most 50 events a second, for four seconds
PATIENCE = 90  # seconds; must not be met

TOLD = "SELECT data, timestamp FROM events_event WHERE type = 'stats.updated' ORDER BY position"
CREATE = """
import time
from servers.models import Server
for number in range({count}):
    Server.objects.create(name=f"web-{{number}}", host="10.0.0.1", username="root")
    time.sleep({pause})
"""


def told(portal: Portal) -> list[tuple[int, datetime]]:
    """How many servers there are by each event, and when it was emitted."""
    rows: list[tuple[Any, Any]] = [(json.loads(data), at) for data, at in query(portal, TOLD)]
    return [
        (data["stats"]["total"], at if isinstance(at, datetime) else datetime.fromisoformat(at))
        for data, at in rows
        if data["domain"] == "servers"
    ]


@pytest.mark.timeout(300)
def test_figures_are_computed_once_a_second_and_end_right_whoever_is_killed(
    portal_factory: Callable[..., Portal],
) -> None:
    portal = portal_factory()
    workers = [portal.worker(), portal.worker()]
    wait_until(lambda: told(portal), PATIENCE, "the first figures, of nothing yet")
    writer = portal.start("shell", "-c", CREATE.format(count=COUNT, pause=PAUSE))
    wait_until(lambda: told(portal)[-1][0] > COUNT / 4, PATIENCE, "figures on the way")
    portal.kill(workers[0])
    assert writer.wait(PATIENCE) == 0
    wait_until(lambda: told(portal)[-1][0] == COUNT, PATIENCE, "the last figures")
    totals = [total for total, _ in told(portal)]
    assert totals == sorted(set(totals)), "none twice, and none of before"
    moments = [at for _, at in told(portal)]
    assert len(moments) <= (moments[-1] - moments[0]).total_seconds() + 2
    assert len(moments) < COUNT / 4
