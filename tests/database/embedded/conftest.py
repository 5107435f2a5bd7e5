"""A project for each test, and one server that tests only look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from database.embedded import (
    EmbeddedServer,
)
from tests.support.embedded_projects import (
    server,
)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder whose embedded server is removed at the end, whatever became of it."""
    folder = tmp_path / "project"
    folder.mkdir()
    yield folder
    if folder.exists():
        server(folder).destroy()


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A started server for the tests that only look at it."""
    one = server(tmp_path_factory.mktemp("running"), durable=True)
    one.start()
    yield one
    one.destroy()
