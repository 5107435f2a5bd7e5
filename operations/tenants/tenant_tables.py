"""The relations that hold rows of tenants, read from the catalog, and the order to empty them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

import models
from database.tenancy import OPERATOR
from ddl.sql import DEFAULT_SCHEMA, ident, qualified
from models.shared.base import TIMESERIES

MEMBERS = "tenant_members"


@dataclass(frozen=True)
class Relation:
    """A table of ours with a column tenant_id."""

    oid: int
    schema: str
    table: str
    children: frozenset[int]
    """The oids of the tables that refer to it by foreign key; itself left out."""
    deletable: bool
    """Whether who has to delete from it may, and sees its rows: see ``by_owner``."""

    @property
    def by_owner(self) -> bool:
        """Whether the owner empties it, and not fleet_operator.

        A hypertable can have no row security besides columnstore and rollups, so a grant to
        delete would reach the history of every tenant; no role is given it. The owner has no
        policy in his way there, and is let in nowhere else.
        """
        return self.schema == TIMESERIES

    @property
    def name(self) -> str:
        """For people: without the schema where it is the default one."""
        return qualified(self.schema, self.table)

    @property
    def sql(self) -> str:
        """For statements, whatever the search_path is."""
        return f"{ident(self.schema)}.{ident(self.table)}"


Group = list[Relation]
"""Relations to be emptied in one statement: one, or all those in a circle of foreign keys."""

_RELATIONS = sa.text("""
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


def tenant_relations(connection: Connection) -> list[Relation]:
    """Every table with a tenant_id in the schemas of the models, but for tenants itself.

    Read from the catalog, so that a table which the models do not know is found as well.
    """
    schemas = {table.schema or DEFAULT_SCHEMA for table in models.metadata.tables.values()}
    values = {"operator": OPERATOR, "timeseries": TIMESERIES, "schemas": sorted(schemas)}
    rows = connection.execute(_RELATIONS, values)
    return [
        Relation(row.oid, row.schema, row.table, frozenset(row.children), row.deletable)
        for row in rows
    ]


def deletion_order(relations: list[Relation]) -> list[Group]:
    """Groups of relations, children before what they refer to, tenant_members as late as can be.

    Where foreign keys run in a circle, nothing can go first: all that is left then is one group.
    """
    waiting = {relation.oid: relation for relation in relations}
    order: list[Group] = []
    while waiting:
        free = [relation for relation in waiting.values() if not relation.children & waiting.keys()]
        free.sort(key=lambda relation: (relation.table == MEMBERS, relation.schema, relation.table))
        group = free[:1] or list(waiting.values())
        for relation in group:
            del waiting[relation.oid]
        order.append(group)
    return order


def count_rows(connection: Connection, tenant_id: uuid.UUID) -> dict[str, int]:
    """The rows of a tenant in each relation that has any; needs a role that sees them."""
    counts = {}
    for relation in tenant_relations(connection):
        query = sa.text(f"SELECT count(*) FROM {relation.sql} WHERE tenant_id = :tenant")
        if count := connection.scalar(query, {"tenant": tenant_id}):
            counts[relation.name] = count
    return counts
