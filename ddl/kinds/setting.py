"""Settings of declared objects beside their definition: comments, statistics, storage and the like.

Models declare few of them (`ColumnStatistics`, and what SQLAlchemy's own items say, such as the
comment of a constraint), so that most are found where a person set one by hand. Both sides are read
alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declaration, Identity, Key, Operation, State, relation_of
from ddl.kind import Kind, always
from ddl.plan import Phase, Plan

if TYPE_CHECKING:
    from ddl.changes import Changes

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SettingState(State):
    """One setting that has not its default value.

    ``type`` and ``on`` are the kind and full name of its object, quoted as in SQL, ``set`` and
    ``reset`` the SQL that gives it this value and the default.
    """

    kind: ClassVar[str] = "setting"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "type", "on", "name")

    schema: str = sql.DEFAULT_SCHEMA
    type: str = ""
    on: str = ""
    name: str = ""
    value: str = ""
    of: str | None = None
    """The relation (or function, as its grants name it) that it goes with."""
    part: tuple[str, ...] = ()
    """The key of its object, where that is a part of a relation."""
    set: str = field(default="", compare=False)
    reset: str = field(default="", compare=False)

    @property
    def relation(self) -> Key | None:
        """The relation or function that it goes with; None for a schema."""
        return relation_of(self.schema, self.of)

    def title(self) -> str:
        """``column public.sites.name statistics``."""
        return f"{self.type} {self.on} {self.name}"

    def text(self) -> str:
        """Nothing is created after it."""
        return ""


class ColumnStatistics(Declaration):
    """How many values of columns of the table ANALYZE keeps for the planner (SET STATISTICS).

    Args:
        columns: their names.
        target: 0 (nothing is kept) to 10000; columns without a declaration have the server's
            ``default_statistics_target``. On a hypertable it is that of all chunks.

    What was kept before stays after a change to 0, until a superuser deletes it.

    Raises:
        sqlalchemy.exc.ArgumentError: the table has no such column, or there is no such target.
    """

    def __init__(self, *columns: str, target: int) -> None:
        if not 0 <= target <= HIGHEST_TARGET:
            raise ArgumentError(
                f"ColumnStatistics: expected a target of 0 to {HIGHEST_TARGET}, found {target}"
            )
        self.columns = columns
        self.target = target

    def states(self, table: Table) -> Iterator[State]:
        """A setting for each column."""
        schema = table.schema or sql.DEFAULT_SCHEMA
        for name in self.columns:
            if name not in table.columns:
                raise ArgumentError(
                    f"ColumnStatistics: table {schema}.{table.name} has no column {name}"
                )
            alter = (
                f"ALTER TABLE {sql.ident(schema)}.{sql.ident(table.name)}"
                f" ALTER COLUMN {sql.ident(name)} SET STATISTICS"
            )
            yield SettingState(
                schema=schema,
                type="column",
                on=".".join(map(sql.ident, (schema, table.name, name))),
                name="statistics",
                value=str(self.target),
                of=table.name,
                part=(schema, table.name, name),
                set=f"{alter} {self.target}",
                reset=f"{alter} -1",
            )


HIGHEST_TARGET = 10_000
"""Of the server, for the statistics of a column."""


# --- operate: op.execute, since the SQL says all ---------------------------------------------


class SettingOperation(Operation[SettingState]):
    """Sets a value or the default; a revision has it as ``op.execute``."""

    state_type = SettingState
    verbs = ("execute", "execute", "execute")

    def create(self, state: SettingState, edition: str) -> list[str]:
        """Set the value."""
        return [state.set]

    def alter(self, before: SettingState, after: SettingState, edition: str) -> list[str]:
        """Set the value."""
        return [after.set]

    def drop(self, state: SettingState, edition: str) -> list[str]:
        """Set the default."""
        return [state.reset]

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The statement."""
        return [sql.escaped(one) for one in self.statements()], {}


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
WITH ours AS (SELECT oid, nspname FROM pg_namespace
               WHERE nspname = ANY (CAST(:schemas AS name[]))),
