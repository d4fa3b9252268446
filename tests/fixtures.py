"""What a test may ask for: the stack's servers, portals on them, and Debian's Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections
from django.test import TransactionTestCase, override_settings

from events import log
from events.relay import relay
from opsportal.static import StaticFilesMiddleware
from tests.migrated import MigratedRows
from tests.plugin import SERVICES, Services
from tests.portal import Portal
from tests.services import Postgres, Redis, find_program


def pytest_configure(config: pytest.Config) -> None:
    marker = "stack(name): what it asserts is of this stack alone, and it runs on no other"
    config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what belongs to the other stack."""
    stack = config.getoption("stack")
    foreign = [item for item in items if stack_of(item) not in ("", stack)]
    if foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]


def stack_of(item: pytest.Item) -> str:
    """The one stack that a test runs on; empty for both.

    An app's test within one transaction runs no race, which is where databases differ most; those
    of `events`, on whose queries all depends, run on both.
    """
    marker = item.get_closest_marker("stack")
    if marker is not None:
        return str(marker.args[0])
    database = item.get_closest_marker("django_db")
    races = database is None or database.kwargs.get("transaction", False)
    of_an_app = item.path.relative_to(item.config.rootpath).parts[0] not in ("events", "tests")
    return "embedded" if of_an_app and not races else ""


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> Services:
    return pytestconfig.stash[SERVICES]


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> str:
    """`embedded` or `scaled`."""
    return str(pytestconfig.getoption("stack"))


@pytest.fixture(scope="session")
def postgres(services: Services) -> Postgres:
    """The run's PostgreSQL, which other tests use too: one that stops it starts its own."""
    return services.postgres


@pytest.fixture(scope="session")
def redis_server(services: Services) -> Redis:
    """The run's Redis, which other tests use too: one that stops it starts its own."""
    return services.redis


@pytest.fixture(scope="session")
def migrated_database(
    stack: str, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory with a migrated db.sqlite3; on the scaled stack, the database of its name."""
    directory = tmp_path_factory.mktemp("migrated", numbered=False)
    url = services.postgres.create_database(directory.name) if stack == "scaled" else None
    Portal(directory, url).manage("migrate", "--verbosity=0")
    return directory


@contextmanager
def portals(
    services: Services, migrated: Path, directory: Path, *, scaled: bool
) -> Iterator[Callable[..., Portal]]:
    """Makes portals, each on a migrated database of its own; arguments are settings by name."""
    numbers = count(1)
    with ExitStack() as running:

        def create(**settings: Any) -> Portal:
            own = directory / f"portal{next(numbers)}"
            own.mkdir()
            if not scaled:
                shutil.copy(migrated / "db.sqlite3", own)
                return running.enter_context(Portal(own, **settings))
            name = f"{directory.name}_{own.name}"[-63:]
            url = services.postgres.create_database(name, template=migrated.name)
            running.callback(services.postgres.drop_database, name)
            # A Redis each, as its publish/subscribe knows no databases: two would hear each other.
            redis = running.enter_context(Redis())
            portal = running.enter_context(Portal(own, url, redis.url, **settings))
            portal.redis = redis
            return portal

        yield create


@pytest.fixture
def portal_factory(
    stack: str, services: Services, migrated_database: Path, tmp_path: Path
) -> Iterator[Callable[..., Portal]]:
    """Portals for one test; see `portals`."""
    with portals(services, migrated_database, tmp_path, scaled=stack == "scaled") as create:
        yield create


@pytest.fixture(scope="module")
def module_portals(
    stack: str,
    services: Services,
    migrated_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., Portal]]:
    """Portals for all tests of a module, as their start takes seconds; see `portals`."""
    directory = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2], numbered=False)
    with portals(services, migrated_database, directory, scaled=stack == "scaled") as create:
        yield create


@pytest.fixture
def portal(portal_factory: Callable[..., Portal]) -> Portal:
    return portal_factory()


@pytest.fixture(autouse=True)
def relay_at_rest(request: pytest.FixtureRequest) -> Iterator[None]:
    """No thread of one test touches the database of the next.

    Nor while it is put right: the locks that this takes, and those of a relay that places what the
    test committed last, are taken in other orders, and PostgreSQL ends either for a deadlock.
    """
    marker = request.node.get_closest_marker("django_db")
    commits = marker is not None and marker.kwargs.get("transaction", False)
    if commits or "transactional_db" in request.fixturenames:
        request.getfixturevalue("transactional_db")  # before this one, and so put right after it
    yield
    relay.stop()
    relay._reset()  # also what it remembers of a layer that failed
    # The thread in which asgiref runs the ORM for coroutines keeps its connection.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """A busy machine may leave a test alone for longer than a sequencer may hold the log's head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "LONGEST_PAUSE", 60.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """A fast hash, as Django advises for tests; the portals of `portal_factory` keep theirs."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session", autouse=True)
def static_files_found_once() -> Iterator[None]:
    """Each test client makes the middleware anew, which would look at 300 files each time."""
    found: dict[str, Any] = {}
    look = StaticFilesMiddleware.add_files_from_finders

    def add_files(middleware: StaticFilesMiddleware) -> None:
        if not found:
            look(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StaticFilesMiddleware, "add_files_from_finders", add_files)
        yield


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return browser_type_launch_args | {
        "executable_path": find_program("chromium", "chromium"),
        "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    }


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test database, to which a test with transactions of its own gives its rows back."""
    from django.db import connection

    with django_db_blocker.unblock():
        migrated = MigratedRows(connection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: migrated.restore())
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """SQLite's test database in a file, as threads block each other in one in memory."""
    from django.db import connection

    if connection.vendor == "sqlite":
        name = Path(connection.settings_dict["NAME"])
        connection.settings_dict["TEST"]["NAME"] = str(name.with_name("test.sqlite3"))
