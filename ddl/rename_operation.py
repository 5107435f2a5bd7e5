"""What gives an object another name or another schema, with all that knows it by its name.

PostgreSQL itself follows a rename everywhere but in text: bodies of functions, which the models
say anew, and pending operations, which are carried along here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from alembic.operations import Operations, ops, toimpl

from ddl import sql
from ddl.base import Key, Operation, State
from ddl.edition import COMMUNITY, suffices
from ddl.kinds import KINDS
from ddl.time_series import renamed_column, renamed_relation, renamed_schema


@dataclass(frozen=True)
class RollupColumnState(State):
    """A column of a rollup: its query says what is in it, so only its name is a state here."""

    kind: ClassVar[str] = "rollup column"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table", "name")

    name: str = ""
    table: str = ""
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The rollup."""
        return (self.schema, self.table)


_RENAMED: dict[str, tuple[type[State], str]] = {
    kind.name: (kind.state, kind.rename) for kind in KINDS if kind.rename
}
_RENAMED[RollupColumnState.kind] = (
    RollupColumnState,
    "ALTER {rollup} {table} RENAME COLUMN {old} TO {new}",
)
OF_TABLE = {name for name, (_, template) in _RENAMED.items() if "{table}" in template}
"""Kinds whose names are unique within a table or rollup only."""


@Operations.register_operation("rename")
@Operations.register_operation("set_schema")
class RenameOperation(Operation[State]):
    """One object, of whatever kind, under two names: either the name or the schema differs."""

    @classmethod
    def rename(
        cls,
        operations: Operations,
        kind: str,
        old: str,
        new: str,
        *,
        table: str | None = None,
        schema: str = "public",
    ) -> None:
        """``op.rename("constraint", "sites_pkey", "places_pkey", table="places")``.

        Args:
            kind: ``"index"``, ``"trigger"``, ``"policy"``, ``"function"`` and so on.
            old: of a function with its arguments: ``"area(uuid)"``.
            table: of what belongs to a table.
        """
        before = _state(kind, old, table, schema)
        operations.invoke(cls(before, before.called(new, schema)))

    @classmethod
    def set_schema(
        cls, operations: Operations, kind: str, name: str, new: str, *, schema: str = "public"
    ) -> None:
        """``op.set_schema("table", "sites", "plant")`` moves a table, view or the like."""
        before = _state(kind, name, None, schema)
        operations.invoke(cls(before, before.called(_name(before), new)))

    @property
    def verb(self) -> str:
        """Alembic's own words where it has some."""
        before, after = self._sides()
        if _schema(before) != _schema(after):
            return "set_schema"
        return {"table": "rename_table", "column": "alter_column"}.get(before.kind, "rename")

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """As the functions above and Alembic's take them."""
        before, after = self._sides()
        schema = _schema(before)
        keywords = {} if schema in ("", sql.DEFAULT_SCHEMA) else {"schema": schema}
        old, new = _signed(before), _name(after)
        if self.verb == "set_schema":
            return [before.kind, old, _schema(after)], keywords
        if self.verb == "rename_table":
            return [old, new], keywords
        if self.verb == "alter_column":
            return [_table(before), old], {"new_column_name": new, **keywords}
        if before.kind in OF_TABLE:
            keywords = {"table": _table(before), **keywords}
        return [before.kind, old, new], keywords

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """("rename", old, new)."""
        before, after = self._sides()
        return ("rename", before.title(), after.title())

    def statements(self, edition: str = COMMUNITY) -> list[str]:
        """One ALTER, then what it does not reach."""
        before, after = self._sides()
        template = _RENAMED[before.kind][1]
        if _schema(before) != _schema(after):
            template = template.partition(" RENAME")[0] + " SET SCHEMA {to}"
        rollup = "MATERIALIZED VIEW" if suffices(edition, COMMUNITY) else "VIEW"
        words = {
            "old": sql.ident(_name(before)),
            "new": sql.ident(_name(after)),
            "named": _qualified(before),
            "table": sql.qualified(_schema(before), _table(before)),
            "to": sql.ident(_schema(after)),
            "rollup": rollup,
        }
        return [template.format(**words), *_followed(before, after)]

    def create(self, state: State, edition: str) -> list[str]:
        """Never called: both sides exist."""
        raise TypeError("a rename creates nothing")  # pragma: no cover

    def drop(self, state: State, edition: str) -> list[str]:
        """Never called: both sides exist."""
        raise TypeError("a rename drops nothing")  # pragma: no cover

    def _sides(self) -> tuple[State, State]:
        assert self.before is not None
        assert self.after is not None
        return self.before, self.after


