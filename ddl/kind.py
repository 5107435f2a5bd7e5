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
    """A table, a view, a function: grants, triggers and the like live and die with it."""
    relkinds: str = ""
    """The letters of ``pg_class.relkind``, for what is a row there."""
    dependent_objects: str = ""
    """SELECT of (class, oid, kind, key) for what depends on others by a row of its own; one
    may name ``relations`` (oid, key) and ``:schemas``."""
    by_mention: bool = False
    """Declared ones are created in the order in which they mention each other."""
    in_schema: bool = True
    """False for what belongs to the database as a whole."""
    every_edition: bool = True
    """False for what TimescaleDB alone has; elsewhere its operations are pending."""
    dropped: bool = True
    """False for what others may use, too: it is created where it is missing, and stays."""
    provides: Callable[[S], Iterable[Identity]] | None = None
    """What its creation makes along: no operation of their own creates these."""
    compare: Callable[[Changes, Plan, Kind[Any]], None] | None = None
    """Adds the operations to the plan; None where :meth:`Changes.compare` does."""
    seeds: Callable[[Changes, Kind[Any]], Iterable[Identity]] | None = None
    """What goes, or changes so that its dependents must go first; None where
    :meth:`Changes.seeds_of` knows."""
    settle: Callable[[MetaData, S, S], S] | None = None
    """The target's state given the models, the target's and the current one, where both may mean
    the same although they differ."""

    @property
    def name(self) -> str:
        """The kind in words: ``row-level security``."""
        return self.state.kind
