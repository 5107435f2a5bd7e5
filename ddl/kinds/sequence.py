"""Sequences: independent ones, and the options of those that serial columns own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Identity, Key, Operation, State
from ddl.changes import Changes
from ddl.kind import Kind, always
from ddl.numbering import continued
from ddl.plan import Phase, Plan
from ddl.revisable import revisable
from ddl.risk import Risk

# --- declare: the models' own Sequence --------------------------------------------------------


@dataclass(frozen=True)
class SequenceState(State):
    """One sequence; an option that is None has PostgreSQL's default for the type and direction.

    ``owned_by`` is the column, as in OWNED BY, with which it is dropped.
    """

    kind: ClassVar[str] = "sequence"
    grantable: ClassVar[bool] = True

    name: str = ""
    data_type: str = "bigint"
    start: int | None = None
    increment: int = 1
    minimum: int | None = None
    maximum: int | None = None
    cache: int = 1
    cycle: bool = False
    owned_by: str | None = None
    comment: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The sequence itself, as its grants name it."""
        return (self.schema, self.granted_as)

    @property
    def part_of(self) -> Identity | None:
        """The column that owns it."""
        if self.owned_by is None:
            return None
        table, column = map(sql.unquoted, re.findall(sql.IDENT, self.owned_by))
        return ("column", (self.schema, table, column))

    @property
    def granted_as(self) -> str:
        """``sequence order_no``."""
        return f"sequence {self.name}"


@dataclass(frozen=True)
class IdentitySequenceState(SequenceState):
    """The sequence of an identity: its options are the column's, its grants are its own."""

    @property
    def key(self) -> Key:
        """Never that of a plain sequence, since neither can become the other."""
        return (self.schema, f"identity {self.owned_by}")


# --- operate ---------------------------------------------------------------------------------


@revisable(SequenceState)
class SequenceOperation(Operation[SequenceState]):
    """CREATE, ALTER or DROP SEQUENCE; an altered one goes on counting where it was."""

    def effect(self) -> tuple[Risk, str]:
        """One that is created again starts anew."""
        return (Risk.DESTRUCTIVE, "loses its count") if self.after is None else (Risk.SAFE, "")

    def create(self, state: SequenceState, edition: str) -> list[str]:
        """CREATE SEQUENCE with the options that are not the default, then the comment.

        That of a column, which exists already, begins behind the numbers that rows have.
        """
        name = sql.qualified(state.schema, state.name)
        options = [
            f"AS {state.data_type}" if state.data_type != "bigint" else "",
            f"START {state.start}" if state.start is not None else "",
            f"INCREMENT {state.increment}" if state.increment != 1 else "",
            f"MINVALUE {state.minimum}" if state.minimum is not None else "",
            f"MAXVALUE {state.maximum}" if state.maximum is not None else "",
            f"CACHE {state.cache}" if state.cache != 1 else "",
            "CYCLE" if state.cycle else "",
            f"OWNED BY {_owner(state)}" if state.owned_by is not None else "",
        ]
        found = [" ".join([f"CREATE SEQUENCE {name}", *filter(None, options)])]
        if state.comment is not None:
            found.append(sql.comment_on(f"SEQUENCE {name}", state.comment))
        if state.part_of is not None:
            found.append(continued(*state.part_of[1]))
        return found

    def alter(self, before: SequenceState, after: SequenceState, edition: str) -> list[str]:
        """All options, so that those that are not given are the default again."""
        name = sql.qualified(after.schema, after.name)
        lowest = "NO MINVALUE" if after.minimum is None else f"MINVALUE {after.minimum}"
        highest = "NO MAXVALUE" if after.maximum is None else f"MAXVALUE {after.maximum}"
        return [
            (
                f"ALTER SEQUENCE {name} AS {after.data_type} START {_start(after)}"
                f" INCREMENT {after.increment} {lowest} {highest} CACHE {after.cache}"
                f" {'CYCLE' if after.cycle else 'NO CYCLE'} OWNED BY {_owner(after)}"
            ),
            sql.comment_on(f"SEQUENCE {name}", after.comment),
        ]

    def drop(self, state: SequenceState, edition: str) -> list[str]:
        """One statement; fails while a default still uses it."""
        return [f"DROP SEQUENCE {sql.qualified(state.schema, state.name)}"]


def _owner(state: SequenceState) -> str:
    if state.owned_by is None:
        return "NONE"
    prefix = "" if state.schema == sql.DEFAULT_SCHEMA else f"{sql.ident(state.schema)}."
    return f"{prefix}{state.owned_by}"