def rename_operations(kind: str, old: Key, new: Key) -> list[RenameOperation]:
    """What brings the object of the key ``old`` to ``new``: another schema, another name."""
    before = _by_key(kind, old)
    moved = before if kind in ("schema", *OF_TABLE) else before.called(_name(before), new[0])
    after = _by_key(kind, new)
    pairs = ((before, moved), (moved, after))
    return [RenameOperation(one, other) for one, other in pairs if one.key != other.key]


def _by_key(kind: str, key: Key) -> State:
    if kind == "schema":
        return _state(kind, key[0], None, "")
    if kind == "function":
        return _state(kind, f"{key[1]}({key[2]})", None, key[0])
    return _state(kind, key[-1], key[1] if kind in OF_TABLE else None, key[0])


def _state(kind: str, name: str, table: str | None, schema: str) -> State:
    if kind not in _RENAMED:
        raise ValueError(f"expected one of {', '.join(sorted(_RENAMED))}, found {kind!r}")
    values: dict[str, Any] = {"name": name}
    if kind == "function":
        values["name"], _, arguments = name.partition("(")
        values["arguments"] = arguments.removesuffix(")")
    if kind in OF_TABLE:
        values["table"] = table
    if kind != "schema":
        values["schema"] = schema
    return _RENAMED[kind][0](**values)


def _name(state: State) -> str:
    return str(getattr(state, "name", ""))


def _schema(state: State) -> str:
    return str(getattr(state, "schema", ""))


def _table(state: State) -> str:
    return str(getattr(state, "table", ""))


def _signed(state: State) -> str:
    """The name, of a function with the types of its arguments."""
    name = _name(state)
    return f"{name}({state.key[-1]})" if state.kind == "function" else name


def _qualified(state: State) -> str:
    named = sql.qualified(_schema(state) or sql.DEFAULT_SCHEMA, _name(state))
    return f"{named}({state.key[-1]})" if state.kind == "function" else named


def _followed(before: State, after: State) -> list[str]:
    """Pending operations know relations and columns by their names."""
    if before.kind == "schema":
        return [renamed_schema(_name(before), _name(after))]
    if before.kind in ("column", "rollup column"):
        relation = (_schema(before), _table(before))
        return [renamed_column(relation, _name(before), _name(after))]
    if before.kind in ("table", "rollup"):
        return [renamed_relation(before.key, after.key)]
    return []


# --- Alembic's own operations, which revisions written by hand call as well ---------------------


@Operations.implementation_for(ops.RenameTableOp, replace=True)
def _rename_table(operations: Operations, operation: ops.RenameTableOp) -> None:
    toimpl.rename_table(operations, operation)
    schema = operation.schema or sql.DEFAULT_SCHEMA
    old: Key = (schema, operation.table_name)
    sql.run(operations, [renamed_relation(old, (schema, operation.new_table_name))])


@Operations.implementation_for(ops.AlterColumnOp, replace=True)
def _alter_column(operations: Operations, operation: ops.AlterColumnOp) -> None:
    toimpl.alter_column(operations, operation)
    if operation.modify_name is not None:
        relation = (operation.schema or sql.DEFAULT_SCHEMA, operation.table_name)
        statement = renamed_column(relation, operation.column_name, operation.modify_name)
        sql.run(operations, [statement])
