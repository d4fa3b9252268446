"""The portal's settings; its web processes report, and its page of streams asks, all the time."""

from opsportal.settings import *  # noqa: F403

ROOT_URLCONF = "tests.quick"
