"""What every kind of object shares: its state, its declaration, its operation, its catalog.

A *state* is a frozen dataclass that says all there is to know about one object. Declarations
hold states, catalog queries return them, operations carry one before and one after; so a
declared and a reflected object are compared, reversed and rendered by the same code.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self, TypeAlias

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, Operations
from sqlalchemy import MetaData, Table
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql.base import SchemaEventTarget
from sqlalchemy.sql.schema import SchemaItem

from ddl import sql
from ddl.edition import edition_of

Key: TypeAlias = tuple[str, ...]
Identity: TypeAlias = tuple[str, Key]
"""(kind, key): an object among all kinds."""


@dataclasses.dataclass(frozen=True)
class State(ABC):
    """One object of the database; ``kind`` and ``key`` say which, the other fields say how."""

    kind: ClassVar[str]
    positional: ClassVar[tuple[str, ...]] = ("name",)

    @property
    @abstractmethod
    def key(self) -> Key:
        """What identifies the object within its kind; starts with the schema."""

    @property
    def declared_as(self) -> Key:
        """What can be declared only once."""
        return self.key

    @property
    def relation(self) -> Key | None:
        """(schema, name) of the table or view that the object lives and dies with."""
        return None

    def title(self) -> str:
        """The object as a person would name it."""
        return f"{self.kind} {'.'.join(part for part in self.key if part)}"

    def text(self) -> str:
        """All SQL of the object in which others may be mentioned."""
        return " ".join(str(value) for value in dataclasses.astuple(self))


class Declared:
    """The objects declared on one MetaData, by kind and key."""

    def __init__(self) -> None:
        self.states: dict[str, dict[Key, State]] = {}

    @classmethod
    def on(cls, metadata: MetaData) -> Declared:
        """The registry of ``metadata``, made at first use (kept in ``MetaData.info``)."""
        found: Declared = metadata.info.setdefault("ddl", cls())
        return found

    def add(self, state: State) -> None:
        """Register one object.

        Raises:
            sqlalchemy.exc.ArgumentError: the object is declared twice.
        """
        states = self.states.setdefault(state.kind, {})
        other = states.setdefault(state.declared_as, state)
        if other is not state:
            raise ArgumentError(
                f"{state.title()} is declared twice; keep one declaration"
                if other.key == state.key
                else f"{state.title()} has the name of {other.title()}; give it another name"
            )

    def of(self, kind: str) -> dict[Key, Any]:
        """The declared states of ``kind`` by ``declared_as``."""
        return self.states.get(kind, {})


class Declaration(SchemaItem, SchemaEventTarget):
    """Something that stands in ``__table_args__`` beside Index and CheckConstraint.

    ``Table.info`` would be rendered into revisions, so the states live in ``MetaData.info``.
    """

    __visit_name__ = "declaration"

    def _set_parent(self, parent: SchemaEventTarget, **kw: Any) -> None:
        if not isinstance(parent, Table):  # pragma: no cover - SQLAlchemy passes tables only
            raise TypeError(f"{type(self).__name__} belongs into __table_args__")
        for state in self.states(parent):
            Declared.on(parent.metadata).add(state)

    @abstractmethod
    def states(self, table: Table) -> Iterator[State]:
        """The states that this declaration means when it stands on ``table``."""

    def _register(self, metadata: MetaData | None, state: State) -> None:
        if metadata is not None:
            Declared.on(metadata).add(state)


class DDLOperation(MigrateOperation, ABC):
    """One object before and after an operation; None is an object that does not exist.

    Reversing swaps the two, so nothing can be dropped that could not be made again.
    """

    noun: ClassVar[str]

    def __init__(self, before: Any, after: Any) -> None:
        self.before = before
        self.after = after

    @property
    def state(self) -> Any:
        """The side that exists; the later one where both do."""
        return self.after if self.after is not None else self.before

    @property
    def verb(self) -> str:
        """The name under ``op.``: create, drop or alter."""
        if self.before is None:
            return f"create_{self.noun}"
        return f"drop_{self.noun}" if self.after is None else f"alter_{self.noun}"

    @property
    def is_removal(self) -> bool:
        """True for what need not be done singly where the relation is dropped anyway."""
        return self.after is None

    @property
    def relation(self) -> Key | None:
        """(schema, name) of the relation that the object lives and dies with."""
        found: Key | None = self.state.relation
        return found

    def reverse(self) -> Self:
        """The operation that undoes this one."""
        return type(self)(self.after, self.before)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """(verb, object) or, for a change, (verb, object, {field: (found, expected)})."""
        if self.before is None or self.after is None:
            return (self.verb, self.state.title())
        changed = {
            field.name: (getattr(self.before, field.name), getattr(self.after, field.name))
            for field in dataclasses.fields(self.after)
            if getattr(self.before, field.name) != getattr(self.after, field.name)
        }
        return (self.verb, self.state.title(), changed)

    @abstractmethod
    def statements(self) -> list[str]:
        """The SQL of the operation, one statement each."""

    def statements_on(self, edition: str) -> list[str]:
        """The SQL for an edition of TimescaleDB; most kinds of objects need none."""
        return self.statements()

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of the rendered call."""
        state = self.state
        positional = [getattr(state, name) for name in state.positional]
        keywords: dict[str, Any] = {}
        for field in dataclasses.fields(state):
            value = getattr(state, field.name)
            if field.name in state.positional or value == field.default:
                continue
            if self.after is None and field.name != "schema":
                continue
            if isinstance(value, tuple):
                value = value[0] if len(value) == 1 else list(value)
            keywords[field.name] = value
        schema = keywords.pop("schema", sql.DEFAULT_SCHEMA)
        if schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = schema
        return positional, keywords


@Operations.implementation_for(DDLOperation)
def _run(operations: Operations, operation: DDLOperation) -> None:
    sql.run(operations, operation.statements_on(edition_of(operations.migration_context)))


@renderers.dispatch_for(DDLOperation)
def _render(_: AutogenContext, operation: DDLOperation) -> str:
    positional, keywords = operation.arguments()
    return sql.python_call(operation.verb, positional, keywords)
