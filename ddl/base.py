"""What every kind of object shares: its state, its declaration, its operation.

A *state* is a frozen dataclass that says all there is to know about one object. Declarations
hold states, catalog queries return them, operations carry one before and one after; so a
declared and a reflected object are compared, reversed and rendered by the same code.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, cast

from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import renderers
from alembic.operations import MigrateOperation, Operations
from sqlalchemy import MetaData, Table
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql.base import SchemaEventTarget
from sqlalchemy.sql.schema import SchemaItem

from ddl import privileges, source, sql
from ddl.edition import COMMUNITY, edition_of
from ddl.privileges import Privilege
from ddl.risk import Risk

Key: TypeAlias = tuple[str, ...]
Identity: TypeAlias = tuple[str, Key]
"""(kind, key): an object among all kinds."""


def explicit(default: Any) -> Any:
    """A field that revisions always write out, since its default is ours, not PostgreSQL's.

    A revision must mean the same when the defaults of this package change. A field with a plain
    default has the default of PostgreSQL itself and is left out where it has that value.
    """
    return dataclasses.field(default=default, metadata={"explicit": True})


def optional(default: Any) -> Any:
    """A positional field that a revision may leave out."""
    return dataclasses.field(default=default, metadata={"optional": True})


@dataclasses.dataclass(frozen=True)
class State(ABC):
    """One object of the database; its key says which, the other fields say how.

    Every field has a default, so that a DROP can be written with the name alone.
    """

    kind: ClassVar[str]
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "name")
    """The fields that make the key."""
    positional: ClassVar[tuple[str, ...]] = ("name",)
    """The fields that a revision writes without their names."""
    dropped_with: ClassVar[tuple[str, ...]] = ()
    """Further fields that a DROP needs to know."""
    grantable: ClassVar[bool] = False

    @functools.cached_property
    def key(self) -> Key:
        """What identifies the object within its kind; starts with the schema, if it has one."""
        return tuple(getattr(self, name) for name in self.identified_by)

    @property
    def declared_as(self) -> Key:
        """What can be declared only once."""
        return self.key

    @property
    def relation(self) -> Key | None:
        """(schema, name) of the relation or function without which the object cannot exist."""
        return None

    @property
    def part_of(self) -> Identity | None:
        """The object with which this one comes and goes, although it is a relation itself.

        Only changes of such an object are reported, never that it is missing.
        """
        return None

    @property
    def granted_as(self) -> str:
        """The object as GRANT names it: ``sites``, ``function uuid7()``; see ``grantable``."""
        raise TypeError(f"{self.kind} takes no grants")  # pragma: no cover - a kind's mistake

    @property
    def noun(self) -> str:
        """As COMMENT ON names it, where a new comment is an operation of its own."""
        return ""

    def title(self) -> str:
        """The kind and the full name: ``policy public.sites.tenant_isolation``."""
        return f"{self.kind} {'.'.join(part for part in self.key if part)}"

    def called(self, name: str, schema: str) -> Self:
        """The same object under another name."""
        changes: Any = {"name": name, "schema": schema}
        return dataclasses.replace(self, **changes)

    def text(self) -> str:
        """All SQL of the object in which others may be mentioned."""
        return " ".join(str(value) for value in dataclasses.astuple(self))

    def details(self) -> Mapping[str, Any]:
        """The fields in which two states of one object can differ: all but the key."""
        names = (field.name for field in dataclasses.fields(self))
        return {name: getattr(self, name) for name in names if name not in self.identified_by}


def relation_of(schema: str, name: str | None) -> Key | None:
    """The relation of something that goes with it; a function is known without quotes."""
    if name is None:
        return None
    return (schema, name.replace('"', "") if name.startswith("function ") else name)


S = TypeVar("S", bound=State)


class Declared:
    """The objects declared on one MetaData, by kind and key."""

    def __init__(self) -> None:
        self.states: dict[str, dict[Key, State]] = {}
        self.beside: dict[Identity, Key] = {}
        """The table in whose ``__table_args__`` an object is; revisions keep them together."""
        self.reasons: dict[Identity, str] = {}
        """Why an object runs with the rights of its owner; the server does not know."""
        self.former: dict[Identity, Key] = {}
        """What a table or column was called before."""
        self.naming: dict[Key, tuple[str, str | None]] = {}
        """Columns whose values name relations: of which schema, and the role that changes them."""
        self.hidden: dict[Key, tuple[str, ...]] = {}
        """Tables without row-level security to the roles that must not see their rows."""
        self.unnamed: set[str] = set()
        """Schemas on which nobody gets USAGE for what is granted in them."""

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

    def of(self, state_type: type[S]) -> dict[Key, S]:
        """The declared states of a kind by ``declared_as``."""
        return cast("dict[Key, S]", self.states.get(state_type.kind, {}))

    def spelled(self, state: S) -> S:
        """``state`` in the model's own spelling where there is one, else as the server has it."""
        return self.of(type(state)).get(state.declared_as, state)


