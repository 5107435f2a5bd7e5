"""PostgreSQL's spelling is no fixed point: a restored or downgraded database is no drift.

Every expression of `tests.ddl.expressions` stands wherever SQL can stand.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    literal_column,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from ddl import (
    Function,
    Hypertable,
    MaterializedView,
    Policy,
    Rollup,
    RowLevelSecurity,
    Trigger,
    View,
)
from ddl.compare import found_by
from ddl.kind import Kind
from ddl.kinds import KINDS
from ddl.types import SqlType
from tests.ddl.case import SETTINGS, Case
from tests.ddl.expressions import CONDITIONS, DEFAULTS, QUERIES, of_row
from tests.support.databases import MakeDatabase, with_buckets
from tests.support.dumps import copy_by_dump
from tests.support.engines import engine_of
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
)
from tests.support.servers import DatabaseServer

TYPES = {
    "a": "integer",
    "b": "integer",
    "s": "varchar(10)",
    "c": "char(3)",
    "txt": "text",
    "ts": "timestamptz",
    "d": "date",
    "n": "numeric(10,2)",
    "j": "jsonb",
    "arr": "integer[]",
    "flag": "boolean",
    "iv": "interval",
    "r": "int4range",
    "ip": "inet",
}


def _columns() -> list[Column[object]]:
    return [Column("id", Integer, primary_key=True, autoincrement=False)] + [
        Column(name, SqlType(spelled)) for name, spelled in TYPES.items()
    ]


def tables(metadata: MetaData) -> None:
    """The tables without any expression."""
    Table("t", metadata, *_columns())
    Table("u", metadata, Column("a", Integer, primary_key=True), Column("b", Integer))
    body = "begin return new; end"
    Function("touch", returns="trigger", language="plpgsql", body=body, settings=SETTINGS,
             metadata=metadata)  # fmt: skip
    Table(
        "h",
        metadata,
        Column("ts", SqlType("timestamp with time zone"), primary_key=True),
        Column("a", Integer, index=True),
        Column("s", SqlType("character varying(10)")),
        Hypertable("ts", chunk_interval="7 days"),
    )


def everything(metadata: MetaData) -> None:
    """The same tables with every expression wherever one can stand."""
    tables(metadata)
    t, h = metadata.tables["t"], metadata.tables["h"]
    items: list[sa.schema.SchemaItem] = [RowLevelSecurity()]
    for number, condition in enumerate(CONDITIONS):
        t.append_column(Column(f"g{number}", sa.Boolean, Computed(condition, persisted=True)))
        items += [
            CheckConstraint(condition, name=f"k{number}"),
            ExcludeConstraint(
                (literal_column("id"), "="), using="btree", name=f"x{number}",
                where=literal_column(condition),
            ),
            Policy(f"p{number}", to="r_op", using=condition,
                   check=f"({condition}) OR a IN (SELECT u.a FROM u WHERE u.b BETWEEN 1 AND 2)"),
            Trigger(f"w{number}", timing="before", events="update", function="touch()",
                    when=of_row(condition, "new")),
            Function(f"f{number}", f"v boolean DEFAULT {'1 BETWEEN 0 AND 2 AND 2 IN (2, 3)'}",
                     returns="bigint",
                     body=f"BEGIN ATOMIC SELECT count(*) FROM t WHERE ({condition}) AND v; END"),
        ]  # fmt: skip
        Index(
            f"i{number}", t.c.id, literal_column(f"(CASE WHEN {condition} THEN 1 END)"),
            postgresql_where=literal_column(condition), _table=t,
        )  # fmt: skip
        View(f"v{number}", f"SELECT id, ({condition}) AS x FROM t WHERE {condition}",
             metadata=metadata)  # fmt: skip
    for number, query in enumerate(QUERIES):
        View(f"q{number}", query, metadata=metadata)
        MaterializedView(f"m{number}", query, metadata=metadata)
        items.append(
            Function(f"b{number}", returns="bigint", language="sql",
                     body=f"BEGIN ATOMIC SELECT count(*) FROM ({query}) x; END")
        )  # fmt: skip
    for number, (type_, default) in enumerate(DEFAULTS.items()):
        t.append_column(Column(f"d{number}", SqlType(type_), server_default=sa.text(default)))
    for item in items:
        item._set_parent_with_dispatch(t)
    for number, condition in enumerate(
        ("a BETWEEN 1 AND 5 AND a <> 3 AND (a = 1 OR s IN ('x', 'y'))", "s IN ('x', 'y')")
    ):
        CheckConstraint(condition, name=f"k{number}")._set_parent_with_dispatch(h)
        Rollup(
            f"r{number}",
            f"SELECT time_bucket('1 hour', ts) AS bucket, count(*) FILTER (WHERE {condition}) AS n"
            f" FROM h WHERE {condition} GROUP BY time_bucket('1 hour', ts)",
            metadata=metadata,
        )


@pytest.fixture
def engine(any_server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """An empty database of each server, with the extension and the roles of the cases."""
    with engine_of(make_database(any_server, like=with_buckets)) as engine:
        yield engine


@pytest.fixture
def embedded(server: DatabaseServer, make_database: MakeDatabase) -> Iterator[Engine]:
    """An empty database of the embedded server."""
    with engine_of(make_database(server)) as engine:
        yield engine


@pytest.mark.slow
def test_downgrade_and_restore_leave_no_drift(
    engine: Engine, any_server: DatabaseServer, make_database: MakeDatabase, tmp_path: Path
) -> None:  # fmt: skip
    models = metadata_of(everything)
    with engine.begin() as connection:
        apply(connection, models)
    assert_clean(engine, models)
    with engine.connect() as connection:
        script = migration(connection, metadata_of(tables))
    run(engine, rendered(script.upgrade_ops))
    assert_clean(engine, metadata_of(tables))
    run(engine, rendered(script.downgrade_ops))
    assert_clean(engine, models)
    source = engine.url.render_as_string(hide_password=False)
    for _ in range(2):
        target = make_database(any_server)
        copy_by_dump(source, target, tmp_path)
        source = target
    with engine_of(target) as restored:
        assert_clean(restored, models)


def _two(metadata: MetaData, check: str, predicate: str, query: str, body: str) -> None:
    tables(metadata)
    t = metadata.tables["t"]
    t.append_constraint(CheckConstraint(check, name="k"))
    Index("i", t.c.id, postgresql_where=literal_column(predicate), _table=t)
    View("v", query, metadata=metadata)
    Function("f", "v int DEFAULT 1", returns="boolean", body=f"RETURN {body}", metadata=metadata)


BETWEEN = "a BETWEEN 1 AND 5 AND b = 1"
"""Restored, it is spelled ``(a >= 1) AND (a <= 5) AND (b = 1)``, without inner parentheses."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BETWEEN, "a >= 1 AND a < 5 AND b = 1"),
        (BETWEEN, "a BETWEEN 1 AND 6 AND b = 1"),
        (BETWEEN, "a BETWEEN 1 AND 5 OR b = 1"),
        (BETWEEN, "a NOT BETWEEN 1 AND 5 AND b = 1"),
        (f"{BETWEEN} AND a + b * 2 > 3", f"{BETWEEN} AND (a + b) * 2 > 3"),
        (f"{BETWEEN} AND (flag OR b = 2)", f"({BETWEEN} AND flag) OR b = 2"),
        ("s IN ('x', 'y')", "s IN ('x', 'z')"),
        ("s IN ('x', 'y')", "s NOT IN ('x', 'y')"),
        (f"{BETWEEN} AND s = 'x  y'", f"{BETWEEN} AND s = 'x y'"),
    ],
)  # fmt: skip
def test_a_real_change_is_found_in_another_generation(
    embedded: Engine, before: str, after: str
) -> None:
    """Every object that changes, and none that does not; in a database that was downgraded."""

    def models(condition: str) -> MetaData:
        query = f"SELECT id FROM t WHERE {condition}"
        body = f"(SELECT count(*) > v FROM t WHERE {condition})"
        return metadata_of(lambda metadata: _two(metadata, condition, condition, query, body))

    with embedded.begin() as connection:
        apply(connection, models(before))
    with embedded.connect() as connection:
        script = migration(connection, metadata_of(tables))
    run(embedded, rendered(script.upgrade_ops))
    run(embedded, rendered(script.downgrade_ops))
    assert_clean(embedded, models(before))
    with embedded.connect() as connection:
        found = found_by(migration(connection, models(after)))
    assert [(one.kind, one.name, one.detail) for one in found] == [
        ("constraint", "public.t.t_k_check", "definition"),
        ("index", "public.t.i", "definition"),
        ("function", "public.f(v integer)", "body"),
        ("view", "public.v", "definition"),
    ]
    with embedded.begin() as connection:
        apply(connection, models(after))
    assert_clean(embedded, models(after))


