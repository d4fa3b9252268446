"""The portal's settings, in a process that collects no garbage, with tests/uncollected.py."""

import gc

from opsportal.settings import *  # noqa: F403

ROOT_URLCONF = "tests.uncollected"
gc.disable()
