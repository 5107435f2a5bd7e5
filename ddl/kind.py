"""What the registry of kinds says about each kind of object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from sqlalchemy import Connection, MetaData

from ddl.base import Identity, Operation, S, State
from ddl.plan import Phase, Plan

if TYPE_CHECKING:
    from ddl.changes import Changes

Reader: TypeAlias = Callable[[Connection, Sequence[str]], Iterable[State]]
"""Reads all objects of a kind in some schemas with one query."""


def never(_before: Any, _after: Any) -> bool:
    """Not altered in place: a change is a drop and a creation."""
    return False


def always(_before: Any, _after: Any) -> bool:
    """Altered in place, whatever changes."""
    return True


@dataclass(frozen=True)
class Kind(Generic[S]):
    """One kind of object: what the comparison, the shadow schema and the order need to know."""

    state: type[S]
    operation: type[Operation[S]] | None
    """What creates, alters and drops it; None where Alembic's own operations do."""
    read: Reader
    create: Phase
    drop: Phase
    alterable: Callable[[S, S], bool] = never
    """True where the object before becomes the one after without being dropped."""
    relation: bool = False
    """A table, a view, a function: its grants, triggers and the like are dropped with it."""
    relkinds: str = ""
    """The letters of ``pg_class.relkind``, for what is a row there."""
    dependent_objects: str = ""
    """SELECT of (class, oid, kind, key) for what depends on others by a row of its own; one
    may name ``relations`` (oid, key) and ``:schemas``."""
    reads: bool = False
    """Shows rows of other relations: a query, or a body with some."""
    in_schema: bool = True
    """False for what belongs to the database as a whole."""
    every_edition: bool = True
    """False for what TimescaleDB alone has; elsewhere its operations are pending."""
    dropped: bool = True
    """False for what others may use, too: it is created where missing, and never dropped."""
    rename: str = ""
    """The SQL that gives one another name, where the server can: ``ALTER INDEX {named} RENAME TO
    {new}``; see :mod:`ddl.rename_operation`. It is used by itself for what is equal but for its
    name."""
    rename_asked: bool = False
    """True where the same shape does not mean the same content, so that a person decides."""
    provides: Callable[[S], Iterable[Identity]] | None = None
    """Objects that its creation creates as well; they get no operation of their own."""
    compare: Callable[[Changes, Plan, Kind[Any]], None] | None = None
    """Adds the operations to the plan; None where :meth:`Changes.compare` does."""
    columns: Callable[[S], Iterable[str]] | None = None
    """Columns of its table that it names without PostgreSQL's knowing; it is altered, or dropped,
    before one of them goes."""
    seeds: Callable[[Changes, Kind[Any]], Iterable[Identity]] | None = None
    """What is dropped, or changes so that its dependents must be dropped first; None where
    :meth:`Changes.seeds_of` finds it."""
    neutral: Callable[[Connection, str], str] | None = None
    """A definition that the server printed for an ordinary view, as ``read`` returns it."""
    expressions: tuple[str, ...] = ()
    """The fields with SQL that the server parsed and spells in its own way."""
    copy: Callable[[S, str], list[str]] | None = None
    """The SQL that parses these fields again, given the state in a schema that has a copy of its
    table, and the schema of the table; None where that of ``create`` does."""
    settle: Callable[[MetaData, S, S], S] | None = None
    """Returns the state to aim at, given the models, the target's state and the current one: for
    kinds of which two different states can mean the same."""

    @property
    def name(self) -> str:
        """The kind in words: ``row-level security``."""
        return self.state.kind