relations AS (
    SELECT c.*, n.nspname AS schema,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
           'ALTER TABLE ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS alter
      FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                          AND e.objid = c.oid AND e.deptype = 'e')
),
columns AS (
    SELECT r.schema, r.relkind, r.relname, r.oid, a.attname, a.attnum, a.attstorage,
           a.attcompression, a.attoptions, t.typstorage,
           nullif(CAST(a.attstattarget AS int), -1) AS attstattarget,
           r.name || '.' || quote_ident(a.attname) AS name,
           r.alter || ' ALTER COLUMN ' || quote_ident(a.attname) AS alter
      FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
       AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
),
indexes AS (
    SELECT r.schema, r.relname, r.oid AS relation, i.indexrelid AS oid, i.indisclustered,
           i.indisreplident, x.relname AS index, x.reloptions, r.alter, r.name AS table,
           r.name || '.' || quote_ident(x.relname) AS shown,
           quote_ident(r.schema) || '.' || quote_ident(x.relname) AS name,
           EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
                      AND k.contype IN ('p', 'u', 'x')) AS of_constraint
      FROM relations r JOIN pg_index i ON i.indrelid = r.oid
      JOIN pg_class x ON x.oid = i.indexrelid
),
storage (letter, name) AS (
    VALUES ('p'::"char", 'PLAIN'), ('e', 'EXTERNAL'), ('m', 'MAIN'), ('x', 'EXTENDED')
),
found AS (
    SELECT schema, 'table' AS type, name AS "on", 'replica identity' AS name,
           i.value,
           relname::text AS of, '{}'::text[] AS part,
           alter || ' REPLICA IDENTITY ' || i.value AS set,
           alter || ' REPLICA IDENTITY DEFAULT' AS reset
      FROM relations r CROSS JOIN LATERAL (
           SELECT CASE r.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
                  ELSE 'USING INDEX ' || (SELECT quote_ident(x.index) FROM indexes x
                                           WHERE x.relation = r.oid AND x.indisreplident) END)
           i (value)
     WHERE relkind IN ('r', 'p') AND relreplident <> 'd'
    UNION ALL
    SELECT schema, 'table', i.table, 'cluster', quote_ident(index), relname, '{}',
           alter || ' CLUSTER ON ' || quote_ident(index), alter || ' SET WITHOUT CLUSTER'
      FROM indexes i WHERE indisclustered
    UNION ALL
    SELECT r.schema, 'table', r.name, 'toast.' || o.option_name, o.option_value, r.relname, '{}',
           format('%s SET (toast.%s = %L)', r.alter, o.option_name, o.option_value),
           format('%s RESET (toast.%s)', r.alter, o.option_name)
      FROM relations r JOIN pg_class t ON t.oid = r.reltoastrelid
     CROSS JOIN LATERAL pg_options_to_table(t.reloptions) o
    UNION ALL
    SELECT schema, 'column', name, 'statistics', CAST(attstattarget AS text), relname,
           ARRAY[schema, relname, attname]::text[], alter || ' SET STATISTICS ' || attstattarget,
           alter || ' SET STATISTICS -1'
      FROM columns WHERE attstattarget IS NOT NULL AND relkind <> 'v'
    UNION ALL
    SELECT c.schema, 'column', c.name, 'storage', s.name, c.relname,
           ARRAY[c.schema, c.relname, c.attname]::text[], c.alter || ' SET STORAGE ' || s.name,
           c.alter || ' SET STORAGE ' || d.name
      FROM columns c JOIN storage s ON s.letter = c.attstorage
      JOIN storage d ON d.letter = c.typstorage
     WHERE c.attstorage <> c.typstorage AND c.relkind <> 'v'
    UNION ALL
    SELECT schema, 'column', columns.name, 'compression', m.name, relname,
           ARRAY[schema, relname, attname]::text[], alter || ' SET COMPRESSION ' || m.name,
           alter || ' SET COMPRESSION DEFAULT'
      FROM columns JOIN (VALUES ('l'::"char", 'lz4'), ('p', 'pglz')) m (letter, name)
        ON m.letter = attcompression
     WHERE relkind <> 'v'
    UNION ALL
    SELECT c.schema, 'column', c.name, o.option_name, o.option_value, c.relname,
           ARRAY[c.schema, c.relname, c.attname]::text[],
           format('%s SET (%s = %L)', c.alter, o.option_name, o.option_value),
           format('%s RESET (%s)', c.alter, o.option_name)
      FROM columns c CROSS JOIN LATERAL pg_options_to_table(c.attoptions) o
     -- Other names are a server's own.
     WHERE o.option_name IN ('n_distinct', 'n_distinct_inherited')
    UNION ALL
    SELECT i.schema, 'index', i.shown, o.option_name, o.option_value, i.relname,
           ARRAY[i.schema, i.relname, i.index]::text[],
           format('ALTER INDEX %s SET (%s = %L)', i.name, o.option_name, o.option_value),
           format('ALTER INDEX %s RESET (%s)', i.name, o.option_name)
      FROM indexes i CROSS JOIN LATERAL pg_options_to_table(i.reloptions) o WHERE i.of_constraint
    UNION ALL
    SELECT i.schema, 'index', i.shown, format('statistics of column %s', a.attnum),
           CAST(a.attstattarget AS text), i.relname, ARRAY[i.schema, i.index]::text[],
           format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', i.name, a.attnum,
                  a.attstattarget),
           format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS -1', i.name, a.attnum)
      FROM indexes i JOIN pg_attribute a ON a.attrelid = i.oid
     WHERE nullif(CAST(a.attstattarget AS int), -1) IS NOT NULL
    UNION ALL
    SELECT n.nspname, 'function', f.shown, o.name, o.value,
           'function ' || f.signature, '{}',
           format('ALTER FUNCTION %I.%s %s %s', n.nspname, f.signature, upper(o.name), o.value),
           format('ALTER FUNCTION %I.%s %s %s', n.nspname, f.signature, upper(o.name), o.default)
      FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
     CROSS JOIN LATERAL (SELECT quote_ident(p.proname) || '('
                                || pg_get_function_identity_arguments(p.oid) || ')' AS signature,
                                format('%I.%I(', n.nspname, p.proname)
                                || pg_get_function_identity_arguments(p.oid) || ')' AS shown) f
     CROSS JOIN LATERAL (VALUES
           ('cost', CAST(p.procost AS text),
            CASE WHEN l.lanname IN ('internal', 'c') THEN '1' ELSE '100' END),
           ('rows', CAST(p.prorows AS text), CASE WHEN p.proretset THEN '1000' ELSE '0' END))
           AS o (name, value, "default")
     WHERE p.prokind = 'f' AND o.value <> o.default
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                          AND e.objid = p.oid AND e.deptype IN ('e', 'i'))
    UNION ALL
    SELECT n.nspname, 'sequence', format('%I.%I', n.nspname, c.relname), 'persistence', p.found,
           'sequence ' || c.relname, '{}',
           format('ALTER SEQUENCE %I.%I SET %s', n.nspname, c.relname, p.found),
           format('ALTER SEQUENCE %I.%I SET %s', n.nspname, c.relname, p.default)
      FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
      -- That of a column follows its table.
      LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
       AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass
      LEFT JOIN pg_class o ON o.oid = d.refobjid
     CROSS JOIN LATERAL (VALUES
           (CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END,
            CASE o.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END))
           AS p (found, "default")
     WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND p.found <> p.default
    UNION ALL
    SELECT c.schema, c.type, c.shown, 'comment', d.description, c.of, c.part,
           format('COMMENT ON %s IS %L', c.noun, d.description),
           format('COMMENT ON %s IS NULL', c.noun)
      FROM (SELECT r.schema, 'constraint', r.name || '.' || quote_ident(k.conname), r.relname::text,
                   ARRAY[r.schema, r.relname, k.conname]::text[],
                   format('CONSTRAINT %I ON %s', k.conname, r.name),
                   'pg_constraint'::regclass, k.oid, 0
              FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid
            UNION ALL
            SELECT schema, 'index', shown, relname, ARRAY[schema, index], 'INDEX ' || name,
                   'pg_class'::regclass, oid, 0 FROM indexes
            UNION ALL
            SELECT r.schema, 'trigger', r.name || '.' || quote_ident(t.tgname), r.relname,
                   ARRAY[r.schema, r.relname, t.tgname],
                   format('TRIGGER %I ON %s', t.tgname, r.name), 'pg_trigger'::regclass, t.oid, 0
              FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
            UNION ALL
            SELECT r.schema, 'policy', r.name || '.' || quote_ident(p.polname), r.relname,
                   ARRAY[r.schema, r.relname, p.polname],
                   format('POLICY %I ON %s', p.polname, r.name), 'pg_policy'::regclass, p.oid, 0
              FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
            UNION ALL
            SELECT schema, 'column', name, relname, '{}', 'COLUMN ' || name,
                   'pg_class'::regclass, oid, attnum
              FROM columns WHERE relkind IN ('v', 'm')
            UNION ALL
            SELECT n.nspname, 'sequence', format('%I.%I', n.nspname, c.relname),
                   'sequence ' || c.relname, '{}', format('SEQUENCE %I.%I', n.nspname, c.relname),
                   'pg_class'::regclass, c.oid, 0
              FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
             -- Of an identity; that of any other sequence is part of its state.
             WHERE c.relkind = 'S' AND EXISTS (
                   SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.refobjsubid > 0 AND d.deptype = 'i')
            UNION ALL
            SELECT nspname, 'schema', nspname, NULL, '{}', format('SCHEMA %I', nspname),
                   'pg_namespace'::regclass, oid, 0 FROM ours)
           AS c (schema, type, shown, of, part, noun, class, oid, number)
      JOIN pg_description d ON (d.classoid, d.objoid, d.objsubid) = (c.class, c.oid, c.number)
     -- That of initdb.
     WHERE (c.noun, d.description) <> ('SCHEMA public', 'standard public schema')
)
SELECT * FROM found
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The settings in ``schemas`` that are not the default."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [SettingState(**{**row, "part": tuple(row["part"])}) for row in rows]


# --- compare: reset before, set after everything else ------------------------------------------


def seeds(changes: Changes, kind: Kind[Any]) -> Iterable[Identity]:  # noqa: ARG001
    """Nothing: each is changed in place."""
    return ()


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """What is dropped loses its settings, and what is created again has them set again."""
    before, after = changes.sides(SettingState)
    lost = changes.gone_relations()
    for key in sorted(before.keys() | after.keys()):
        was, becomes = before.get(key), after.get(key)
        state: Any = was or becomes
        again = state.relation in lost or changes.is_recreated(state.type, state.part)
        if was is not None and (again or becomes is None):
            plan.add(kind.drop, SettingOperation(was, None))
            was = None
        if becomes is not None and was != becomes:
            plan.add(kind.create, SettingOperation(was, becomes))


KIND = Kind(
    SettingState,
    SettingOperation,
    read,
    # Before any object is dropped, after all are created.
    create=Phase.FOREIGN_KEYS,
    drop=Phase.SCHEMAS,
    alterable=always,
    compare=compare,
    seeds=seeds,
)
