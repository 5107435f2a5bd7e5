"""Functions, tables, views and constraints that need each other, created and dropped in one revision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from ddl import (
    Function,
    MaterializedView,
    Policy,
    RowLevelSecurity,
    Trigger,
    Unmanaged,
    View,
)
from ddl.types import SqlType
from tests.ddl.case import SETTINGS, Case, nothing
from tests.support.generated_revisions import (
    apply,
    assert_clean,
    assert_no_drift,
    metadata_of,
    migration,
)

KNOWN = "RETURN EXISTS (SELECT FROM kinds WHERE kinds.id = n)"


def known(
    metadata: MetaData, name: str = "known", arguments: str = "n int", body: str = KNOWN
) -> None:
    Function(
        name, arguments, returns="boolean", volatility="immutable", body=body, metadata=metadata
    )


def number(metadata: MetaData, body: str = "RETURN (SELECT max(kinds.id) FROM kinds)") -> None:
    Function("number", returns="int", volatility="immutable", body=body, metadata=metadata)


def kinds(metadata: MetaData, *items: Any) -> None:
    Table("kinds", metadata, Column("id", Integer, primary_key=True), *items)


def devices(metadata: MetaData, *items: Any, kind: Column[Any] | None = None) -> None:
    """A table that by its name comes before ``kinds``."""
    column = Column("kind", Integer) if kind is None else kind
    Table("devices", metadata, Column("id", Integer, primary_key=True), column, *items)


def check(metadata: MetaData) -> None:
    known(metadata)
    kinds(metadata)
    devices(metadata, CheckConstraint("known(kind)", name="kind"))


def check_both_ways(metadata: MetaData) -> None:
    """The table that the function reads refers to the one that is checked."""
    known(metadata)
    kinds(metadata, Column("device", Integer, ForeignKey("devices.id")))
    devices(
        metadata,
        CheckConstraint("known(kind)", name="kind"),
        kind=Column("kind", Integer, ForeignKey("kinds.id")),
    )


def check_of_its_own_table(metadata: MetaData) -> None:
    known(metadata, body="RETURN NOT EXISTS (SELECT FROM devices d WHERE d.kind > n)")
    devices(metadata, CheckConstraint("known(kind)", name="kind"))


def default(metadata: MetaData) -> None:
    number(metadata)
    kinds(metadata)
    devices(metadata, kind=Column("kind", Integer, server_default=text("number()")))


def generated(metadata: MetaData) -> None:
    known(metadata)
    kinds(metadata)
    devices(metadata, Column("is_known", Boolean, Computed("known(kind)", persisted=True)))


def index(metadata: MetaData) -> None:
    known(metadata)
    kinds(metadata)
    devices(metadata, Index("devices_known_idx", text("known(kind)")))
    Table(
        "alarms", metadata, Column("a", Integer), Index("i", "a", postgresql_where=text("known(a)"))
    )


def policy(metadata: MetaData) -> None:
    known(metadata)
    kinds(metadata)
    devices(metadata, RowLevelSecurity(), Policy("p", to="r_app", using="known(kind)"))


def chain(metadata: MetaData) -> None:
    """Function to function to view to function to table."""
    known(metadata, "a_known", body="RETURN b_known(n)")
    known(metadata, "b_known", body="RETURN EXISTS (SELECT FROM a_kinds k WHERE k.id = n)")
    View("a_kinds", "SELECT id FROM kinds WHERE c_known(id)", metadata=metadata)
    known(metadata, "c_known", body="RETURN EXISTS (SELECT FROM plants p WHERE p.id = n)")
    Table("plants", metadata, Column("id", Integer, primary_key=True))
    kinds(metadata)
    devices(metadata, CheckConstraint("a_known(kind)", name="kind"))


def row_type(metadata: MetaData) -> None:
    known(metadata, arguments="k kinds", body="RETURN k.id > 0")
    kinds(metadata, CheckConstraint("id > 0", name="id"))
    View("known_kinds", "SELECT id FROM kinds WHERE known(kinds)", metadata=metadata)
    devices(metadata)


def check_of_a_row(metadata: MetaData) -> None:
    known(metadata, arguments="d devices", body="RETURN d.kind > 0")
    devices(metadata, CheckConstraint("known(devices)", name="kind"))


def materialized(metadata: MetaData) -> None:
    known(metadata, body="RETURN EXISTS (SELECT FROM totals t WHERE t.id = n)")
    MaterializedView("totals", "SELECT id FROM kinds", metadata=metadata)
    kinds(metadata)
    devices(metadata, CheckConstraint("known(kind)", name="kind"))


def trigger(metadata: MetaData) -> None:
    known(metadata)
    body = "declare k public.kinds; begin if public.known(new.kind) then return new; end if; return null; end"
    Function(
        "keep",
        returns="trigger",
        language="plpgsql",
        body=body,
        settings=SETTINGS,
        metadata=metadata,
    )
    kinds(metadata)
    devices(
        metadata,
        Trigger("t", timing="before", events="insert", function="keep()", when="known(NEW.kind)"),
    )


CASES = [
    check,
    check_both_ways,
    check_of_its_own_table,
    check_of_a_row,
    default,
    generated,
    index,
    policy,
    chain,
    row_type,
    materialized,
    trigger,
]


@pytest.mark.parametrize("declare", CASES)
def test_created_together(engine: Engine, declare: Callable[[MetaData], None]) -> None:
    Case(nothing, declare).walk(engine)


@pytest.mark.parametrize("declare", CASES)
def test_dropped_together(engine: Engine, declare: Callable[[MetaData], None]) -> None:
    Case(declare, nothing).walk(engine)


def test_constraint_on_a_table_that_exists(engine: Engine) -> None:
    Case(devices, check).walk(engine)


def test_a_default_cannot_wait_for_its_table(engine: Engine) -> None:
    def declare(metadata: MetaData) -> None:
        number(metadata, "RETURN (SELECT max(d.kind) FROM devices d)")
        devices(metadata, kind=Column("kind", Integer, server_default=text("number()")))

    with engine.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, metadata_of(declare))
    assert str(refused.value) == (
        "no order of creation, they need each other: function public.number() -> table"
        " public.devices -> function public.number(); give the function a text body"
        ' (body="SELECT …" instead of RETURN or BEGIN ATOMIC), which the server does not look'
        " into before it is called"
    )


def test_views_that_need_each_other(engine: Engine) -> None:
    def declare(metadata: MetaData) -> None:
        View("one", "SELECT * FROM two", metadata=metadata)
        View("two", "SELECT * FROM one", metadata=metadata)

    with engine.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, metadata_of(declare))
    assert str(refused.value) == (
        "no order of creation, they need each other: view public.two -> view public.one -> view"
        " public.two; write one of them without the other"
    )


def test_what_is_missing_is_told_rather_than_what_waits_for_it(engine: Engine) -> None:
    def declare(metadata: MetaData) -> None:
        check(metadata)
        View("a", "SELECT * FROM b", metadata=metadata)
        View("b", "SELECT * FROM nowhere", metadata=metadata)

    with engine.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, metadata_of(declare))
    assert 'relation "nowhere" does not exist' in str(refused.value)


def test_types_that_another_tool_keeps(engine: Engine) -> None:
    """As arguments, and of which neither function is taken for the other."""
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TYPE pair AS (a int, b int); CREATE TYPE mood AS ENUM ('x')")
        )

    def declare(metadata: MetaData, schema: str = "public.") -> None:
        known(metadata, arguments=f"p {schema}pair", body="RETURN (p).a > 0")
        known(metadata, arguments=f"m {schema}mood", body="RETURN m = 'x'")
        for name in ("composite type public.pair", "enum public.mood"):
            Unmanaged(name, "made by another tool", metadata=metadata)
        devices(
            metadata,
            Column("mood", Text),
            CheckConstraint("known(row(id, 1)::public.pair)", name="x"),
        )

    bare = metadata_of(lambda metadata: declare(metadata, ""))
    with engine.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, bare)
    assert "the database has public.mood, which no model declares: write its schema" in str(
        refused.value
    )
    keeping = metadata_of(declare)
    with engine.begin() as connection:
        apply(connection, keeping)
    assert_clean(engine, keeping)


def test_a_type_that_another_tool_keeps_in_a_schema_that_needs_quotes(engine: Engine) -> None:
    """The name is the one that the check prints."""
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "Mine"; CREATE DOMAIN "Mine"."Mail" AS text'))

    def declare(metadata: MetaData) -> None:
        mail = Column("mail", SqlType('"Mine"."Mail"'))
        Table("t", metadata, Column("n", Integer), mail, schema="Mine")
        Unmanaged('domain "Mine"."Mail"', "made by another tool", metadata=metadata)

    keeping = metadata_of(declare)
    with engine.begin() as connection:
        apply(connection, keeping)
    assert_no_drift(engine, keeping)


def test_a_name_that_only_looks_like_a_mention(engine: Engine) -> None:
    """An alias called as another view, in both directions."""

    def declare(metadata: MetaData) -> None:
        kinds(metadata)
        View("one", "SELECT two.id FROM kinds AS x, kinds two", metadata=metadata)
        View("two", "SELECT one.id FROM kinds AS x, one", metadata=metadata)

    Case(nothing, declare).walk(engine)
