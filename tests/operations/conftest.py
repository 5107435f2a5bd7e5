"""Commands run as in real life: as an owner that is no superuser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.databases import MakeDatabase
from tests.support.plain_owner import plain_owner


@pytest.fixture
def commands_on(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Lets the commands that follow run on the database of an URL, as a plain owner of it.

    Row-level security hides from it what a superuser sees, so a statement that acts as nobody
    else finds nothing, and says that all is well.
    """
    with ExitStack() as owners:

        def choose(url: str) -> None:
            monkeypatch.setenv("MIGRATION_DATABASE_URL", owners.enter_context(plain_owner(url)))

        yield choose
