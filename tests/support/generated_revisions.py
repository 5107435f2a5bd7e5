"""What autogenerate writes for declarations: rendered, and run online and offline."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrationScript
from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import psycopg

import ddl
from database.migration.rehearsal import script_context
from ddl.differences import lines
from ddl.edition import detect
from ddl.source import arranged

NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
}

Declare = Callable[[MetaData], None]


def metadata_of(declare: Declare) -> MetaData:
    """A MetaData of its own with what ``declare`` puts on it."""
    metadata = MetaData(naming_convention=NAMES)
    declare(metadata)
    return metadata


def migration(
    connection: Connection, metadata: MetaData, renames: ddl.Answers | None = None
) -> MigrationScript:
    """What autogenerate would write to bring the database to ``metadata``."""
    context = MigrationContext.configure(
        connection,
        opts={
            "target_metadata": metadata,
            "autogenerate_plugins": ["ddl"],
            "renames": renames,
        },
    )
    script = produce_migrations(context, metadata)
    ddl.process_revision_directives(context, None, [script])
    return script


def rendered(operations: Any) -> str:
    """The body of upgrade() or downgrade(), without Alembic's marks."""
    context = MigrationContext.configure(dialect=psycopg.dialect())
    return arranged(render_python_code(operations, migration_context=context))


def execute(context: MigrationContext, text: str) -> None:
    """Run the body of a revision with exactly what a revision file imports."""
    names = {"op": Operations(context), "sa": sa, "postgresql": postgresql}
    exec(compile(text, "revision", "exec"), names)


def run(engine: Engine, text: str) -> None:
    """Run a revision's body in one transaction."""
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL search_path = public"))
        run_in(connection, text)


def run_in(connection: Connection, text: str) -> None:
    """Run a revision's body in the connection's transaction."""
    execute(MigrationContext.configure(connection), text)


def run_offline(engine: Engine, text: str) -> None:
    """Write a revision's body as SQL, then send that as one script."""
    buffer = io.StringIO()
    with engine.connect() as connection:
        edition = detect(connection)
    execute(script_context(buffer, edition), text)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            buffer.getvalue() or "SELECT 1", execution_options={"no_parameters": True}
        )


def apply(connection: Connection, metadata: MetaData) -> None:
    """Bring the database to ``metadata`` the way a developer would."""
    script = migration(connection, metadata)
    execute(MigrationContext.configure(connection), rendered(script.upgrade_ops))


def assert_clean(engine: Engine, metadata: MetaData) -> None:
    """Fail with what autogenerate would change, if anything."""
    _left(engine, metadata)


def assert_no_drift(engine: Engine, metadata: MetaData) -> None:
    """The same, and fail with what check would report beside it.

    An extension that no model declares any more stays by intention, and is reported.
    """
    found = ddl.found_by(_left(engine, metadata))
    reported = lines([one for one in found if one.kind != "extension"])
    assert not reported, "check still reports:\n" + "\n".join(reported)


def _left(engine: Engine, metadata: MetaData) -> MigrationScript:
    with engine.connect() as connection:
        script = migration(connection, metadata)
    left = rendered(script.upgrade_ops)
    assert left in ("", "pass"), f"autogenerate still finds:\n{left}"
    return script