class Declaration(SchemaItem, SchemaEventTarget):
    """An item of ``__table_args__``, like Index and CheckConstraint.

    ``Table.info`` would be rendered into revisions, so the states live in ``MetaData.info``.
    """

    __visit_name__ = "declaration"

    reason: str | None = None
    """Why the object runs with the rights of its owner, where it does."""

    def __init_subclass__(cls, **kw: Any) -> None:
        """A wrong argument is a mistake in a model, like a wrong value."""
        super().__init_subclass__(**kw)
        if "__init__" in vars(cls):
            cls.__init__ = _bound(cls.__init__)  # type: ignore[method-assign]

    def _set_parent(self, parent: SchemaEventTarget, **kw: Any) -> None:
        if not isinstance(parent, Table):  # pragma: no cover - SQLAlchemy passes tables only
            raise TypeError(f"{type(self).__name__} belongs in __table_args__")
        declared = Declared.on(parent.metadata)
        for state in self.states(parent):
            self._add(declared, state)
            key = (parent.schema or sql.DEFAULT_SCHEMA, parent.name)
            declared.beside[state.kind, state.declared_as] = key

    @abstractmethod
    def states(self, table: Table) -> Iterator[State]:
        """The states that this declaration means in ``__table_args__`` of ``table``."""

    def _register(self, metadata: MetaData | None, *states: State) -> None:
        if metadata is not None:
            for state in states:
                self._add(Declared.on(metadata), state)

    def _add(self, declared: Declared, state: State) -> None:
        declared.add(state)
        if self.reason is not None:
            declared.reasons[state.kind, state.declared_as] = self.reason


