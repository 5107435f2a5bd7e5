"""What the kinds of TimescaleDB share: editions, and the ledger of what a server cannot do.

On a server without the needed edition an operation writes its state into the table
``timeseries_ledger`` instead, and the readers take that table as the state of the database. So
the same model gives the same revision on every edition, drift is seen on every edition, and a
database that gains TimescaleDB later knows what it still has to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql
from ddl.base import DDLOperation, Key, State
from ddl.edition import COMMUNITY, POSTGRESQL, detect, suffices

LEDGER = "timeseries_ledger"

CREATE_LEDGER = f"""CREATE TABLE IF NOT EXISTS {LEDGER} (
    kind text NOT NULL,
    relation text NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (kind, relation)
)"""


def forgotten(condition: str) -> list[str]:
    """Delete rows of the ledger, which goes with its last one: an empty catalog has none."""
    return [
        f"""DO $ledger$
BEGIN
    IF to_regclass({sql.literal(LEDGER)}) IS NOT NULL THEN
        DELETE FROM {LEDGER} WHERE {condition};
        IF NOT EXISTS (SELECT FROM {LEDGER}) THEN
            DROP TABLE {LEDGER};
        END IF;
    END IF;
END
$ledger$"""
    ]


@dataclasses.dataclass(frozen=True)
class TimeSeriesState(State):
    """A property of one relation; ``intervals`` names the fields that hold one."""

    intervals: ClassVar[tuple[str, ...]] = ()

    @property
    def key(self) -> Key:
        """(schema, relation)."""
        return (self.schema, self.name)  # type: ignore[attr-defined]

    @property
    def relation(self) -> Key | None:
        """The table or rollup it belongs to."""
        return self.key

    def values(self) -> dict[str, Any]:
        """The fields besides the identity."""
        fields = dataclasses.asdict(self)
        return {key: value for key, value in fields.items() if key not in ("name", "schema")}


class TimeSeriesOperation(DDLOperation):
    """An operation that only some editions can carry out; the others write it down."""

    needs: ClassVar[str] = COMMUNITY

    def statements(self) -> list[str]:
        """The SQL for the edition that can."""
        return self.statements_on(COMMUNITY)

    def statements_on(self, edition: str) -> list[str]:
        """The SQL for ``edition``."""
        if suffices(edition, self.needs):
            return self.native()
        return [*self.substitute(), *self.noted()]

    def native(self) -> list[str]:
        """What TimescaleDB is told."""
        return []

    def substitute(self) -> list[str]:
        """What a server without it does instead."""
        return []

    def noted(self) -> list[str]:
        """The row of the ledger."""
        state: TimeSeriesState = self.state
        identity = f"{sql.literal(state.kind)}, {regclass(state)}"
        if self.after is None:
            return forgotten(f"(kind, relation) = ({identity})")
        pairs = []
        for key, value in state.values().items():
            spelled = "NULL" if value is None else sql.literal(str(value))
            if isinstance(value, bool):
                spelled = str(value).lower()
            elif key in state.intervals and value is not None:
                # In the server's own spelling, as the information views have it.
                spelled = f"({spelled}::interval)::text"
            pairs.append(f"{sql.literal(key)}, {spelled}")
        return [
            CREATE_LEDGER,
            (
                f"INSERT INTO {LEDGER} (kind, relation, state) VALUES ({identity},"
                f" jsonb_build_object({', '.join(pairs)}))"
                " ON CONFLICT (kind, relation) DO UPDATE SET state = excluded.state"
            ),
        ]


def regclass(state: Any) -> str:
    """The relation as an argument of TimescaleDB's functions."""
    return sql.literal(f"{sql.ident(state.schema)}.{sql.ident(state.name)}")


def rows(connection: Connection, query: str, schemas: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a query over the information views; none where there is no TimescaleDB."""
    if detect(connection) == POSTGRESQL:
        return []
    found = connection.execute(sa.text(query), {"schemas": list(schemas)}).mappings()
    return [dict(row) for row in found]


def noted(connection: Connection, kind: str, schemas: Sequence[str]) -> list[dict[str, Any]]:
    """The ledger's rows of ``kind``, in whichever of ``schemas`` a ledger is."""
    found: list[dict[str, Any]] = []
    ledgers = sa.text(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = :ledger AND n.nspname = ANY (CAST(:schemas AS name[]))"
    )
    where = {"ledger": LEDGER, "schemas": list(schemas)}
    for ledger in connection.scalars(ledgers, where).all():
        query = sa.text(
            "SELECT split_part(relation, '.', 1) AS schema, split_part(relation, '.', 2) AS name,"
            f" state FROM {sql.ident(ledger)}.{LEDGER} WHERE kind = :kind"
        )
        for row in connection.execute(query, {"kind": kind}):
            if row.schema in schemas:
                found.append({"schema": row.schema, "name": row.name, **row.state})
    return found
