"""Rows that name relations in a text: a rename carries them along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from alembic.operations import Operations
from sqlalchemy import MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Alteration, Declaration, Declared, Key, State
from ddl.catalog import Catalog
from ddl.kinds.table import TableState
from ddl.renames import Rename


class NamesRelations(Declaration):
    """``NamesRelations("relation", schema="timeseries", role="fleet_operator")``.

    The values of the column are names of tables, views and rollups of ``schema``. A revision that
    renames one of those changes the rows that name it, after it has dropped the constraints that
    change and before it creates them anew.

    Args:
        role: who may change the rows where row-level security hides them from the owner.

    Raises:
        sqlalchemy.exc.ArgumentError: the table has no such column.
    """

    def __init__(self, column: str, *, schema: str, role: str | None = None) -> None:
        self.column = column
        self.schema = schema
        self.role = role

    def states(self, table: Table) -> Iterator[State]:
        """None: what rows name is no object."""
        if self.column not in table.c:
            raise ArgumentError(
                f"table {table.name}: NamesRelations({self.column!r}), but the table has no such "
                f"column; write one of {', '.join(table.c.keys())}"
            )
        key = (table.schema or sql.DEFAULT_SCHEMA, table.name, str(table.c[self.column].name))
        Declared.on(table.metadata).naming[key] = (self.schema, self.role)
        yield from ()


@dataclass(frozen=True)
class NamesInRows(State):
    """Names of relations as values of a column."""

    kind: ClassVar[str] = "names in rows"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table", "column")

    table: str = ""
    column: str = ""
    names: tuple[str, ...] = ()
    schema: str = sql.DEFAULT_SCHEMA
    role: str | None = None

    @property
    def relation(self) -> Key | None:
        """The table of the rows."""
        return (self.schema, self.table)


@Operations.register_operation("rename_in_rows")
class RenameInRows(Alteration[NamesInRows]):
    """An UPDATE of the rows that have the names of one side, to those of the other."""

    verb = "rename_in_rows"

    @classmethod
    def rename_in_rows(
        cls,
        operations: Operations,
        table: str,
        column: str,
        names: Mapping[str, str],
        *,
        role: str | None = None,
        schema: str = "public",
    ) -> None:
        """``op.rename_in_rows("policies", "relation", {"hourly": "by_hour"}, role="operator")``.

        Args:
            names: each former name with the one that it becomes.
            role: who changes the rows; without, the owner.
        """
        before = NamesInRows(table, column, tuple(names), schema, role)
        operations.invoke(cls(before, replace(before, names=tuple(names.values()))))

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """As the function above takes them."""
        state = self.state
        keywords: dict[str, Any] = {} if state.role is None else {"role": state.role}
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return [state.table, state.column, self._names()], keywords

    def alter(self, before: NamesInRows, after: NamesInRows, edition: str) -> list[str]:
        """One UPDATE, so that names may go round, by the role that sees the rows."""
        column = sql.ident(after.column)
        pairs = [(sql.literal(old), sql.literal(new)) for old, new in self._names().items()]
        table = f"{sql.ident(after.schema)}.{sql.ident(after.table)}"
        update = (
            f"UPDATE {table} SET {column} = CASE {column}"
            f" {' '.join(f'WHEN {old} THEN {new}' for old, new in pairs)} END"
            f" WHERE {column} IN ({', '.join(old for old, _ in pairs)})"
        )
        if after.role is None:
            return [update]
        body = (
            f"\nDECLARE\n    owner text := current_user;\nBEGIN\n"
            f"    SET LOCAL ROLE {sql.ident(after.role)};\n    {update};\n"
            "    EXECUTE format('SET LOCAL ROLE %I', owner);\nEND\n"
        )
        return [f"DO {sql.dollar_quoted(body)}"]

    def _names(self) -> dict[str, str]:
        assert self.before is not None
        return dict(zip(self.before.names, self.state.names, strict=True))


def followed(metadata: MetaData, current: Catalog, renames: Iterable[Rename]) -> list[RenameInRows]:
    """What carries the rows along that name what is renamed."""
    found = []
    for (of, table, column), (schema, role) in Declared.on(metadata).naming.items():
        names = {
            one.old[1]: one.new[1]
            for one in renames
            if one.kind in _RELATIONS and schema == one.old[0] == one.new[0]
        }
        if names and (of, table) in current.of(TableState):
            before = NamesInRows(table, column, tuple(names), of, role)
            found.append(RenameInRows(before, replace(before, names=tuple(names.values()))))
    return found


_RELATIONS = {"table", "view", "materialized view", "rollup"}