def _parts(metadata: MetaData, predicate: str = "id BETWEEN 1 AND 5") -> None:
    """Relations with an expression of their own, and parts of them that have one, too."""
    tables(metadata)
    both = "{0} BETWEEN 1 AND 5 AND {0} NOT IN (2, 3) AND {1} BETWEEN 1 AND 5"
    MaterializedView(
        "m",
        f"SELECT id, a, b FROM t WHERE {both.format('a', 'b')}",
        indexes=[f"CREATE INDEX m_a ON m (a) WHERE {predicate} AND {both.format('id', 'b')}"],
        metadata=metadata,
    )
    View(
        "v",
        f"SELECT id, a, b FROM m WHERE {both.format('a', 'b')}",
        triggers=[Trigger("touch", timing="instead of", events="insert", function="touch()")],
        metadata=metadata,
    )
    Table(
        "p",
        metadata,
        Column("a", Integer),
        Column("b", Integer),
        CheckConstraint(both.format("a", "b"), name="k"),
        Index("p_a", "a", postgresql_where=sa.text(both.format("a", "b"))),
        postgresql_partition_by=f"LIST (({both.format('a', 'b')}))",
    )


def test_a_relation_and_its_parts_in_another_generation(embedded: Engine) -> None:
    """The copy of a relation is none of those over which its parts are parsed."""
    models = metadata_of(_parts)
    with embedded.begin() as connection:
        apply(connection, models)
    for _ in range(2):
        with embedded.connect() as connection:
            script = migration(connection, metadata_of(tables))
        run(embedded, rendered(script.upgrade_ops))
        run(embedded, rendered(script.downgrade_ops))
        assert_clean(embedded, models)
    with embedded.connect() as connection:
        script = migration(connection, metadata_of(partial(_parts, predicate="id > 1")))
    assert [(one.kind, one.name) for one in found_by(script)] == [("index", "public.m.m_a")]


