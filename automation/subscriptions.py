"""What is to be known of runs when something happened to them."""

from automation.event_map import AutomationEvent
from automation.serializers import RunFiguresSerializer
from automation.stats import stats
from events.api import publish_stats

publish_stats(
    "automation",
    stats,
    RunFiguresSerializer,
    types=[
        AutomationEvent.QUEUED,
        AutomationEvent.STARTED,
        AutomationEvent.COMPLETED,
        AutomationEvent.FAILED,
        AutomationEvent.CANCELLED,
    ],
    permission="automation.view_run",
)
