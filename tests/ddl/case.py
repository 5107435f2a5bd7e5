"""One change of the models, taken all the way: rendered, run, checked, reversed.

``Case(before, after)`` gives two sets of declarations. ``walk`` builds the first in an empty
database through autogenerate, generates the change, compares the text with what is expected,
runs it, checks that nothing is left to change, runs the downgrade and requires the very
catalog of the start; then the same script offline must give the same catalog.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
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
from ddl.catalog import read
from ddl.edition import detect
from ddl.source import arranged

ROLES = ("r_app", "r_op", "r_read", "r_owner", "Mixed Case")
"""The roles of the cases; made by the fixtures, since they belong to the cluster."""

NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
}

SETTINGS = {"search_path": "pg_catalog, pg_temp"}
"""What a function with a text body must fix."""

Declare = Callable[[MetaData], None]


def metadata_of(declare: Declare) -> MetaData:
    """A MetaData of its own with what ``declare`` puts on it."""
    metadata = MetaData(naming_convention=NAMES)
    declare(metadata)
    return metadata


def nothing(metadata: MetaData) -> None:
    """An empty database."""


@dataclass
class Case:
    """A change from the declarations ``before`` to those of ``after``."""

    before: Declare
    after: Declare
    upgrade: str = ""
    downgrade: str = ""
    rows: list[str] = field(default_factory=list)

    def walk(self, engine: Engine) -> None:
        """Everything the module's docstring promises, on an empty database."""
        before, after = metadata_of(self.before), metadata_of(self.after)
        with engine.begin() as connection:
            apply(connection, before)
            for statement in self.rows:
                connection.execute(sa.text(statement))
        start = snapshot(engine)
        with engine.connect() as connection:
            script = migration(connection, after)
        up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
        if self.upgrade or self.downgrade:
            assert up == textwrap.dedent(self.upgrade).strip()
            assert down == textwrap.dedent(self.downgrade).strip()
        run(engine, up)
        assert_clean(engine, after)
        target = snapshot(engine)
        run(engine, down)
        traces = unequal(snapshot(engine), start)
        assert not traces, "the downgrade left a trace:\n" + "\n".join(traces)
        assert_clean(engine, before)
        run_offline(engine, up)
        traces = unequal(snapshot(engine), target)
        assert not traces, "--sql differs from the upgrade:\n" + "\n".join(traces)


def migration(connection: Connection, metadata: MetaData) -> MigrationScript:
    """What autogenerate would write to bring the database to ``metadata``."""
    context = MigrationContext.configure(
        connection, opts={"target_metadata": metadata, "autogenerate_plugins": ["ddl"]}
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
    context = MigrationContext.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        opts={
            "as_sql": True,
            "output_buffer": buffer,
            "literal_binds": True,
            "edition": edition,
        },
    )
    execute(context, text)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            buffer.getvalue() or "SELECT 1", execution_options={"no_parameters": True}
        )


def apply(connection: Connection, metadata: MetaData) -> None:
    """Bring the database to ``metadata`` the way a developer would."""
    script = migration(connection, metadata)
    execute(MigrationContext.configure(connection), rendered(script.upgrade_ops))


def assert_clean(engine: Engine, metadata: MetaData) -> None:
    """Nothing may be left to change; what is, is shown."""
    with engine.connect() as connection:
        left = rendered(migration(connection, metadata).upgrade_ops)
        assert left in ("", "pass"), f"autogenerate still wants:\n{left}"


def snapshot(engine: Engine) -> dict[str, Any]:
    """The whole catalog of all schemas but the system's, for comparing before and after."""
    with engine.connect() as connection:
        return snapshot_of(connection)


def snapshot_of(connection: Connection) -> dict[str, Any]:
    """The same as the connection's transaction sees it."""
    with connection.begin_nested() as savepoint:
        connection.execute(sa.text("SET LOCAL search_path = pg_catalog"))
        schemas = connection.scalars(
            sa.text(
                """SELECT nspname::text FROM pg_namespace
                    WHERE nspname !~ '^(pg_|information_|_?timescaledb_)'"""
            )
        )
        catalog = read(connection, list(schemas))
        savepoint.rollback()
    found: dict[str, Any] = {}
    for state in catalog.states():
        found.setdefault(state.kind, {})[state.key] = state
    return found


def unequal(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What differs between two snapshots, a line per object."""
    return [
        f"{kind} {key}: expected {expected.get(kind, {}).get(key)}, found {found[kind].get(key)}"
        for kind in sorted(found.keys() | expected.keys())
        for key in sorted(found.setdefault(kind, {}).keys() | expected.get(kind, {}).keys())
        if found[kind].get(key) != expected.get(kind, {}).get(key)
    ]
