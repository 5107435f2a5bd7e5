"""The catalog of a database, joined with what the models know about their tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa
from sqlalchemy import Connection, Table

import models
from ddl import catalog, session
from ddl.base import Key, S
from ddl.catalog import Catalog
from ddl.columns import ColumnState
from ddl.kinds.constraint import ConstraintState
from ddl.kinds.grant import GrantState
from ddl.kinds.table import TableState
from ddl.kinds.view import ViewState
from ddl.rollups import RollupState
from ddl.sql import DEFAULT_SCHEMA, IDENT, send, unquoted
from models.shared.base import TIMESERIES
from models.shared.ingest_views import INGEST

SCHEMAS = (DEFAULT_SCHEMA, TIMESERIES, INGEST)

BOOKKEEPING = {
    "alembic_version": "Alembic's own: the revision that the database is at.",
    "schema_history": "One row per revision applied or reverted: when, by which login, how long it "
    "took, from which file; written by the migration runner, and kept by `downgrade base`.",
    "pending_operations": "On a server without TimescaleDB Community: hypertables, policies and "
    "rollups that are pending. It exists only while something is.",
}
"""Tables of the tools. They belong to the owner; no role of the project may use them."""


@dataclass(frozen=True)
class Column:
    """A column of a view or rollup."""

    name: str
    type: str


@dataclass(frozen=True)
class ForeignKey:
    """A reference to another table, column by column."""

    name: str
    table: Key
    columns: tuple[str, ...]
    target: Key
    target_columns: tuple[str, ...]
    action: str

    @property
    def own_columns(self) -> tuple[str, ...]:
        """The columns without tenant_id, unless that is the only one."""
        return tuple(name for name in self.columns if name != "tenant_id") or self.columns


_REFERENCE = re.compile(
    r"FOREIGN KEY \((?P<columns>.*?)\) REFERENCES (?P<target>[^(]+)\((?P<others>.*?)\)(?P<rest>.*)"
)


def _names(text: str) -> tuple[str, ...]:
    return tuple(unquoted(name.strip()) for name in text.split(","))


@dataclass
class Facts:
    """All facts from which pages are generated; relations are identified by (schema, name)."""

    catalog: Catalog
    view_columns: dict[Key, list[Column]] = field(default_factory=dict)

    # --- from the models ---

    @cached_property
    def modules(self) -> dict[Key, str]:
        """Table to the module that declares it."""
        found: dict[Key, str] = {}
        for mapper in models.Base.registry.mappers:
            if isinstance(mapper.local_table, Table):
                table = mapper.local_table
                found[(table.schema or DEFAULT_SCHEMA, table.name)] = mapper.class_.__module__
        return found

    @cached_property
    def domains(self) -> dict[Key, str]:
        """Table, rollup or view to its domain; bookkeeping has none."""
        found = {key: module.split(".")[1] for key, module in self.modules.items()}
        for key in (*self.catalog.of(RollupState), *self.catalog.of(ViewState)):
            if (table := self.origin(key)) in found:
                found.setdefault(key, found[table])
        return found

    def scope(self, key: Key) -> str:
        """``tenant``, ``global`` or ``private``; empty for bookkeeping."""
        name = key[1] if key[0] == DEFAULT_SCHEMA else ".".join(key)
        return models.SCOPES.get(name, "")

    @cached_property
    def order(self) -> dict[Key, int]:
        """Table to its position, after the tables that it refers to."""
        listed = models.metadata.sorted_tables
        return {(t.schema or DEFAULT_SCHEMA, t.name): place for place, t in enumerate(listed)}

    @staticmethod
    def docstring(module: str) -> str:
        """The first paragraph of a module's docstring."""
        text = sys.modules[module].__doc__ or ""
        return " ".join(text.strip().split("\n\n")[0].split())

    # --- from the catalog ---

    @cached_property
    def tables(self) -> list[Key]:
        """The tables of the models that exist in the database."""
        return sorted(key for key in self.catalog.of(TableState) if key in self.modules)

    @cached_property
    def undeclared(self) -> list[Key]:
        """Tables that neither the models nor the tools declare."""
        known = self.modules.keys() | {(DEFAULT_SCHEMA, name) for name in BOOKKEEPING}
        return sorted(self.catalog.of(TableState).keys() - known)

    @cached_property
    def _columns(self) -> dict[Key, list[ColumnState]]:
        found: dict[Key, list[ColumnState]] = {}
        for state in self.catalog.of(ColumnState).values():
            found.setdefault((state.schema, state.table), []).append(state)
        return found

    def columns(self, table: Key) -> list[ColumnState]:
        """The columns of a table in their order."""
        return self._columns.get(table, [])

    def constraints(self, table: Key, kind: str) -> list[ConstraintState]:
        """The constraints of a table whose definition starts with ``kind``, by name."""
        return [
            state
            for key, state in sorted(self.catalog.of(ConstraintState).items())
            if key[:2] == table and state.definition.startswith(kind)
        ]

    def keys(self, table: Key) -> list[tuple[str, ...]]:
        """The columns of the primary key and of unique constraints."""
        found = self.constraints(table, "PRIMARY KEY") + self.constraints(table, "UNIQUE")
        return [_names(state.definition.split("(", 1)[1].split(")")[0]) for state in found]

    @cached_property
    def foreign_keys(self) -> list[ForeignKey]:
        """All foreign keys, by table and name."""
        found = []
        for key, state in sorted(self.catalog.of(ConstraintState).items()):
            match = _REFERENCE.match(state.definition)
            if match is None:
                continue
            schema, _, name = match["target"].rpartition(".")
            target = (unquoted(schema) or DEFAULT_SCHEMA, unquoted(name))
            columns, others = _names(match["columns"]), _names(match["others"])
            rest = match["rest"].strip()
            found.append(ForeignKey(state.name, key[:2], columns, target, others, rest))
        return found

    def references(self, table: Key) -> list[ForeignKey]:
        """The foreign keys of a table."""
        return [key for key in self.foreign_keys if key.table == table]

    def referring(self, table: Key) -> list[Key]:
        """The other tables that refer to a table."""
        found = {key.table for key in self.foreign_keys if key.target == table}
        return sorted(found - {table})

    def on(self, state_type: type[S], relation: Key) -> list[S]:
        """Triggers or policies of a relation by name."""
        states = sorted(self.catalog.of(state_type).items())
        return [state for key, state in states if key[:2] == relation]

    def sources(self, relation: Key) -> list[Key]:
        """The tables, rollups and views that a view or rollup reads, in order of appearance."""
        state = self.catalog.of(RollupState).get(relation) or self.catalog.of(ViewState)[relation]
        known = {
            *self.catalog.of(TableState),
            *self.catalog.of(RollupState),
            *self.catalog.of(ViewState),
        } - {relation}
        named = re.findall(rf"({IDENT})\.({IDENT})(?![\w$(])", state.definition)
        mentioned = [(unquoted(schema), unquoted(name)) for schema, name in named]
        return [pair for pair in dict.fromkeys(mentioned) if pair in known]

    def origin(self, relation: Key) -> Key:
        """The table at the end of first sources; the relation itself where it reads nothing."""
        derived = self.catalog.of(RollupState).keys() | self.catalog.of(ViewState).keys()
        while relation in derived and (sources := self.sources(relation)):
            relation = sources[0]
        return relation

    def rollups_of(self, table: Key) -> list[Key]:
        """The rollups of a hypertable, and their rollups."""
        found: list[Key] = []
        for key in sorted(self.catalog.of(RollupState)):
            if self.sources(key)[:1] == [table]:
                found += [key, *self.rollups_of(key)]
        return found

    def tenant_view(self, relation: Key) -> Key | None:
        """The view in public through which tenants reach a hypertable or rollup."""
        view = (DEFAULT_SCHEMA, relation[1])
        return view if relation[0] == TIMESERIES and view in self.catalog.of(ViewState) else None

    def ingest_view(self, relation: Key) -> Key | None:
        """The view through which fleet_ingest writes into a hypertable."""
        view = (INGEST, relation[1])
        return view if relation[0] == TIMESERIES and view in self.catalog.of(ViewState) else None

    def own_views(self, tables: Iterable[Key]) -> list[Key]:
        """Views, other than those of a hypertable, that originate in one of ``tables``."""
        selected = set(tables)
        views = [key for key in sorted(self.catalog.of(ViewState)) if not self._is_door(key)]
        return [key for key in views if self.origin(key) in selected]

    def is_tenant_view(self, view: Key) -> bool:
        """Whether a view shows tenants the hypertable or rollup of the same name."""
        return view[0] == DEFAULT_SCHEMA and self._is_door(view)

    def is_ingest_view(self, view: Key) -> bool:
        """Whether fleet_ingest writes through a view into the hypertable of the same name."""
        return view[0] == INGEST and self._is_door(view)

    def _is_door(self, view: Key) -> bool:
        behind = (TIMESERIES, view[1])
        return behind in self.catalog.of(TableState) or behind in self.catalog.of(RollupState)

    def grants(self, relation: Key) -> dict[str, dict[str, set[str]]]:
        """Role to privilege to columns; all columns are an empty set."""
        state = self.catalog.of(GrantState).get(relation)
        found: dict[str, dict[str, set[str]]] = {}
        for held in state.privileges if state else ():
            columns = found.setdefault(held.role, {}).setdefault(held.name, set())
            if held.column:
                columns.add(held.column)
        return found


_VIEW_COLUMNS = sa.text("""
SELECT n.nspname AS schema, c.relname AS view, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND c.relkind = 'v' AND a.attnum > 0
   AND NOT a.attisdropped
 ORDER BY n.nspname, c.relname, a.attnum
""")


def read(connection: Connection) -> Facts:
    """Read the catalog with an empty search_path, so that names in expressions are qualified."""
    send(connection, f"{session.fix(local=True)}; SET LOCAL search_path = pg_catalog")
    facts = Facts(catalog.read(connection, SCHEMAS))
    for row in connection.execute(_VIEW_COLUMNS, {"schemas": list(SCHEMAS)}):
        columns = facts.view_columns.setdefault((row.schema, row.view), [])
        columns.append(Column(row.name, row.type))
    return facts
