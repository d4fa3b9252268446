"""What is to be known of servers when something happened to them."""

from events.api import publish_stats
from servers.stats import ServerStats, stats

publish_stats(
    "servers",
    stats,
    ServerStats,
    types=["server.*", "environment.updated"],
    permission="servers.view_server",
)
