"""Models that change at random, one change of a kind at a time, and how to declare them.

A :class:`Models` is a value; a change makes another of it. Values of columns never break a
change: those that a server would refuse on a filled table are tested one by one elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, MetaData, Table
from sqlalchemy.types import TypeEngine

from ddl import (
    Columnstore,
    Function,
    Grant,
    Hypertable,
    MaterializedView,
    Policy,
    RefreshPolicy,
    RetentionPolicy,
    Rollup,
    RowLevelSecurity,
    Trigger,
    View,
    schema_grant,
)
from ddl.sql import ident
from tests.ddl.case import SETTINGS

TYPES: dict[str, tuple[TypeEngine[Any], str, str]] = {
    "short": (sa.String(20), "left('v' || i, 20)", "'x'"),
    "long": (sa.String(60), "'value ' || i", "'x'"),
    "text": (sa.Text(), "'it''s :v 5% ' || i", "'it''s :x 5%'"),
    "int": (sa.Integer(), "i", "7"),
    "bigint": (sa.BigInteger(), "i * 1000", "7"),
    "numeric": (sa.Numeric(12, 2), "i * 1.25", "1.5"),
    "moment": (sa.TIMESTAMP(timezone=True), "now() - i * interval '1 hour'", "now()"),
    "json": (sa.dialects.postgresql.JSONB(), "jsonb_build_object('i', i)", "'{}'"),
    "list": (sa.ARRAY(sa.Text()), "ARRAY['a', i::text]", "'{}'"),
    "flag": (sa.Boolean(), "i % 2 = 0", "false"),
}
"""Name to type, to a value of row number ``i``, and to a default."""

WIDER = {"short": ("long", "text"), "long": ("text",), "int": ("bigint", "numeric")}
"""What a type may become without losing a value."""

NAMES = ("note", "user", "Order", "naïve", "a b", 'we"ird', "select", "c:x", "per%", "x" * 60)
TABLES = ("pumps", "Valves", "group", "té s", 'q"t', "parts")


@dataclass(frozen=True)
class ColumnModel:
    """One column beside the key."""

    type: str
    nullable: bool = True
    default: bool = False
    comment: str | None = None


@dataclass(frozen=True)
class TableModel:
    """One table; ``checked``, ``indexed`` and ``unique`` name columns."""

    columns: dict[str, ColumnModel] = field(default_factory=dict)
    schema: str | None = None
    comment: str | None = None
    checked: frozenset[str] = frozenset()
    indexed: frozenset[str] = frozenset()
    unique: frozenset[str] = frozenset()
    parent: str | None = None
    secured: bool = False
    policy: str = "id > 0"
    grants: str = "select"
    stamped: bool = False
    """Has a trigger."""
    view: frozenset[str] | None = None
    """The columns of a view over it."""
    kept: frozenset[str] | None = None
    """The columns of a materialized view over it."""
    options: bool = False


@dataclass(frozen=True)
class SeriesModel:
    """A hypertable with a rollup and its policies."""

    chunk: str = "1 day"
    store: str | None = "device"
    age: str = "30 days"
    keep: str | None = "800 days"
    extra: bool = False
    aggregates: tuple[str, ...] = ("avg(v) AS mean",)
    refresh: str | None = "30 minutes"
    rollup_store: bool = False
    rollup_keep: str | None = None
    only: bool = False
    comment: str | None = None
    rollup: bool = True


@dataclass(frozen=True)
class Models:
    """Everything that is declared."""

    tables: dict[str, TableModel] = field(default_factory=dict)
    series: SeriesModel | None = None
    body: str = "new.seen := new.seen"
    sequence: int | None = None
    """The increment of a sequence."""

    def with_table(self, name: str, table: TableModel | None) -> Models:
        """The same with another table; None drops it, with the references to it."""
        tables = {key: one for key, one in self.tables.items() if key != name}
        if table is not None:
            tables[name] = table
            return replace(self, tables=tables)
        orphaned = {
            key: replace(one, parent=None) if one.parent == name else one
            for key, one in tables.items()
        }
        return replace(self, tables=orphaned)

    def declare(self, metadata: MetaData) -> None:
        """Declare it all."""
        Function(
            "stamp",
            returns="trigger",
            language="plpgsql",
            body=f"begin\n  {self.body};\n  return new;\nend",
            settings=SETTINGS,
            metadata=metadata,
        )
        if self.sequence is not None:
            sa.Sequence("numbers", increment=self.sequence, metadata=metadata)
        schema_grant("usage", on="store", to="r_op", metadata=metadata)
        for name, table in self.tables.items():
            _declare_table(name, table, self, metadata)
        if self.series is not None:
            _declare_series(self.series, metadata)


def qualified(name: str, table: TableModel) -> str:
    """The table as SQL names it."""
    return f"{table.schema or 'public'}.{ident(name)}"


def _declare_table(name: str, table: TableModel, models: Models, metadata: MetaData) -> None:
    items: list[Any] = [
        Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        Column("seen", sa.Integer),
    ]
    for key, column in table.columns.items():
        type_, _, default = TYPES[column.type]
        items.append(
            Column(
                key,
                type_,
                nullable=column.nullable,
                server_default=sa.text(default.replace(":", r"\:")) if column.default else None,
                comment=column.comment,
            )
        )
    if table.parent is not None:
        schema = models.tables[table.parent].schema
        target = ".".join(filter(None, (schema, table.parent, "id")))
        if "." not in table.parent:
            items.append(Column("parent_id", sa.BigInteger, ForeignKey(target)))
    for number, key in enumerate(sorted(table.checked)):
        condition = f"{ident(key)} IS NULL OR {ident(key)}::text NOT BETWEEN 'zz' AND 'zzz'"
        items.append(CheckConstraint(condition.replace(":", r"\:"), name=f"fits{number}"))
    for number, key in enumerate(sorted(table.indexed)):
        where = sa.text("id BETWEEN 1 AND 1000000")
        items.append(Index(f"ix_{len(name)}_{name[:1]}_{number}", key, postgresql_where=where))
    for key in sorted(table.unique):
        items.append(sa.UniqueConstraint(key, "id"))
    if table.secured:
        items += [
            RowLevelSecurity(),
            Policy("own", to="r_app", using=table.policy, check=table.policy),
            Policy("all_rows", to=["r_op", "r_read"], using="true"),
        ]
    items.append(Grant(table.grants, to="r_app"))
    if table.stamped:
        items.append(
            Trigger(
                "stamped", timing="before", events="insert or update", function="public.stamp()"
            )
        )
    Table(
        name,
        metadata,
        *items,
        schema=table.schema,
        comment=table.comment,
        postgresql_with={"fillfactor": "70"} if table.options else None,
    )
    for columns, kind in ((table.view, View), (table.kept, MaterializedView)):
        if columns is not None:
            listed = ", ".join(["id", *(ident(key) for key in sorted(columns))])
            kind(
                f"{name}_{'seen' if kind is View else 'kept'}"[:50],
                f"SELECT {listed} FROM {qualified(name, table)} WHERE id BETWEEN 0 AND 10000000",
                grants={"r_read": "select"},
                metadata=metadata,
            )


def _declare_series(series: SeriesModel, metadata: MetaData) -> None:
    items: list[Any] = [
        Column("ts", sa.TIMESTAMP(timezone=True), primary_key=True),
        Column("device", sa.Text, primary_key=True),
        Column("v", sa.Double),
    ]
    if series.extra:
        items.append(Column("extra", sa.Text))
    items.append(Hypertable("ts", chunk_interval=series.chunk))
    if series.store is not None:
        items.append(Columnstore(segmentby=series.store, orderby="ts DESC", after=series.age))
    if series.keep is not None:
        items.append(RetentionPolicy(series.keep))
    Table("readings", metadata, *items, schema="store")
    if not series.rollup:
        return
    Rollup(
        "hourly",
        f"""
        SELECT device, time_bucket('1 hour', ts) AS bucket, {", ".join(series.aggregates)}
          FROM store.readings
         GROUP BY 1, 2
        """,
        schema="store",
        refresh=RefreshPolicy("3 days", "1 hour", series.refresh) if series.refresh else None,
        columnstore=Columnstore("device", "bucket DESC", "60 days")
        if series.rollup_store
        else None,
        retention=series.rollup_keep,
        materialized_only=series.only,
        comment=series.comment,
        grants={"r_read": "select"},
        metadata=metadata,
    )