_BITS = {"smallint": 15, "integer": 31, "bigint": 63}


def _bounds(data_type: str, increment: int) -> tuple[int, int]:
    """The smallest and the largest value where none is given."""
    most = 2 ** _BITS[data_type]
    return (1, most - 1) if increment > 0 else (-most, -1)


def _start(state: SequenceState) -> int:
    """The first value: where none is given, the end from which the sequence counts."""
    if state.start is not None:
        return state.start
    lowest, highest = _bounds(state.data_type, state.increment)
    if state.increment > 0:
        return lowest if state.minimum is None else state.minimum
    return highest if state.maximum is None else state.maximum


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, c.relname AS name, format_type(s.seqtypid, NULL) AS data_type,
       s.seqstart AS start, s.seqincrement AS increment, s.seqmin AS minimum,
       s.seqmax AS maximum, s.seqcache AS cache, s.seqcycle AS cycle,
       o.deptype = 'i' AS identity,
       quote_ident(t.relname) || '.' || quote_ident(a.attname) AS column,
       obj_description(c.oid, 'pg_class') AS comment
  FROM pg_sequence s
  JOIN pg_class c ON c.oid = s.seqrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid
        AND o.refclassid = 'pg_class'::regclass AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
  LEFT JOIN pg_class t ON t.oid = o.refobjid
  LEFT JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
 WHERE n.nspname = ANY (CAST(:schemas AS name[]))
   AND (t.oid IS NULL OR t.relkind IN ('r', 'p') AND NOT t.relispartition)
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                      AND e.objid IN (c.oid, t.oid) AND e.deptype = 'e')
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """The sequences of ``schemas``, those that columns own included."""
    found: list[State] = []
    for row in connection.execute(_QUERY, {"schemas": list(schemas)}).mappings():
        values: dict[str, Any] = dict(row)
        owner, identity = values.pop("column"), values.pop("identity")
        if identity:
            state: SequenceState = IdentitySequenceState(
                values["name"], owned_by=owner, schema=values["schema"]
            )
        else:
            state = SequenceState(
                **_without_defaults(values), owned_by=None if identity is None else owner
            )
        found.append(state)
    return found


def _without_defaults(values: dict[str, Any]) -> dict[str, Any]:
    lowest, highest = _bounds(values["data_type"], values["increment"])
    first = values["minimum"] if values["increment"] > 0 else values["maximum"]
    defaults = {"start": first, "minimum": lowest, "maximum": highest}
    kept = {
        key: None if values[key] == default else values[key] for key, default in defaults.items()
    }
    return {**values, **kept}


# --- compare: an owned one comes and goes with its column ----------------------------------------


def _left_behind(changes: Changes) -> list[Key]:
    """Sequences that need a DROP of their own: what owns them, if anything, stays."""
    before, after = changes.sides(SequenceState)
    return [
        key
        for key in sorted(before.keys() - after.keys())
        if not isinstance(before[key], IdentitySequenceState)
        and _stays(changes, before[key].part_of)
    ]


def _stays(changes: Changes, column: Identity | None) -> bool:
    if column is None:
        return True
    return changes.target.get(column) is not None and not changes.is_recreated(*column)


def seeds(changes: Changes, kind: Kind[Any]) -> Iterator[Identity]:
    """What is dropped: the defaults that use it must be dropped first."""
    for key in _left_behind(changes):
        yield (kind.name, key)


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Create and drop independent ones; change the options of all but identities."""
    before, after = changes.sides(SequenceState)
    for key in reversed(_left_behind(changes)):
        # An identity of the same column may need the name that this frees.
        phase = kind.drop if before[key].owned_by is None else Phase.DROP_COLUMNS
        plan.add(phase, SequenceOperation(before[key], None), removes=[(kind.name, key)])
    for key in sorted(after.keys() - before.keys()):
        if after[key].owned_by is None:
            plan.add(kind.create, SequenceOperation(None, after[key]), makes=[(kind.name, key)])
    for key in changes.changed(SequenceState):
        if not isinstance(after[key], IdentitySequenceState):
            operation = SequenceOperation(before[key], after[key])
            plan.add(kind.create, operation, makes=[(kind.name, key)])


KIND = Kind(
    SequenceState,
    SequenceOperation,
    read,
    create=Phase.SEQUENCES,
    drop=Phase.DROP_SEQUENCES,
    alterable=always,
    relation=True,
    relkinds="S",
    compare=compare,
    seeds=seeds,
    rename="ALTER SEQUENCE {named} RENAME TO {new}",
    rename_asked=True,
)
