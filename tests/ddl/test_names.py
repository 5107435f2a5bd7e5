"""Whatever name a model gives: quoted where it must be, everywhere, and never cut."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import conv

from ddl import (
    ColumnStatistics,
    Function,
    Grant,
    MaterializedView,
    Policy,
    RowLevelSecurity,
    Trigger,
    View,
    check_names,
    found_by,
    schema_grant,
)
from ddl.sql import KEYWORDS, escaped, ident, literal, unquoted
from models.shared.constraints import json_object, not_empty, one_of
from tests.ddl.case import SETTINGS, Case, nothing
from tests.support.generated_revisions import apply, metadata_of, migration, rendered, run_in

SPECIAL = "\"'.,;:%$\\/ ()[]{}|=*&?!<>~`^@#\t-_aAzZ09éßЖ名\u00a0\u2028"
LONGEST = 63


def fits(name: str) -> bool:
    return 0 < len(name.encode()) <= LONGEST


NAMES = st.one_of(
    st.sampled_from(sorted(KEYWORDS)),
    st.text(st.sampled_from(SPECIAL), min_size=1, max_size=20),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=15),
    st.sampled_from(["Mixed Case", "public.x", "a.b", "%(x)s", ":x", "x" * LONGEST, "é" * 31]),
).filter(fits)


def everything(names: list[str], role: str) -> Any:
    """One object of each kind, each with a name of its own, in a schema of such a name."""
    schema, table, a, b, primary, check, key, index, function, trigger, *others = names
    policy, view, kept, number = others

    def declare(metadata: MetaData) -> None:
        column, other = ident(a), ident(b)
        full = f"{ident(schema)}.{ident(table)}"
        Table(
            table,
            metadata,
            Column(a, Integer, autoincrement=False, comment=table),
            Column(b, Text),
            CheckConstraint(escaped(f"{other} <> {literal(b)}"), name=conv(check), comment=a),
            ColumnStatistics(b, target=7),
            PrimaryKeyConstraint(a, name=conv(primary)),
            UniqueConstraint(b, name=conv(key)),
            Index(index, a, postgresql_where=sa.text(escaped(f"{other} <> {literal(a)}"))),
            RowLevelSecurity(),
            Policy(policy, to=role, using=f"{other} <> {literal(policy)}"),
            Grant(f"select ({column}), update ({column}, {other})", to=role),
            Trigger(
                trigger,
                timing="before",
                events=f"update of {column}, {other} or insert",
                function=f"{ident(schema)}.{ident(function)}({literal(trigger)})",
            ),
            schema=schema,
            comment=view,
        )
        Function(
            function,
            returns="trigger",
            language="plpgsql",
            body="begin return new; end",
            settings=SETTINGS,
            grants={role: "execute"},
            comment=function,
            schema=schema,
            metadata=metadata,
        )
        given = {"grants": {role: "select"}, "schema": schema, "metadata": metadata}
        View(view, f"SELECT {column}, {other} FROM {full}", comment=kept, **given)
        MaterializedView(
            kept,
            f"SELECT count(*) AS {other} FROM pg_catalog.pg_class",
            **given,  # type: ignore[arg-type]
        )
        Sequence(number, metadata=metadata, schema=schema)
        schema_grant("usage", on=schema, to=role, metadata=metadata)

    return declare


def walk(connection: Connection, declare: Any) -> None:
    """Created, the same, dropped, nothing left; within the transaction."""
    metadata = metadata_of(declare)
    apply(connection, metadata)
    left = migration(connection, metadata)
    assert rendered(left.upgrade_ops) in ("", "pass")
    assert found_by(left) == []
    back = migration(connection, metadata_of(nothing))
    run_in(connection, rendered(back.upgrade_ops))
    run_in(connection, rendered(back.downgrade_ops))
    left = migration(connection, metadata_of(declare))
    assert rendered(left.upgrade_ops) in ("", "pass")
    assert found_by(left) == []


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@example(['"', *"abcdefghijklm"], "reader")
@given(st.lists(NAMES, min_size=14, max_size=14, unique_by=str.lower), NAMES)
def test_names_of_all_kinds(engine: Engine, names: list[str], role: str) -> None:
    role = f"r {role}"[:30]
    with engine.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE ROLE {ident(role)}", execution_options={"no_parameters": True}
        )
        walk(connection, everything(names, role))
        connection.rollback()


@given(NAMES)
def test_identifier_means_its_name(name: str) -> None:
    assert unquoted(ident(name)) == name


def test_keywords_of_the_server(engine: Engine, other_version: Engine) -> None:
    for server in (engine, other_version):
        with server.connect() as connection:
            words = connection.scalars(
                sa.text("SELECT word FROM pg_get_keywords() WHERE catcode <> 'U'")
            ).all()
            assert set(words) <= KEYWORDS


@pytest.fixture
def words(engine: Engine) -> list[str]:
    """All keywords of the server."""
    with engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT word FROM pg_get_keywords()")))


def test_columns_named_like_keywords(engine: Engine, words: list[str]) -> None:
    """The checks of the models are about the column, and not about what SQL calls so."""

    def declare(metadata: MetaData) -> None:
        Table(
            "t",
            metadata,
            *(Column(word, Text) for word in words),
            *(not_empty(word) for word in words),
            *(one_of(word, ("it's :a 5%", "x"), name=f"{word}_one") for word in words),
        )

    with engine.connect() as connection:
        walk(connection, declare)
        for word in ("user", "current_date", "lateral", "value"):
            for wrong in ("", "y"):
                insert = sa.text(f"INSERT INTO t ({ident(word)}) VALUES (:value)")
                with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
                    connection.execute(insert, {"value": wrong})
            connection.execute(insert, {"value": "it's :a 5%"})


@pytest.mark.parametrize("schema", ["Mine", 'a"b', "a.b", "cash$", "user"])
def test_settings_in_a_schema_that_needs_quotes(engine: Engine, schema: str) -> None:
    """What a name is put together from is quoted alike on both sides of the comparison."""
    Case(nothing, with_settings(schema, 0)).walk(engine)
    Case(with_settings(schema, 0), with_settings(schema, 9)).walk(engine)


def with_settings(schema: str, target: int) -> Any:
    """Settings of whatever a model can give any, in a schema of this name."""

    def declare(metadata: MetaData) -> None:
        Table(
            "Crates.all",
            metadata,
            Column("Label", Text),
            CheckConstraint("\"Label\" <> ''", name="Filled", comment=f"Some {target}"),
            ColumnStatistics("Label", target=target),
            schema=schema,
        )
        name = f'{ident(schema)}."Crates.all"'
        View("All Labels", f'SELECT "Label" FROM {name}', schema=schema, metadata=metadata)

    return declare


def test_json_column_named_like_a_keyword(engine: Engine) -> None:
    from sqlalchemy.dialects.postgresql import JSONB

    def declare(metadata: MetaData) -> None:
        Table("t", metadata, Column("session_user", JSONB), json_object("session_user"))

    with engine.connect() as connection:
        walk(connection, declare)


def test_relations_and_functions_named_like_keywords(engine: Engine) -> None:
    def declare(metadata: MetaData) -> None:
        for word in sorted(KEYWORDS):
            View(word, "SELECT 1 AS x", grants={"r_app": "select"}, metadata=metadata)
            Function(
                word,
                "a int",
                returns="int",
                body="RETURN a",
                grants={"r_app": "execute"},
                metadata=metadata,
            )

    with engine.connect() as connection:
        walk(connection, declare)


# --- names that are too long -----------------------------------------------------------------

LONG = "é" * 32
TOO_LONG = {
    "table": lambda m: Table(LONG, m, Column("a", Integer)),
    "schema": lambda m: Table("t", m, Column("a", Integer), schema=LONG),
    "column": lambda m: Table("t", m, Column(LONG, Integer)),
    "constraint": lambda m: Table(
        "t", m, Column("a", Integer), CheckConstraint("a > 0", name=LONG)
    ),
    "index": lambda m: Table("t", m, Column("a", Integer), Index("x" * 64, "a")),
    "policy": lambda m: Table("t", m, Column("a", Integer), Policy(LONG, to="r", using="true")),
    "role of a policy": lambda m: Table(
        "t", m, Column("a", Integer), Policy("p", to=LONG, using="true")
    ),
    "role of a grant": lambda m: Table("t", m, Column("a", Integer), Grant("select", to=LONG)),
    "trigger": lambda m: Table(
        "t",
        m,
        Column("a", Integer),
        Trigger(LONG, timing="after", events="insert", function="f()"),
    ),
    "view": lambda m: View(LONG, "SELECT 1", metadata=m),
    "function": lambda m: Function(LONG, returns="int", body="RETURN 1", metadata=m),
    "sequence": lambda m: Sequence(LONG, metadata=m),
}


@pytest.mark.parametrize("declare", TOO_LONG.values(), ids=TOO_LONG.keys())
def test_name_that_the_server_would_cut(declare: Any) -> None:
    metadata = metadata_of(declare)
    with pytest.raises(ArgumentError, match=r"has [67]\d bytes, of which PostgreSQL would keep 63"):
        check_names(metadata)


def test_names_that_fit_one_by_one() -> None:
    metadata = MetaData()
    Table("t" * 40, metadata, Column("c" * 40, Text), ColumnStatistics("c" * 40, target=0))
    check_names(metadata)


def test_table_that_grant_would_misread() -> None:
    metadata = MetaData()
    Table("sequence numbers", metadata, Column("a", Integer))
    with pytest.raises(ArgumentError, match="GRANT would take this for a sequence"):
        check_names(metadata)


@pytest.mark.parametrize("name", ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"])
def test_column_that_every_table_has(name: str) -> None:
    metadata = MetaData()
    Table("sites", metadata, Column(name, Integer))
    with pytest.raises(ArgumentError, match=f"PostgreSQL has a column {name} in every table"):
        check_names(metadata)


@pytest.mark.parametrize("schema", [None, "plant"])
def test_column_that_would_hide_a_function_of_its_row(schema: str | None) -> None:
    """``sites.area`` was the function until there was such a column."""
    metadata = MetaData()
    row = "sites" if schema is None else "plant.sites"
    Function("area", f"site {row}", returns="int", body="RETURN 1", metadata=metadata)
    Function("area", "site integer", returns="int", body="RETURN 1", metadata=metadata)
    Function("size", f"site {row}, n int", returns="int", body="RETURN 1", metadata=metadata)
    Table("sites", metadata, Column("size", Integer), schema=schema)
    check_names(metadata)
    Table("others", metadata, Column("area", Integer), schema=schema)
    check_names(metadata)
    metadata.remove(metadata.tables["sites" if schema is None else "plant.sites"])
    Table("sites", metadata, Column("area", Integer), schema=schema)
    with pytest.raises(
        ArgumentError, match=r"how the function area\(site .*\) is called for a row"
    ):
        check_names(metadata)
