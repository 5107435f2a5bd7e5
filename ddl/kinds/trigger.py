"""Triggers and constraint triggers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from ddl import sql
from ddl.base import Declaration, Key, Operation, State, explicit
from ddl.kind import Kind
from ddl.plan import Phase
from ddl.revisable import revisable

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class TriggerState(State):
    """One trigger; ``events`` as in CREATE TRIGGER: ``insert or update of a, b``."""

    kind: ClassVar[str] = "trigger"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table", "name")
    positional: ClassVar[tuple[str, ...]] = ("name", "table", "timing", "events")

    name: str = ""
    table: str = ""
    timing: str = explicit("before")
    events: str = explicit("update")
    level: str = explicit("row")
    function: str = explicit("")
    when: str | None = None
    constraint: bool = False
    deferrable: bool = False
    initially_deferred: bool = False
    old_table: str | None = None
    new_table: str | None = None
    enabled: str = "origin"
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table or view it fires for."""
        return (self.schema, self.table)


class Trigger(Declaration):
    """A trigger of the table in whose ``__table_args__`` it is declared.

    Args:
        events: ``"insert or update of parent_device_id"``.
        function: the call, ``"set_updated_at()"``.
        when: condition over OLD and NEW, without the outer parentheses.
        constraint: a constraint trigger (after, row level), which may be deferred.
    """

    def __init__(
        self,
        name: str,
        *,
        timing: str,
        events: str,
        function: str,
        level: str = "row",
        when: str | None = None,
        constraint: bool = False,
        deferrable: bool = False,
        initially_deferred: bool = False,
        old_table: str | None = None,
        new_table: str | None = None,
    ) -> None:
        self.values = {
            "name": name,
            "timing": timing,
            "events": _OF.sub(_quoted, sql.squeezed(events)),
            "function": function,
            "level": level,
            "when": when,
            "constraint": constraint,
            "deferrable": deferrable or initially_deferred,
            "initially_deferred": initially_deferred,
            "old_table": old_table,
            "new_table": new_table,
        }

    def states(self, table: Table) -> Iterator[State]:
        """The trigger on ``table``."""
        yield from self.on(table.name, table.schema or sql.DEFAULT_SCHEMA)

    def on(self, name: str, schema: str) -> Iterator[TriggerState]:
        """The trigger on a table or view of this name."""
        yield TriggerState(table=name, schema=schema, **self.values)  # type: ignore[arg-type]


_OF = re.compile(
    r"(?<=\bof )(?P<columns>(?:\"[^\"]*\"|[^\"])+?)(?= or (?:insert|update|delete|truncate)\b|$)",
    re.I,
)


def _quoted(match: re.Match[str]) -> str:
    """The columns of UPDATE OF, in quotes where they need them."""
    return ", ".join(sql.ident(sql.unquoted(one)) for one in sql.split_list(match["columns"]))


# --- operate ---------------------------------------------------------------------------------

_ENABLE = {
    "origin": "ENABLE",
    "replica": "ENABLE REPLICA",
    "always": "ENABLE ALWAYS",
    "disabled": "DISABLE",
}


@revisable(TriggerState)
class TriggerOperation(Operation[TriggerState]):
    """CREATE or DROP TRIGGER; a change is one of each."""

    def create(self, state: TriggerState, edition: str) -> list[str]:
        """CREATE TRIGGER, and when it fires where that is not the default."""
        found = [_create(state)]
        if state.enabled != "origin":
            found.append(
                f"ALTER TABLE {_table(state)} {_ENABLE[state.enabled]}"
                f" TRIGGER {sql.ident(state.name)}"
            )
        return found

    def drop(self, state: TriggerState, edition: str) -> list[str]:
        """One statement."""
        return [f"DROP TRIGGER {sql.ident(state.name)} ON {_table(state)}"]


def _table(state: TriggerState) -> str:
    return sql.qualified(state.schema, state.table)


def _create(state: TriggerState) -> str:
    parts = [
        f"CREATE {'CONSTRAINT ' if state.constraint else ''}TRIGGER {sql.ident(state.name)}",
        f"{state.timing.upper()} {_events(state.events)} ON {_table(state)}",
    ]
    if state.deferrable:
        parts.append(
            f"DEFERRABLE INITIALLY {'DEFERRED' if state.initially_deferred else 'IMMEDIATE'}"
        )
    if state.old_table or state.new_table:
        old = f" OLD TABLE AS {sql.ident(state.old_table)}" if state.old_table else ""
        new = f" NEW TABLE AS {sql.ident(state.new_table)}" if state.new_table else ""
        parts.append(f"REFERENCING{old}{new}")
    parts.append(f"FOR EACH {state.level.upper()}")
    if state.when:
        parts.append(f"WHEN ({state.when})")
    parts.append(f"EXECUTE FUNCTION {state.function}")
    return "\n".join(parts)


def _events(events: str) -> str:
    keyword = r"\"[^\"]*\"|\b(insert|update|delete|truncate|or|of)\b"
    return re.sub(keyword, lambda match: match[0].upper() if match[1] else match[0], events)


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS table, t.tgname AS name,
       CASE WHEN t.tgtype & 64 > 0 THEN 'instead of' WHEN t.tgtype & 2 > 0 THEN 'before'
            ELSE 'after' END AS timing,
       concat_ws(' or ',
           CASE WHEN t.tgtype & 4 > 0 THEN 'insert' END,
           CASE WHEN t.tgtype & 16 > 0 THEN 'update' || coalesce(' of ' || (
               SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.ordinality)
                 FROM unnest(t.tgattr::int2[]) WITH ORDINALITY u (attnum, ordinality)
                 JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = u.attnum), '') END,
           CASE WHEN t.tgtype & 8 > 0 THEN 'delete' END,
           CASE WHEN t.tgtype & 32 > 0 THEN 'truncate' END) AS events,
       CASE WHEN t.tgtype & 1 > 0 THEN 'row' ELSE 'statement' END AS level,
       t.tgconstraint <> 0 AS constraint, t.tgdeferrable AS deferrable,
       t.tginitdeferred AS initially_deferred, t.tgoldtable AS old_table,
       t.tgnewtable AS new_table,
       CASE t.tgenabled WHEN 'O' THEN 'origin' WHEN 'R' THEN 'replica'
                        WHEN 'A' THEN 'always' ELSE 'disabled' END AS enabled,
       pg_get_triggerdef(t.oid) AS definition
  FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND NOT t.tgisinternal AND t.tgparentid = 0
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_trigger'::regclass
                      AND e.objid = t.oid AND e.deptype = 'e')
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Every trigger on a table or view of ``schemas``, with what PostgreSQL made of it."""
    found: list[State] = []
    for row in connection.execute(_QUERY, {"schemas": list(schemas)}).mappings():
        values = dict(row)
        definition = values.pop("definition")
        head, _, values["function"] = definition.rpartition(" EXECUTE FUNCTION ")
        condition = re.search(r" FOR EACH (?:ROW|STATEMENT) WHEN \((.*)\)$", head, re.S)
        values["when"] = condition[1] if condition else None
        found.append(TriggerState(**values))
    return found


# --- compare: dropped and created, whatever changes -----------------------------------------------

KIND = Kind(
    TriggerState,
    TriggerOperation,
    read,
    create=Phase.TRIGGERS,
    drop=Phase.DROP_TRIGGERS,
    expressions=("when",),
    dependent_objects="""
    SELECT 'pg_trigger'::regclass, t.oid, 'trigger', r.key || t.tgname::text
      FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal""",
    rename="ALTER TRIGGER {old} ON {table} RENAME TO {new}",
)
