"""The portal's settings, with tests/held.py in its URLs."""

from opsportal.settings import *  # noqa: F403

ROOT_URLCONF = "tests.held"
