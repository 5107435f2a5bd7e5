"""The state of a column, and the changes of it for which Alembic has no operation."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from alembic import util
from alembic.operations import Operations

from ddl import sql
from ddl.base import Alteration, Key, State
from ddl.casts import ASSIGNMENT, Cast
from ddl.numbering import continued
from ddl.risk import REWRITES, Risk

# --- declare: the models' own Column ----------------------------------------------------------


@dataclass(frozen=True)
class ColumnState(State):
    """One column in PostgreSQL's spelling; ``generated`` is its expression and STORED."""

    kind: ClassVar[str] = "column"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "table", "name")
    positional: ClassVar[tuple[str, ...]] = ("table", "name")

    table: str = ""
    name: str = ""
    type: str = "text"
    collation: str | None = None
    not_null: bool = False
    default: str | None = None
    generated: str | None = None
    identity: str | None = None
    comment: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def relation(self) -> Key | None:
        """The table of the column."""
        return (self.schema, self.table)

    def is_retyped_as(self, after: ColumnState) -> bool:
        """True where the change takes ALTER COLUMN TYPE."""
        return (self.type, self.collation) != (after.type, after.collation)

    def is_remade_as(self, after: ColumnState) -> bool:
        """True where the change takes dropping and adding the column."""
        return self.generated != after.generated or (
            after.generated is not None and self.is_retyped_as(after)
        )

    @property
    def is_required(self) -> bool:
        """True where a row must have a value and gets none by itself."""
        without = self.default is None and self.generated is None and self.identity is None
        return self.not_null and without

    @property
    def has_constant_default(self) -> bool:
        """True where every row that is there gets the same value, or none, without computing it."""
        return self.default is None or _CONSTANT.fullmatch(self.default) is not None


_CONSTANT = re.compile(
    r"\(?(?:'(?:[^']|'')*'|-?[\d.]+(?:e[+-]?\d+)?|true|false|NULL)\)?(?:::[\w\s.\"\[\](),]+)?"
)
"""An expression of the server that is a literal: ``'{}'::text[]``, ``('-1'::integer)``."""


# --- operate: what Alembic has no operation for ----------------------------------------------


@Operations.register_operation("alter_column_type")
class ColumnTypeOperation(Alteration[ColumnState]):
    """ALTER COLUMN … TYPE: an assignment, which refuses what does not fit, or USING."""

    verb = "alter_column_type"

    def __init__(
        self,
        before: ColumnState,
        after: ColumnState,
        there: Cast = ASSIGNMENT,
        back: Cast = ASSIGNMENT,
    ) -> None:
        """``there`` is the way from ``before`` to ``after``, ``back`` that of the downgrade."""
        super().__init__(before, after)
        self.there = there
        self.back = back

    @classmethod
    def alter_column_type(
        cls,
        operations: Operations,
        table: str,
        column: str,
        type_: str,
        *,
        using: str | None = None,
        loses: str = "",
        zone: str | None = None,
        collation: str | None = None,
        schema: str = "public",
    ) -> None:
        """Change the type (in PostgreSQL's spelling) or collation of a column.

        Args:
            using: the new value as an expression; without, the old one is assigned, and a value
                that does not fit is refused. ``column::type`` would cut it without a word.
            loses: what the column no longer has afterwards; the revision has to accept that.
            zone: the time zone in which texts without one are read, and moments written as text.
        """
        state = ColumnState(table, column, type_, collation, schema=schema)
        operations.invoke(cls(state, state, Cast(using, loses, zone=zone)))

    def reverse(self) -> ColumnTypeOperation:
        """The type before, by the way back."""
        assert self.before is not None
        assert self.after is not None
        return type(self)(self.after, self.before, self.back, self.there)

    def effect(self) -> tuple[Risk, str]:
        """Nearly every change of type rewrites the table; some lose a part of each value."""
        if self.there.loses:
            return Risk.DESTRUCTIVE, f"loses {self.there.loses}"
        return Risk.BLOCKING, REWRITES

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Table, column and type, and how and what is lost if it needs to be said.

        Raises:
            alembic.util.CommandError: there is no way in one of the directions.
        """
        if refusal := self.there.refusal or self.back.refusal:
            raise util.CommandError(refusal)
        state = self.state
        keywords: dict[str, Any] = {}
        if self.there.using is not None:
            keywords["using"] = self.there.using
        if self.there.loses:
            keywords["loses"] = self.there.loses
        if self.there.zone is not None:
            keywords["zone"] = self.there.zone
        if state.collation:
            keywords["collation"] = state.collation
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return [state.table, state.name, state.type], keywords

    def alter(self, before: ColumnState, after: ColumnState, edition: str) -> list[str]:
        """One ALTER TABLE, in the time zone that it needs."""
        zone = self.there.zone
        collate = f" COLLATE {after.collation}" if after.collation else ""
        using = f" USING {self.there.using}" if self.there.using is not None else ""
        return [
            *([f"SET LOCAL TimeZone = {sql.literal(zone)}"] if zone is not None else []),
            (
                f"ALTER TABLE {sql.qualified(after.schema, after.table)}"
                f" ALTER COLUMN {sql.ident(after.name)} TYPE {after.type}{collate}{using}"
            ),
        ]


@Operations.register_operation("alter_column_identity")
class ColumnIdentityOperation(Alteration[ColumnState]):
    """Add, drop or change IDENTITY; a sequence that stays goes on counting."""

    verb = "alter_column_identity"

    @classmethod
    def alter_column_identity(
        cls,
        operations: Operations,
        table: str,
        column: str,
        identity: str | None,
        *,
        before: str | None = None,
        schema: str = "public",
    ) -> None:
        """``identity`` is ``ALWAYS`` or ``BY DEFAULT`` and all options of the sequence."""
        was = ColumnState(table, column, identity=before, schema=schema)
        operations.invoke(cls(was, replace(was, identity=identity)))

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Table, column and what it becomes; ``before`` decides between ADD and SET."""
        state = self.state
        keywords: dict[str, Any] = {}
        if self.before is not None and self.before.identity is not None:
            keywords["before"] = self.before.identity
        if state.schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = state.schema
        return [state.table, state.name, state.identity], keywords

    def alter(self, before: ColumnState, after: ColumnState, edition: str) -> list[str]:
        """One ALTER TABLE; new numbers begin behind those that rows have already."""
        state = after
        table = sql.qualified(state.schema, state.table)
        alter = f"ALTER TABLE {table} ALTER COLUMN {sql.ident(state.name)}"
        if state.identity is None:
            return [f"{alter} DROP IDENTITY"]
        kind = "ALWAYS" if state.identity.startswith("ALWAYS") else "BY DEFAULT"
        options = state.identity.removeprefix(kind).strip()
        if before.identity is None:
            add = f"{alter} ADD GENERATED {kind} AS IDENTITY ({options})"
            return [add, continued(state.schema, state.table, state.name)]
        changed = " ".join(f"SET {option}" for option in _SEQUENCE_OPTION.findall(options))
        return [f"{alter} SET GENERATED {kind} {changed}"]


_SEQUENCE_OPTION = re.compile(r"NO CYCLE|[A-Z]+(?: -?\d+)?")
