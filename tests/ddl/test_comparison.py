"""What the comparison promises besides its result: same bytes, no traces, no waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Column,
    Engine,
    Integer,
    MetaData,
    NullPool,
    Table,
    Text,
    text,
)

from ddl import Function, Policy, RowLevelSecurity, View
from tests.ddl import test_operations_tables
from tests.ddl.case import Case, nothing
from tests.support import drift
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.databases import MakeDatabase
from tests.support.generated_revisions import apply, assert_clean, metadata_of, migration, rendered
from tests.support.granted_roles import make_roles
from tests.support.servers import DatabaseServer

ROOT = Path(__file__).resolve().parents[2]


def models(metadata: MetaData) -> None:
    drift.models(metadata)
    test_operations_tables.second_schema(metadata)


def changed(metadata: MetaData) -> None:
    """Something of every kind differs from ``models``, but no view: versions spell those differently."""
    models(metadata)
    sites, parts = metadata.tables["sites"], metadata.tables["parts"]
    parts.append_column(Column("size", BigInteger, server_default="1"))
    parts.append_column(Column("note", Text, index=True, comment="note"))
    sites.append_constraint(sa.CheckConstraint("size <> 13", name="lucky"))
    sites.append_constraint(sa.UniqueConstraint("name"))
    for item in (RowLevelSecurity(), Policy("all", to="r_op", using="true")):
        item._set_parent_with_dispatch(parts)
    Function("one", "a int", returns="int", body="RETURN a", metadata=metadata)
    Table("extra", metadata, Column("id", Integer, primary_key=True))


def texts(engine: Engine) -> list[str]:
    """Both directions of: everything new, everything changed, everything gone."""
    with engine.connect() as connection:
        found = []
        for declare in (models, changed, nothing):
            script = migration(connection, metadata_of(declare))
            up = rendered(script.upgrade_ops)
            found += [up, rendered(script.downgrade_ops)]
            if declare is models:
                apply(connection, metadata_of(models))
    return found


def test_same_bytes_whatever_the_hash_seed(engine: Engine) -> None:
    """The order of sets differs from process to process."""
    program = (
        "import sys, sqlalchemy as sa; from tests.ddl.test_comparison import texts;"
        "engine = sa.create_engine(sys.argv[1], poolclass=sa.NullPool);"
        "print('\\n====\\n'.join(texts(engine)))"
    )
    url = engine.url.render_as_string(hide_password=False)
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, url],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().count("====") == 5


@pytest.mark.parametrize("other", ["embedded_16_server", "machine_server"])
def test_same_bytes_on_every_version(
    request: pytest.FixtureRequest, make_database: MakeDatabase, engine: Engine, other: str
) -> None:
    """A revision generated on one version of the server is for all of them."""
    server: DatabaseServer = request.getfixturevalue(other)
    administration = sa.create_engine(
        server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    with administration.connect() as connection:
        make_roles(connection)
    elsewhere, third = (
        sa.create_engine(make_database(server), poolclass=NullPool) for _ in range(2)
    )
    new, new_back, change, change_back, _, _ = texts(elsewhere)
    assert [new, new_back, change, change_back] == texts(engine)[:4]
    Case(models, changed).walk(third)


def test_leaves_nothing_behind(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(models))
    start = catalog_states(engine)
    with engine.connect() as connection, engine.connect() as observer:
        assert migration(connection, metadata_of(models)).upgrade_ops.is_empty()
        connection.commit()
        held = observer.scalar(
            text("SELECT count(*) FROM pg_locks WHERE pid = :pid AND locktype = 'relation'"),
            {"pid": connection.connection.driver_connection.info.backend_pid},
        )
        assert held == 0
        assert connection.scalar(text("SHOW search_path")) == '"$user", public'
        assert connection.scalar(text("SHOW check_function_bodies")) == "on"
        assert not connection.scalars(
            text("SELECT nspname FROM pg_namespace WHERE nspname LIKE '%shadow%'")
        ).all()
    assert not unequal_states(catalog_states(engine), start)


def test_blocks_no_session_and_is_not_blocked(engine: Engine) -> None:
    """Other sessions read and write while it runs; locks on undeclared tables do not delay it."""
    with engine.begin() as connection:
        apply(connection, metadata_of(drift.models))
        connection.execute(text("CREATE SCHEMA theirs CREATE TABLE t (id integer CHECK (id > 0))"))
    with engine.connect() as other, engine.connect() as connection, engine.connect() as user:
        other.execute(text("LOCK TABLE theirs.t IN ACCESS EXCLUSIVE MODE"))
        for busy in (connection, user):
            busy.execute(text("SET lock_timeout = '2s'"))
        assert migration(connection, metadata_of(drift.models)).upgrade_ops.is_empty()
        user.execute(text("INSERT INTO parts VALUES (1)"))
        user.execute(text("UPDATE parts SET id = 2"))
        user.execute(text("CREATE INDEX ON parts (tenant_id)"))


def test_two_at_once(engine: Engine) -> None:
    """Neither waits for the other, even where its transaction stays open."""
    with engine.begin() as connection:
        apply(connection, metadata_of(models))

    def compare(barrier: threading.Barrier) -> bool:
        with engine.connect() as connection:
            connection.execute(text("SET lock_timeout = '2s'"))
            barrier.wait(10)
            script = migration(connection, metadata_of(models))
            barrier.wait(10)
            return script.upgrade_ops.is_empty()

    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(compare, [barrier, barrier])) == [True, True]


def test_what_a_filter_hides_is_not_compared(engine: Engine) -> None:
    """Undeclared tables in public: neither they nor what belongs to them appears, in any kind."""
    with engine.begin() as connection:
        apply(connection, metadata_of(drift.models))
        for statement in (
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
            "CREATE TABLE parent (at date) PARTITION BY RANGE (at)",
            "CREATE PROCEDURE call_me() BEGIN ATOMIC SELECT 1; END",
            "CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer)",
            "DROP TABLE parent",
        ):
            connection.execute(text(statement))
    assert_clean(engine, metadata_of(drift.models))


def test_default_privileges_do_not_reach_the_shadow_schema(engine: Engine) -> None:
    """Default privileges apply to live objects; they must not hide what is not declared."""

    def declare(metadata: MetaData) -> None:
        Table("items", metadata, Column("id", Integer))
        Function("one", returns="int", body="RETURN 1", metadata=metadata)

    with engine.begin() as connection:
        for given in ("SELECT ON TABLES TO r_app", 'EXECUTE ON FUNCTIONS TO "Mixed Case"'):
            connection.execute(text(f"ALTER DEFAULT PRIVILEGES GRANT {given}"))
        apply(connection, metadata_of(declare))
    with engine.connect() as connection:
        script = migration(connection, metadata_of(declare))
        assert rendered(script.upgrade_ops) == (
            'op.revoke("function one()", {"Mixed Case": "execute"})\n'
            'op.revoke("items", {"r_app": "select"})'
        )
        connection.commit()
        assert connection.scalar(text("SELECT count(*) FROM pg_default_acl")) == 2


def test_declaration_that_the_server_refuses(engine: Engine) -> None:
    def declare(metadata: MetaData) -> None:
        Table("items", metadata, Column("id", Integer), schema="billing")
        View(
            "broken",
            "SELECT billing.items.nam FROM billing.items",
            schema="billing",
            metadata=metadata,
        )

    with pytest.raises(CommandError) as caught, engine.connect() as connection:
        migration(connection, metadata_of(declare))
    message = str(caught.value)
    assert "column items.nam does not exist" in message
    assert "CREATE VIEW billing.broken" in message
    assert "_shadow_" not in message


@pytest.mark.timescaledb
def test_extension_in_public(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    """Its hundreds of functions are no difference, and the models' SQL finds them."""
    url = make_database(timescaledb_server)
    engine = sa.create_engine(url, poolclass=NullPool)

    def declare(metadata: MetaData) -> None:
        Table("readings", metadata, Column("at", TIMESTAMP(timezone=True), nullable=False))
        View(
            "hourly",
            "SELECT time_bucket('1 hour', at) AS hour, count(*) AS n FROM readings GROUP BY 1",
            metadata=metadata,
        )

    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public"))
        connection.execute(text("CREATE TABLE stray (id integer)"))
        connection.execute(text("DROP TABLE stray"))
    Case(nothing, declare).walk(engine)


def test_view_over_an_undeclared_table(engine: Engine) -> None:
    """What a filter hides may be read: it exists."""

    def declare(metadata: MetaData) -> None:
        View("versions", "SELECT version_num FROM public.alembic_version", metadata=metadata)

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num text PRIMARY KEY)"))
    Case(nothing, declare).walk(engine)


@pytest.mark.timescaledb
def test_name_that_only_the_database_knows(
    timescaledb_server: DatabaseServer, make_database: MakeDatabase
) -> None:
    """With an extension in public, the server finds an undeclared table there, too."""
    engine = sa.create_engine(make_database(timescaledb_server), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public"))
        connection.execute(text("CREATE TABLE stray (id integer)"))

    def declare(metadata: MetaData) -> None:
        View("over_stray", "SELECT id FROM public.stray", metadata=metadata)

    expected = "view public.over_stray refers to column public.stray.id, which is in the database"
    with engine.connect() as connection, pytest.raises(CommandError, match=expected):
        migration(connection, metadata_of(declare))