def _bound(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def bound(self: Declaration, *args: Any, **kw: Any) -> None:
        try:
            signature.bind(self, *args, **kw)
        except TypeError as error:
            taken = [*signature.parameters][1:]
            unknown = [name for name in kw if name not in taken]
            what = f"has no argument {', '.join(unknown)}" if unknown else str(error)
            raise ArgumentError(
                f"{type(self).__name__}: {what}; it takes {', '.join(taken)}"
            ) from None
        init(self, *args, **kw)

    return bound


class Operation(MigrateOperation, ABC, Generic[S]):
    """One object before and after an operation; None is an object that does not exist.

    Reversing swaps the two, so nothing can be dropped that could not be made again. A kind has
    the SQL of ``create``, ``drop`` and, where the server can, ``alter``; ``@revisable`` registers
    the functions that revisions call.
    """

    state_type: type[S]
    loses_at_once: ClassVar[bool] = True
    """False where it is a job that deletes, later, so that nobody can count what."""
    verbs: ClassVar[tuple[str, str, str]]
    """The names under ``op.``: to create, to drop, to alter."""

    def __init__(self, before: S | None, after: S | None) -> None:
        self.before = before
        self.after = after
        self.grants: frozenset[Privilege] = frozenset()
        """What is granted along with the creation."""

    @abstractmethod
    def create(self, state: S, edition: str) -> list[str]:
        """The SQL that makes ``state``, one statement each."""

    @abstractmethod
    def drop(self, state: S, edition: str) -> list[str]:
        """The SQL that drops ``state``, one statement each."""

    def alter(self, before: S, after: S, edition: str) -> list[str]:
        """The SQL that makes ``after`` of ``before``; a revision that runs knows ``after`` only."""
        raise TypeError(f"{after.kind} is never altered")  # pragma: no cover - a kind's mistake

    def statements(self, edition: str = COMMUNITY) -> list[str]:
        """The SQL of the operation for an edition, one statement each."""
        if self.after is None:
            return self.drop(self.state, edition)
        if self.before is not None:
            return self.alter(self.before, self.after, edition)
        found = self.create(self.after, edition)
        if self.grants:
            schema = getattr(self.after, "schema", sql.DEFAULT_SCHEMA)
            found += privileges.statements(self.after.granted_as, schema, self.grants)
        return found

    @property
    def state(self) -> S:
        """The side that exists; the later one where both do."""
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found

    @property
    def verb(self) -> str:
        """The name under ``op.``."""
        creating, dropping, altering = self.verbs
        if self.before is None:
            return creating
        return dropping if self.after is None else altering

    @property
    def rule(self) -> str:
        """What a line that accepts it calls it: ``drop-rollup``."""
        return self.verb.replace("_", "-")

    def effect(self) -> tuple[Risk, str]:
        """The class, and in words what is lost or locked; see :mod:`ddl.risk`."""
        return Risk.SAFE, ""

    @property
    def is_removal(self) -> bool:
        """True for an operation that is superfluous where the relation is dropped anyway."""
        return self.after is None

    @property
    def relation(self) -> Key | None:
        """(schema, name) of the relation without which the object cannot exist."""
        return self.state.relation

    def reverse(self) -> Self:
        """The operation that undoes this one."""
        return type(self)(self.after, self.before)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """(verb, object) or, for a change, (verb, object, {field: (found, expected)})."""
        if self.before is None or self.after is None:
            return (self.verb, self.state.title())
        before, after = self.before.details(), self.after.details()
        changed = {
            name: (before[name], after[name]) for name in after if before[name] != after[name]
        }
        return (self.verb, self.state.title(), changed)

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of the call that a revision writes."""
        state = self.state
        names = state.positional if self.after is not None else dropped_by(type(state))
        keywords: dict[str, Any] = {}
        for field in dataclasses.fields(state):
            value = getattr(state, field.name)
            if field.name in (*state.positional, *state.identified_by):
                continue
            if self.after is None and field.name not in state.dropped_with:
                continue
            if "explicit" in field.metadata or value != field.default:
                keywords[field.name] = _spelled(value)
        if self.grants:
            keywords["grants"] = privileges.spell(self.grants)
        schema = getattr(state, "schema", sql.DEFAULT_SCHEMA)
        if schema != sql.DEFAULT_SCHEMA:
            keywords["schema"] = schema
        return [getattr(state, name) for name in names], keywords


class Alteration(Operation[S]):
    """A change of something that other operations create and drop, such as Alembic's own."""

    def create(self, state: S, edition: str) -> list[str]:
        """Never called: another operation creates it."""
        raise TypeError(f"{state.kind} is created by another operation")  # pragma: no cover

    def drop(self, state: S, edition: str) -> list[str]:
        """Never called: another operation drops it."""
        raise TypeError(f"{state.kind} is dropped by another operation")  # pragma: no cover


def dropped_by(state_type: type[State]) -> tuple[str, ...]:
    """The fields by which a DROP names the object, in the order in which a revision has them."""
    return tuple(name for name in state_type.positional if name in state_type.identified_by)


def _spelled(value: Any) -> Any:
    """A list of one name is written as that name."""
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else list(value)
    return value


@Operations.implementation_for(Operation)
def _run(operations: Operations, operation: Operation[Any]) -> None:
    sql.run(operations, operation.statements(edition_of(operations.migration_context)))


@renderers.dispatch_for(Operation)
def _render(_: AutogenContext, operation: Operation[Any]) -> str | list[str]:
    if not operation.statements():
        return []  # what does nothing needs no line
    positional, keywords = operation.arguments()
    return [*source.notes(operation), source.call(operation.verb, positional, keywords)]
