"""The pytest plugin of the whole suite, loaded by pytest.ini before Django reads its settings.

`--stack=embedded` is the portal's default: SQLite, nothing else. `--stack=scaled` starts a private
PostgreSQL and Redis for the run. A skipped test fails, as it would hide a missing service.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.portal import portal_settings
from tests.services import MissingService, Postgres, Redis, program_version

PROGRAMS = {
    "PostgreSQL": ("postgres", "postgresql"),
    "Redis": ("redis-server", "redis-server"),
    "Chromium": ("chromium", "chromium"),
}


class Services:
    """The run's servers, each started when it is first asked for."""

    def __init__(self) -> None:
        self._running = ExitStack()

    @cached_property
    def postgres(self) -> Postgres:
        return self._running.enter_context(Postgres())

    @cached_property
    def redis(self) -> Redis:
        return self._running.enter_context(Redis())

    def close(self) -> None:
        self._running.close()


SERVICES = pytest.StashKey[Services]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=("embedded", "scaled"),
        default="embedded",
        help="what the portal runs on: SQLite alone, or PostgreSQL and Redis (default: embedded)",
    )
    parser.addoption(
        "--browser-tests",
        choices=("only", "none"),
        help="only the tests that need a browser, or none of them (default: all tests)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # A run that is told to end cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What a shell starts in its background is deaf to Ctrl-C, and so is all that is started by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = early_config.known_args_namespace
    directory = TemporaryDirectory(prefix="opsportal-tests-")
    early_config.add_cleanup(directory.cleanup)
    services = early_config.stash[SERVICES] = Services()
    early_config.add_cleanup(services.close)
    urls = []
    if options.stack == "scaled" and not (options.help or options.version):
        try:
            urls = [services.postgres.create_database("opsportal"), services.redis.url]
        except MissingService as error:
            raise pytest.UsageError(str(error)) from error
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)  # pytest.ini names it
    # Without a pool: its idle connections would keep the test database from being dropped.
    pool = {"DATABASE_POOL_SIZE": "0"}
    os.environ.update(portal_settings(Path(directory.name), *urls) | pool)


def pytest_configure(config: pytest.Config) -> None:
    # After all other plugins, as a fixture takes the place of one that was registered before it.
    config.pluginmanager.import_plugin("tests.fixtures")
    config.pluginmanager.import_plugin("servers.tests.cast")


def pytest_report_header(config: pytest.Config) -> str:
    versions = ", ".join(f"{name} {_version(*program)}" for name, program in PROGRAMS.items())
    return f"stack: {config.getoption('stack')}; {versions}"


def _version(program: str, package: str) -> str:
    try:
        return program_version(program, package)
    except MissingService:
        return "missing"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("browser_tests")
    left_out = [item for item in items if wanted and _has_browser(item) != (wanted == "only")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    # Playwright leaves an event loop running in this thread from the first browser test to the end
    # of the session, and neither asyncio.run() nor the ORM works beneath it.
    items.sort(key=_has_browser)


def _has_browser(item: pytest.Item) -> bool:
    return "playwright" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped or hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"No test may skip or be expected to fail here: {report.longrepr}"
