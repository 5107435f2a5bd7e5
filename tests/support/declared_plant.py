"""A tenant table with all that can belong to one, under a name and a schema of choice."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from ddl import Function, Grant, Policy, RenamedFrom, RowLevelSecurity, Trigger, View
from ddl.sql import ident
from tests.support.generated_revisions import Declare

SETTINGS = {"search_path": "pg_catalog, pg_temp"}

ROWS = [
    (
        "INSERT INTO sites (tenant, city, note)"
        " SELECT i % 2, 'c' || i, 'n' FROM generate_series(1, 20) i"
    ),
    "INSERT INTO pumps (tenant, site_id) SELECT tenant, id FROM sites",
]


def plant(
    table: str = "sites",
    column: str = "city",
    *,
    schema: str | None = None,
    serial: bool = False,
    size: sa.types.TypeEngine[str] | None = None,
    former: RenamedFrom | None = None,
) -> Declare:
    """A tenant table with all that can belong to one, another that refers to it, and a view."""
    target = table if schema is None else f"{schema}.{table}"
    named = ident(table) if schema is None else f"{schema}.{ident(table)}"
    name = ident(column)

    def declare(metadata: MetaData) -> None:
        Function(
            f"touch_{table}",
            returns="trigger",
            language="plpgsql",
            body=f"BEGIN NEW.note := upper(NEW.{name}); RETURN NEW; END",
            settings=SETTINGS,
            metadata=metadata,
        )
        Table(
            table,
            metadata,
            Column("id", Integer, *([] if serial else [Identity()]), primary_key=True),
            Column("tenant", Integer, nullable=False),
            Column(column, size or Text, nullable=False),
            Column("note", Text, comment="Free text."),
            Column("loud", Text, sa.Computed(f"upper({name})", persisted=True)),
            UniqueConstraint("tenant", "id"),
            CheckConstraint(f"{name} <> ''", name="filled"),
            Index(None, column, postgresql_where=sa.text(f"{name} <> 'x'")),
            RowLevelSecurity(force=False),
            Policy(f"{table}_read", to="r_read", command="select", using=f"{name} <> 'secret'"),
            Policy("own", to="r_app", using="tenant = 1"),
            Trigger(
                f"{table}_touch",
                timing="before",
                events=f"update of {name}",
                function=f"{ident(f'touch_{table}')}()",
                when=f"OLD.{name} IS DISTINCT FROM NEW.{name}",
            ),
            Grant(f"select, update ({name})", to="r_app"),
            Grant("usage", to="r_app", on=f"sequence {table}_id_seq"),
            *([former] if former else []),
            schema=schema,
            comment="Sites.",
        )
        Table(
            "pumps",
            metadata,
            Column("id", Integer, Identity(), primary_key=True),
            Column("tenant", Integer),
            Column("site_id", Integer),
            ForeignKeyConstraint(["tenant", "site_id"], [f"{target}.tenant", f"{target}.id"]),
            Index(None, "tenant", "site_id"),
        )
        View(
            "site_list",
            f"SELECT id, {name} AS name FROM {named} WHERE {name} <> ''",
            grants={"r_read": "select"},
            metadata=metadata,
        )

    return declare
