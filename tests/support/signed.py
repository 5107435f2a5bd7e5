"""A signed database of two tenants, and a login of the application that no superuser backs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from database.context import ContextKey, KeyFile
from database.engine import make_engine
from database.settings import Settings
from database.tenancy import ANY_LOGIN
from operations.access import context
from tests.support.acme_and_globex import populate
from tests.support.engines import engine_of, execute

PASSWORD = "x"


@dataclass(frozen=True)
class SignedDatabase:
    """Tenants ACME and GLOBEX; the newest key is in ``file``."""

    owner: Engine
    login: str
    file: Path

    @property
    def key(self) -> ContextKey:
        return key_in(self.file)

    @property
    def url(self) -> sa.URL:
        """For the login, which has the role fleet_app."""
        return self.owner.url.set(username=self.login, password=PASSWORD)

    @contextmanager
    def application(self, **options: Any) -> Iterator[Engine]:
        """Of the login, which signs with the key in ``file`` unless ``options`` say otherwise."""
        engine = make_engine(
            self.url,
            settings=Settings(context_key_file=None),
            **{"context_key": KeyFile(self.file), "pool_size": 1, "max_overflow": 0} | options,
        )
        try:
            yield engine
        finally:
            engine.dispose()


def key_in(file: Path) -> ContextKey:
    return ContextKey(bytes.fromhex(file.read_text().strip()))


@contextmanager
def signed(url: str, folder: Path) -> Iterator[SignedDatabase]:
    """Make the database at ``url``, which is at the head, a signed one of two tenants."""
    login = f"app_{uuid.uuid4().hex[:8]}"
    with engine_of(url, execution_options={ANY_LOGIN: True}) as owner:
        populate(owner)
        file = folder / "key"
        execute(url, "DELETE FROM signing.context_keys")  # of TEST_CONTEXT=signed
        context.rotate(owner, file)
        with owner.begin() as connection:
            context.sign(connection)
        execute(url, f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}' IN ROLE fleet_app")
        try:
            yield SignedDatabase(owner, login, file)
        finally:
            execute(url, f"DROP ROLE {login}")
