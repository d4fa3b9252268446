"""The portal's URLs, in a process that reports itself every fifth of a second: `quick_settings`."""

from unittest.mock import patch

from events import reports
from opsportal import monitor
from opsportal.urls import urlpatterns

patch.object(reports, "INTERVAL", 0.2).start()
patch.object(monitor, "REFRESH", 0.4).start()

__all__ = ["urlpatterns"]
