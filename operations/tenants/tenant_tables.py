"""The tables that hold rows of tenants, read from the catalog, and the order to empty them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

import models
from database.tenancy import OPERATOR
from ddl.sql import DEFAULT_SCHEMA, escaped, ident, qualified
from models.shared.base import TIMESERIES

MEMBERS = "tenant_members"


@dataclass(frozen=True)
class TenantTable:
    """A table with a column tenant_id in a schema of the models."""

    oid: int
    schema: str
    table: str
    children: frozenset[int]
    """OIDs of the other tables that refer to it by foreign key."""
    deletable: bool
    """Whether the role that empties it (see ``by_owner``) may do so, and sees its rows."""

    @property
    def by_owner(self) -> bool:
        """Whether the owner empties it, instead of fleet_operator.

        A hypertable with a columnstore and rollups cannot have row-level security, so a grant to
        delete would reach the history of every tenant; no role has it. Without policies the
        owner can delete there, and in no other table.
        """
        return self.schema == TIMESERIES

    @property
    def name(self) -> str:
        """For messages: without the default schema."""
        return qualified(self.schema, self.table)

    @property
    def sql(self) -> str:
        """Within ``text()``, whatever the search_path."""
        return escaped(f"{ident(self.schema)}.{ident(self.table)}")


Group = list[TenantTable]
"""Tables to empty in one statement: one, or all those in a cycle of foreign keys."""

_TENANT_TABLES = sa.text("""
    SELECT c.oid, n.nspname AS schema, c.relname AS "table",
           array(SELECT DISTINCT k.conrelid::bigint FROM pg_constraint k
                  WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conrelid <> c.oid)
               AS children,
           CASE WHEN n.nspname = :timeseries THEN
               pg_has_role(current_user, c.relowner, 'USAGE') AND NOT c.relforcerowsecurity
           ELSE has_table_privilege(o.oid, c.oid, 'DELETE')
               AND has_column_privilege(o.oid, c.oid, 'tenant_id', 'SELECT')
               AND (NOT c.relrowsecurity OR EXISTS (
                    SELECT FROM pg_policy p
                     WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'd')
                       AND p.polroles && ARRAY[o.oid, 0::oid])) END AS deletable
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
                         AND a.atttypid = 'uuid'::regtype AND NOT a.attisdropped
      JOIN pg_roles o ON o.rolname = :operator
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND n.nspname = ANY (:schemas) AND c.oid <> 'public.tenants'::regclass
     ORDER BY n.nspname, c.relname
""")


def read_tenant_tables(connection: Connection) -> list[TenantTable]:
    """Every table with a tenant_id in the schemas of the models, except tenants itself.

    Read from the catalog, so that tables that the models do not declare are found as well.
    """
    schemas = {table.schema or DEFAULT_SCHEMA for table in models.metadata.tables.values()}
    values = {"operator": OPERATOR, "timeseries": TIMESERIES, "schemas": sorted(schemas)}
    rows = connection.execute(_TENANT_TABLES, values)
    return [
        TenantTable(row.oid, row.schema, row.table, frozenset(row.children), row.deletable)
        for row in rows
    ]


def deletion_order(tables: list[TenantTable]) -> list[Group]:
    """Groups of tables, each before the tables it refers to, tenant_members as late as possible.

    In a cycle of foreign keys no table can go first: the remaining tables are one group then.
    """
    waiting = {table.oid: table for table in tables}
    order: list[Group] = []
    while waiting:
        free = [table for table in waiting.values() if not table.children & waiting.keys()]
        free.sort(key=lambda table: (table.name == MEMBERS, table.schema, table.table))
        group = free[:1] or list(waiting.values())
        for table in group:
            del waiting[table.oid]
        order.append(group)
    return order


def count_rows(connection: Connection, tenant_id: uuid.UUID) -> dict[str, int]:
    """Table to the number of the tenant's rows, where any; needs a role that sees them."""
    counts = {}
    for table in read_tenant_tables(connection):
        query = sa.text(f"SELECT count(*) FROM {table.sql} WHERE tenant_id = :tenant")
        if count := connection.scalar(query, {"tenant": tenant_id}):
            counts[table.name] = count
    return counts
