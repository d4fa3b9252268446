"""The portal's settings, and the app that subscribes."""

from opsportal.settings import *  # noqa: F403
from opsportal.settings import INSTALLED_APPS as PORTAL_APPS

INSTALLED_APPS = [*PORTAL_APPS, "tests.subscriber"]
