"""Pending operations: a record of what a server of a lower edition cannot carry out.

On a server without the needed edition an operation writes its state into the table
``pending_operations`` instead, and the readers count that table as part of the database's state.
So the same model gives the same revision on every edition, drift is found on every edition, and
a later conversion to TimescaleDB knows what is left to do.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import privileges, sql
from ddl.base import Key, Operation, State
from ddl.edition import COMMUNITY, POSTGRESQL, detect, suffices

PENDING = "pending_operations"

CREATE_PENDING = f"""CREATE TABLE IF NOT EXISTS {PENDING} (
    kind text NOT NULL,
    relation text NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (kind, relation)
)"""


def forgotten(condition: str) -> list[str]:
    """The SQL that deletes pending operations, and the table when its last row goes."""
    return [
        _where_pending(
            f"""DELETE FROM {PENDING} WHERE {condition};
        IF NOT EXISTS (SELECT FROM {PENDING}) THEN
            DROP TABLE {PENDING};
        END IF;"""
        )
    ]


def _where_pending(statements: str) -> str:
    return f"""DO $pending$
BEGIN
    IF to_regclass({sql.literal(PENDING)}) IS NOT NULL THEN
        {statements}
    END IF;
END
$pending$"""


def renamed_relation(old: Key, new: Key) -> str:
    """The SQL by which pending operations follow a relation to its new name or schema."""
    return _where_pending(
        f"UPDATE {PENDING} SET relation = {_literal(new)} WHERE relation = {_literal(old)};"
    )


def renamed_schema(old: str, new: str) -> str:
    """The same for all relations of a schema."""
    before, after = f"{sql.ident(old)}.", f"{sql.ident(new)}."
    return _where_pending(
        f"UPDATE {PENDING} SET relation = {sql.literal(after)}"
        f" || substr(relation, {len(before) + 1})"
        f" WHERE left(relation, {len(before)}) = {sql.literal(before)};"
    )


def renamed_column(relation: Key, old: str, new: str) -> str:
    """The same for the column of time, for the layout of a columnstore and indexes of a rollup."""
    pattern = sql.literal(rf"(^|[,(]){re.escape(sql.ident(old))}(?=[ ,)]|$)")
    replacement = sql.literal(rf"\1{sql.ident(new)}")
    lists = {"columnstore": ("segmentby", "orderby", "sparse_index"), "rollup": ("indexes",)}
    layout, indexes = (
        ", ".join(
            f"{sql.literal(field)}, regexp_replace(state ->> {sql.literal(field)},"
            f" {pattern}, {replacement}, 'g')"
            for field in fields
        )
        for fields in lists.values()
    )
    return _where_pending(
        f"""UPDATE {PENDING} SET state = state || jsonb_build_object({layout})
         WHERE kind = 'columnstore' AND relation = {_literal(relation)};
        UPDATE {PENDING} SET state = state || jsonb_build_object({indexes})
         WHERE kind = 'rollup' AND relation = {_literal(relation)} AND state ? 'indexes';
        UPDATE {PENDING} SET state = state || jsonb_build_object('time_column', {sql.literal(new)})
         WHERE relation = {_literal(relation)} AND state ->> 'time_column' = {sql.literal(old)};"""
    )


def _literal(relation: Key) -> str:
    return sql.literal(".".join(sql.ident(part) for part in relation))


@dataclasses.dataclass(frozen=True)
class TimeSeriesState(State):
    """A property of one relation; ``intervals`` names the fields that hold one."""

    intervals: ClassVar[tuple[str, ...]] = ()

    name: str = ""
    schema: str = dataclasses.field(default=sql.DEFAULT_SCHEMA, kw_only=True)

    @property
    def relation(self) -> Key | None:
        """The table or rollup it belongs to."""
        return self.key

    def recorded(self) -> dict[str, Any]:
        """What a pending operation keeps of it."""
        return dict(self.details())


T = TypeVar("T", bound=TimeSeriesState)


class TimeSeriesOperation(Operation[T]):
    """An operation that only some editions can carry out; the others record it.

    A kind has the SQL for an edition that can, as for every operation, and a ``substitute`` where
    a server without it does something else in the meantime.
    """

    requires: ClassVar[str] = COMMUNITY

    def statements(self, edition: str = COMMUNITY) -> list[str]:
        """The SQL for ``edition``."""
        if suffices(edition, self.requires):
            return super().statements(edition)
        found = [*self.substitute(edition), *self.recorded()]
        if self.before is None and self.grants:
            found += privileges.statements(self.state.granted_as, self.state.schema, self.grants)
        return found

    def substitute(self, edition: str) -> list[str]:
        """What a server of the lower ``edition`` does instead."""
        return []

    def recorded(self) -> list[str]:
        """The SQL that records the pending operation, or deletes the record."""
        state = self.state
        if self.after is None:
            return forgotten(f"(kind, relation) = ({sql.literal(state.kind)}, {regclass(state)})")
        return record(state, state.recorded())


def record(state: TimeSeriesState, values: Mapping[str, Any]) -> list[str]:
    """The SQL that records a pending operation, intervals in the server's own spelling."""
    pairs = []
    for key, value in values.items():
        spelled = "NULL" if value is None else sql.literal(str(value))
        if isinstance(value, bool):
            spelled = str(value).lower()
        elif key in state.intervals and value is not None:
            # As the information views spell it.
            spelled = f"({spelled}::interval)::text"
        pairs.append(f"{sql.literal(key)}, {spelled}")
    identity = f"{sql.literal(state.kind)}, {regclass(state)}"
    return [
        CREATE_PENDING,
        (
            f"INSERT INTO {PENDING} (kind, relation, state) VALUES ({identity},"
            f" jsonb_build_object({', '.join(pairs)}))"
            f" ON CONFLICT (kind, relation) DO UPDATE SET state = {PENDING}.state || excluded.state"
        ),
    ]


def regclass(state: TimeSeriesState) -> str:
    """The relation as an argument of TimescaleDB's functions."""
    return sql.literal(f"{sql.ident(state.schema)}.{sql.ident(state.name)}")


def scheduled(call: str, runs: bool) -> str:
    """A statement with the call that adds a job, paused where it does not run."""
    return f"SELECT {call}" if runs else f"SELECT alter_job({call}, scheduled => false)"


def rows(connection: Connection, query: str, schemas: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a query over the information views; none where there is no TimescaleDB."""
    if detect(connection) == POSTGRESQL:
        return []
    found = connection.execute(sa.text(query), {"schemas": list(schemas)}).mappings()
    return [dict(row) for row in found]


def pending(connection: Connection, kind: str, schemas: Sequence[str]) -> list[dict[str, Any]]:
    """The pending operations of ``kind``, in whichever of ``schemas`` their table is."""
    found: list[dict[str, Any]] = []
    tables = sa.text(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = :pending AND n.nspname = ANY (CAST(:schemas AS name[]))"
    )
    where = {"pending": PENDING, "schemas": list(schemas)}
    for schema in connection.scalars(tables, where).all():
        query = sa.text(
            "SELECT (parse_ident(relation))[1] AS schema, (parse_ident(relation))[2] AS name,"
            f" state FROM {sql.ident(schema)}.{PENDING} WHERE kind = :kind"
        )
        for row in connection.execute(query, {"kind": kind}):
            if row.schema in schemas:
                found.append({"schema": row.schema, "name": row.name, **row.state})
    return found
