"""Where the fixtures are, and a last line that says which editions the tests saw."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["tests.support.databases"]

_editions = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_editions] = set()


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