SPELLED = re.compile(r"pg_get_(?:expr|constraintdef|indexdef|viewdef|ruledef|triggerdef|partkeydef"
                     r"|function_(?:arguments|sqlbody)|statisticsobjdef\w*)\(|view_definition")  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    # Of settings only the default of a view's column is SQL, which nothing declares.
    [kind for kind in KINDS if kind.name != "setting"],
    ids=lambda kind: kind.name,
)
def test_a_kind_that_reads_sql_says_in_which_fields(kind: Kind[Any]) -> None:
    """Else what it reads is compared in two generations."""
    source = inspect.getsource(inspect.getmodule(kind.read))  # type: ignore[arg-type]
    assert bool(SPELLED.search(source)) == bool(kind.expressions)
    assert set(kind.expressions) <= {field.name for field in dataclasses.fields(kind.state)}


def test_a_renamed_column_keeps_a_constraint_of_another_generation(embedded: Engine) -> None:
    def over(column: str) -> Declare:
        def declare(metadata: MetaData) -> None:
            Table(
                "t",
                metadata,
                Column("b", Integer, primary_key=True, autoincrement=False),
                Column(column, Integer),
                CheckConstraint(f"{column} BETWEEN 1 AND 5 AND b = 1", name="k"),
            )

        return declare

    parse_again = (
        "DO $$ DECLARE definition text = (SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conname = 't_k_check'); BEGIN ALTER TABLE t DROP CONSTRAINT t_k_check;"
        " EXECUTE 'ALTER TABLE t ADD CONSTRAINT t_k_check ' || definition; END $$"
    )
    Case(
        over("a"),
        over("size"),
        rows=[parse_again],
        renames=("t.a:t.size",),
        upgrade='op.alter_column("t", "a", new_column_name="size")',
        downgrade='op.alter_column("t", "size", new_column_name="a")',
    ).walk(embedded)
