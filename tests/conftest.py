"""Where the fixtures are, and a last line that says which editions the tests saw."""

from __future__ import annotations

import os
from typing import Any

import pytest

from database.libpq import variables
from tests.support import context

pytest_plugins = ["tests.support.databases"]

# Their assertions show what differs, as those of tests do.
pytest.register_assert_rewrite("tests.ddl.case", "tests.support.drift")

_editions = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    # Credentials and TLS may be meant for TEST_DATABASE_URL; the rest can only lead astray.
    for name in variables():
        if not name.startswith(("PGPASS", "PGSSL")):
            os.environ.pop(name, None)
    if context.SIGNED:
        os.environ["CONTEXT_KEY_FILE"] = str(context.key_file())
    config.stash[_editions] = set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def editions(request: pytest.FixtureRequest) -> set[str]:
    """What the last line of the run lists."""
    return request.config.stash[_editions]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands over what it saw."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["editions"] = sorted(session.config.stash[_editions])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_editions].update(getattr(node, "workeroutput", {}).get("editions", ()))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    seen = sorted(config.stash[_editions])
    terminalreporter.write_line(f"Editions exercised: {'; '.join(seen) or 'none'}")
