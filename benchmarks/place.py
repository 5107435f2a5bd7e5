"""Where the benchmarks run: their own database on a server with TimescaleDB Community."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine
from sqlalchemy_utils import create_database, drop_database

from database.context import ContextKey
from database.embedded import TemporaryServer
from database.errors import FleetSchemaError
from database.server_info import server_info
from database.signing import is_signed, set_signed
from database.urls import parse_url
from ddl.edition import Edition
from operations.access import context
from tests.support.alembic_project import config_for
from tests.support.servers import TIMESCALEDB, DatabaseServer, ExternalServer, machine_programs

_DAY = 86_400.0

# Settings of a small server for such data; durable, as in production.
_SETTINGS: dict[str, Any] = {"shared_buffers": "1GB", "work_mem": "64MB", "max_wal_size": "8GB"}


class BenchmarkError(FleetSchemaError):
    """The benchmarks cannot run; the text says why."""


@dataclass(frozen=True)
class Place:
    """One migrated database without rows."""

    engine: Engine
    server: str
    """Edition and versions, for the report."""
    key: ContextKey
    """Signs the tenants of all connections, whether the database asks for that or not."""

    @property
    def signed(self) -> bool:
        """Whether tenants need the token."""
        with self.engine.connect() as connection:
            return is_signed(connection)

    def sign(self, signed: bool) -> None:
        """Make the database signed or plain, for connections that exist as well."""
        with self.engine.begin() as connection:
            set_signed(connection, signed=signed)

    def connect(
        self, role: str | None = None, tenant: str | None = None, *, prepared: bool | None = None
    ) -> psycopg.Connection:
        """A psycopg connection; with ``role`` a transaction as it, bound to ``tenant``.

        ``prepared`` or not, each statement is a transaction of its own.
        """
        url = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        # As behind a pooler: no prepared statements, unless they are what is measured.
        connection = psycopg.connect(
            url,
            autocommit=role is None or prepared is not None,
            prepare_threshold=0 if prepared else None,
        )
        # As one of a pool: until a process has once freed a large piece of memory, its allocator
        # gives what a statement took back to the system, and the next one waits for page faults.
        connection.execute("SELECT length(repeat('x', 16000000))")
        if role is not None:
            token = self.key.token(uuid.UUID(tenant), lifetime=_DAY) if tenant else ""
            connection.execute(
                "SELECT set_config('role', %s, false), set_config('app.tenant_id', %s, false),"
                " set_config('app.tenant_token', %s, false)",
                (role, tenant or "", token),
            )
        return connection


@contextmanager
def server(url: str | None) -> Iterator[DatabaseServer]:
    """The server at ``url``, or a temporary one from this machine's programs.

    Raises:
        BenchmarkError: there is no TimescaleDB.
    """
    if url is not None:
        yield ExternalServer(parse_url(url))
    elif programs := machine_programs("timescaledb"):
        with TemporaryServer(programs, durable=True, **TIMESCALEDB, **_SETTINGS) as temporary:
            yield temporary
    else:
        raise BenchmarkError(
            "this machine's PostgreSQL programs have no TimescaleDB: install it, or name a server "
            "that has it: make bench url=postgresql://…"
        )


@contextmanager
def place(on: DatabaseServer, name: str, *, signed: bool = False) -> Iterator[Place]:
    """A new database at the head, plain or signed; it is dropped afterwards.

    Raises:
        BenchmarkError: the server has not the Community edition.
    """
    url = on.url(f"fleetschema_benchmark_{name}")
    with ExitStack() as stack:
        create_database(url, template="template0")
        stack.callback(drop_database, url)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        stack.callback(engine.dispose)
        command.upgrade(config_for(engine), "head")
        with engine.connect() as connection:
            info = server_info(connection)
        if info.edition is not Edition.COMMUNITY:
            raise BenchmarkError(f"expected TimescaleDB Community, found edition {info.edition}")
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "key"
        context.rotate(engine, file)
        key = ContextKey(bytes.fromhex(file.read_text(encoding="ascii").strip()))
        described = f"PostgreSQL {info.version}, TimescaleDB {info.timescaledb}"
        made = Place(engine, f"{described}, signed" if signed else described, key)
        made.sign(signed)
        yield made
