"""Every relation of a database, and what the page says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl.edition import Edition, detect
from tests.isolation.proof.page import ALL, AS_TABLES, JUDGED, OWN, SOME, Page, Privilege

NOBODY = "nobody"
"""A login without any role: what PUBLIC may do."""


@dataclass(frozen=True)
class Relation:
    """A table, view, materialized view, sequence or the like, of any schema."""

    name: str
    """Qualified and quoted."""
    kind: str
    """As in pg_class.relkind."""
    columns: tuple[str, ...]
    written: frozenset[str]
    """Columns that a statement may give a value to."""
    listed: str
    """What the page calls it, or the hypertable or rollup that it is behind."""
    of_server: bool
    """Whether the server or an extension made it for itself."""
    updatable: int
    """What INSERT, UPDATE and DELETE do with a view, as pg_relation_is_updatable() says."""
    secured: bool
    triggers: bool
    """Whether INSTEAD OF triggers take rows in."""
    columnstore: bool
    """Whether TimescaleDB compresses it, or keeps compressed rows in it."""

    @property
    def compressed(self) -> bool:
        """Whether it keeps compressed rows, which TimescaleDB alone writes."""
        return self.columnstore and (not self.columns or "_ts_meta_count" in self.columns)

    @property
    def is_view(self) -> bool:
        return self.kind in ("v", "m")

    def held(self, page: Page, role: str) -> dict[str, Privilege]:
        held = page.held.get((self.listed, role), {})
        if self.compressed:
            return {letter: one for letter, one in held.items() if letter == "S"}
        return held

    def can(self, page: Page, role: str, letter: str) -> list[str]:
        """The columns that a role may use with a privilege."""
        if letter not in self.held(page, role):
            return []
        return page.columns(self.listed, role, letter, list(self.columns))


_RELATIONS = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind AS kind,
       coalesce((SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
                  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), '{}') AS columns,
       coalesce((SELECT array_agg(attname::text) FROM pg_attribute
                  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
                    AND attgenerated = '' AND attidentity <> 'a'), '{}') AS written,
       coalesce(behind.listed, CASE n.nspname WHEN 'public' THEN c.relname
                ELSE n.nspname || '.' || c.relname END) AS listed,
       behind.listed IS NULL
         AND n.nspname ~ '^(pg_|information_schema$|_?timescaledb)' AS of_server,
       CASE WHEN c.relkind = 'v' THEN pg_relation_is_updatable(c.oid, true) ELSE 28 END
         AS updatable, c.relrowsecurity AS secured,
       EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND tgtype & 64 <> 0) AS triggers,
       coalesce(behind.columnstore, false) AS columnstore
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL ({behind}) behind ON true
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 't') AND n.nspname !~ '^pg_(toast_)?temp'
 ORDER BY 1
"""
_NOTHING = "SELECT NULL::text AS listed, NULL::boolean AS columnstore"
_TIMESCALEDB = """
SELECT x.listed, x.compressed_hypertable_id IS NOT NULL AS columnstore FROM (
    SELECT h.id, CASE WHEN a.mat_hypertable_id IS NULL
                      THEN h.schema_name || '.' || h.table_name
                      ELSE a.user_view_schema || '.' || a.user_view_name END AS listed,
           h.schema_name, h.table_name, a.*, h.compressed_hypertable_id
      FROM _timescaledb_catalog.hypertable h
      LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id
     WHERE h.compression_state <> 2) x
 WHERE (n.nspname, c.relname) IN ((x.schema_name, x.table_name),
            (x.partial_view_schema, x.partial_view_name),
            (x.direct_view_schema, x.direct_view_name))
    OR EXISTS (SELECT FROM _timescaledb_catalog.hypertable h WHERE h.id = x.compressed_hypertable_id
                  AND (n.nspname, c.relname) = (h.schema_name, h.table_name))
    OR EXISTS (SELECT FROM _timescaledb_catalog.chunk k
                WHERE k.hypertable_id IN (x.id, x.compressed_hypertable_id)
                  AND (n.nspname, c.relname) = (k.schema_name, k.table_name))
 LIMIT 1
"""


def relations(connection: Connection, only: Sequence[str] = ()) -> list[Relation]:
    """All of the database, or those that match a pattern of LIKE."""
    behind = _NOTHING if detect(connection) is Edition.POSTGRESQL else _TIMESCALEDB
    rows = connection.execute(sa.text(_RELATIONS.replace("{behind}", behind))).mappings()
    found = [
        Relation(
            **(dict(row) | {"columns": tuple(row["columns"]), "written": frozenset(row["written"])})
        )
        for row in rows
    ]
    return [one for one in found if not only or one.name in only]


def expected(page: Page, relation: Relation, role: str, operation: str, version: int) -> str:
    """The rows that an operation reaches: "" is none."""
    letters = relation.held(page, role)
    needs = page.needs[operation]
    if version < 16 and operation == "LOCK ACCESS SHARE":
        needs = "all of S"
    if version < 16 and operation == "LOCK ROW SHARE":
        needs = "all of U or D"
    if operation == "MERGE INSERT" and relation.is_view:
        needs = "S and I"
    whole = needs.startswith("all of ")
    words = needs.replace("all of ", "").replace(", or ", " or ").replace(", ", " or ")
    if words.endswith(" of all rows"):
        words = words.removesuffix(" of all rows")
        if any(letters.get(letter, _NONE).rows != ALL for letter in words.split(" and ")):
            return ""
        if "tenant_id" not in relation.can(page, role, "U"):
            return ""
    for alternative in words.split(" or "):
        wanted = [letters.get(letter) for letter in alternative.split(" and ")]
        held = [one for one in wanted if one is not None and not (whole and one.columns)]
        if len(held) == len(wanted) and possible(relation, operation, version):
            rows = {_narrowed(one.rows, role) for one in held}
            return next(one for one in (SOME, OWN, JUDGED, ALL) if one in rows)
    return ""


_NONE = Privilege("")


def _narrowed(rows: str, role: str) -> str:
    if rows in (SOME, JUDGED):
        return rows
    if rows == AS_TABLES:
        return OWN if role == "fleet_app" else ALL
    return OWN if rows == OWN else ALL


def possible(relation: Relation, operation: str, version: int) -> bool:
    """Whether PostgreSQL does that with a relation of this kind at all, for anybody."""
    if operation == "COPY FROM":
        return relation.triggers if relation.is_view else not relation.secured
    if operation.startswith("MERGE") and relation.columnstore:
        return False
    if relation.compressed and operation not in ("SELECT", "EXPLAIN", "COPY TO"):
        return operation.startswith("LOCK")
    if not relation.columns:
        # The parent of compressed chunks: TimescaleDB plans nothing with it.
        return operation.startswith("LOCK")
    if not relation.is_view:
        return True
    if operation in ("TRUNCATE", "COPY TO"):
        return False
    if operation.startswith("ON CONFLICT"):
        return relation.updatable & 8 != 0 and not (relation.triggers and "UPDATE" in operation)
    if operation.startswith("MERGE"):
        return version >= 17 and relation.updatable & 8 != 0
    return True
