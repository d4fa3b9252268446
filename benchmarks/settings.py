"""The project's settings with the addresses of benchmarks.urls."""

from opsportal.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.urls"
