"""Renames carried out on the live objects, inside a savepoint, before the rest is compared.

So the server itself spells whatever depends on them with the new names, and the comparison finds
only what else differs. What is equal to something of the models but for its name follows: the
keys and indexes of a table, say, that are called after it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, MetaData

from ddl import sql
from ddl.base import Key
from ddl.catalog import Catalog, read
from ddl.columns import ColumnState
from ddl.compared import compared, comparison
from ddl.kind import Kind
from ddl.kinds import KINDS
from ddl.kinds.grant import GrantState
from ddl.kinds.schema import SchemaOperation, SchemaState
from ddl.kinds.sequence import IdentitySequenceState, SequenceState
from ddl.kinds.table import TableState
from ddl.likeness import is_equal
from ddl.refusal import said
from ddl.rename_operation import OF_TABLE, rename_operations
from ddl.renames import RENAMED, Answers, Decisions, Rename
from ddl.rollups import RollupState
from ddl.select import parsed
from ddl.shadow import Comparison, schemas_of


@dataclass
class Renamed:
    """The comparison after the renames, the operations that make them, and what was left open."""

    comparison: Comparison
    done: Sequence[Rename] = ()
    operations: Sequence[Any] = ()
    left: Sequence[Rename] = ()


@contextmanager
def renamed(
    connection: Connection,
    metadata: MetaData,
    found: Comparison,
    edition: str,
    answers: Answers,
    excluded: Callable[[Key], bool],
) -> Iterator[Renamed]:
    """Decide what is renamed, and rename it until the context ends.

    Live objects are locked only where there is something to rename.

    Args:
        excluded: true for the key of a table that is not compared.

    Raises:
        alembic.util.CommandError: an option or the model says a rename that is impossible, or the
            server refuses it.
    """
    schemas = schemas_of(metadata)
    beside = _beside(connection, schemas, found)
    decisions = Decisions(found, beside, schemas, metadata, answers)
    decisions.decide()
    work = _Work(connection, metadata, found, schemas, edition, excluded)
    if not answers.carry_out:
        yield Renamed(found, left=[*decisions.chosen, *decisions.left])
    elif not decisions.chosen and not work.equal():
        yield Renamed(found, left=decisions.left)
    else:
        savepoint = connection.begin_nested()
        try:
            work.carry_out(decisions.chosen)
            # What followed another is answered.
            done = {(one.kind, key) for one in work.done for key in (one.old, one.new)}
            left = [
                one
                for one in decisions.left
                if done.isdisjoint([(one.kind, one.now), (one.kind, one.new)])
            ]
            yield Renamed(work.found, work.done, work.operations, left)
        finally:
            savepoint.rollback()


def _beside(connection: Connection, schemas: Sequence[str], found: Comparison) -> Catalog:
    """Tables of schemas that no model uses: a new table may have been moved from there."""
    if not found.target.of(TableState).keys() - found.current.of(TableState).keys():
        return Catalog([])
    others = connection.scalars(_OTHER_SCHEMAS, {"schemas": list(schemas)}).all()
    return Catalog(
        state
        for kind in KINDS
        if kind.state in (TableState, ColumnState)
        for state in kind.read(connection, others)
    )


_OTHER_SCHEMAS = sa.text("""
SELECT n.nspname FROM pg_namespace n
 WHERE n.nspname <> ALL (CAST(:schemas AS name[])) AND n.nspname <> 'information_schema'
   AND n.nspname !~ '^(pg_|_?timescaledb_)'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_namespace'::regclass
                      AND e.objid = n.oid AND e.deptype = 'e')
""")


_TOGETHER = (
    ("function",),
    ("view", "materialized view", "rollup"),
    ("sequence", "constraint", "index", "trigger", "policy"),
)
"""Kinds that are renamed by themselves: what is spelled with the name of another follows it."""


class _Work:
    """The renames inside the savepoint, and the comparison as it is after them."""

    def __init__(
        self,
        connection: Connection,
        metadata: MetaData,
        found: Comparison,
        schemas: Sequence[str],
        edition: str,
        excluded: Callable[[Key], bool],
    ) -> None:
        self.connection = connection
        self.metadata = metadata
        self.found = found
        self.schemas = schemas
        self.edition = edition
        self.excluded = excluded
        self.done: list[Rename] = []
        self.operations: list[Any] = []
        self._left: set[str] = set()
        """Schemas of no model, from which tables were moved."""
        self._tried: set[tuple[str, Key, Key]] = set()
        self._existing = {state.name for state in found.current.of(SchemaState).values()}
        self._path = connection.scalar(sa.text("SELECT current_setting('search_path')"))

    def carry_out(self, chosen: Sequence[Rename]) -> None:
        """What was chosen, kind by kind; then, as long as there is any, what is equal.

        Raises:
            alembic.util.CommandError: the server refuses one that was chosen.
        """
        for kind in RENAMED:
            self._rename([one for one in chosen if one.kind == kind])
        moved = {one.now[0] for one in chosen if one.kind == "table"}
        self._left = moved - set(self.schemas)
        if self.done:
            self._read()
        while found := self.equal():
            self._rename(found, by_itself=True)
            self._read()
        if self.done:
            self.found = comparison(self.connection, self.metadata, self.edition, self.excluded)

    def equal(self) -> list[Rename]:
        """What differs from something of the models in nothing but its name, and can go first."""
        for kinds in _TOGETHER:
            found = [one for kind in kinds for one in self._equal(RENAMED[kind])]
            if found:
                return found
        return list(self._columns_of_rollups())

    def _equal(self, kind: Kind[Any]) -> Iterator[Rename]:
        before, after = self.found.current.of(kind.state), self.found.target.of(kind.state)
        free = sorted(after.keys() - before.keys())
        for old in sorted(before.keys() - after.keys()):
            if kind.rename_asked and before[old].part_of is None:
                continue
            for new in free:
                untried = (kind.name, old, new) not in self._tried
                if untried and is_equal(before[old], after[new]):
                    free.remove(new)
                    yield Rename(kind.name, old, new, now=old, decided=True)
                    break
        if kind.state is SequenceState:
            yield from self._identities()

    def _columns_of_rollups(self) -> Iterator[Rename]:
        """What a rollup has under two names: its history has the one, its query the other."""
        before, after = (side.of(RollupState) for side in (self.found.current, self.found.target))
        for key in sorted(before.keys() & after.keys()):
            had, has = (parsed(side[key].definition).columns for side in (before, after))
            for old in sorted(had.keys() - has.keys()):
                same = [new for new in has.keys() - had.keys() if has[new] == had[old]]
                one = Rename("rollup column", (*key, old), (*key, *same), decided=True)
                if len(same) == 1 and (one.kind, one.old, one.new) not in self._tried:
                    yield dataclasses.replace(one, now=one.old)

    def _identities(self) -> Iterator[Rename]:
        """The sequence of an identity has a name, too, by which it is granted."""
        before, after = (side.of(SequenceState) for side in (self.found.current, self.found.target))
        granted = {
            key[1]
            for side in (self.found.current, self.found.target)
            for key in side.of(GrantState)
        }
        for key in sorted(before.keys() & after.keys()):
            old, new = before[key], after[key]
            named = {old.granted_as, new.granted_as}
            pair = (old.schema, old.name), (new.schema, new.name)
            untried = ("sequence", *pair) not in self._tried
            identity = isinstance(old, IdentitySequenceState) and pair[0] != pair[1]
            if identity and untried and (self.done or named & granted):
                yield Rename("sequence", *pair, now=pair[0], decided=True)

    def _rename(self, renames: Sequence[Rename], *, by_itself: bool = False) -> None:
        """Raises CommandError where the server refuses one; by itself such a one is left out."""
        self._tried.update((one.kind, one.old, one.new) for one in renames)
        left_out: set[Rename] = set()
        for one, old, new in _ordered(renames, self._scope):
            if one in left_out:
                continue
            operations: list[Any] = rename_operations(one.kind, old, new)
            if len(new) > 1 and new[0] not in self._existing:
                operations.insert(0, SchemaOperation(None, SchemaState(new[0])))
            error = self._execute(operations)
            if error is None:
                self._existing.add(new[0])
                self.operations += operations
            elif by_itself and old == one.now and not isinstance(error.orig, LockNotAvailable):
                left_out.add(one)
            else:
                raise CommandError(
                    f"the server refuses to rename {one}: {said(error.orig)}"
                ) from error
        self.done += [one for one in renames if one not in left_out]

    def _execute(self, operations: Sequence[Any]) -> sa.exc.DBAPIError | None:
        """The server's error where it refuses."""
        savepoint = self.connection.begin_nested()
        try:
            for operation in operations:
                for statement in operation.statements(self.edition):
                    sql.send(self.connection, statement)
        except sa.exc.DBAPIError as error:
            savepoint.rollback()
            return error
        savepoint.commit()
        return None

    def _scope(self, one: Rename, key: Key) -> tuple[str, ...]:
        """Within what the name in ``key`` is unique."""
        if one.kind == "constraint":
            found: Any = self.found.current.get(("constraint", one.old))
            if re.match("PRIMARY|UNIQUE|EXCLUDE", found.definition):
                return ("relation", key[0])  # the name is that of its index, too
        if one.kind in OF_TABLE:
            return (one.kind, *key[:2])
        if one.kind == "function":
            return (one.kind, key[0], key[2])
        return ("schema",) if one.kind == "schema" else ("relation", key[0])

    def _read(self) -> None:
        """The current side as it is now; what it depends on and how it is spelled comes later."""
        send = self.connection.execute
        send(sa.text("SET LOCAL search_path = pg_catalog"))
        states = read(self.connection, [*self.schemas, *self._left]).states()
        send(sa.text("SELECT set_config('search_path', :path, true)"), {"path": self._path})
        current = compared(self.metadata, self.found.target, Catalog(states), self.excluded)
        self.found = dataclasses.replace(self.found, current=current)


Step: TypeAlias = tuple[Rename, Key, Key]
"""What is renamed, from which key to which."""


def _ordered(
    renames: Sequence[Rename], scope: Callable[[Rename, Key], tuple[str, ...]]
) -> Iterator[Step]:
    """Steps in which no name is taken before it is free; where names go round, by a detour."""
    waiting = {one: one.now for one in renames}
    detours = 0
    while waiting:
        held = {(scope(one, key), _name(one.kind, key)): one for one, key in waiting.items()}
        ready = [
            one
            for one in waiting
            if held.get((scope(one, one.new), _name(one.kind, one.new)), one) is one
        ]
        for one in ready[:1]:
            yield one, waiting.pop(one), one.new
        if not ready:
            detours += 1
            one, key = next(iter(waiting.items()))
            free = list(key)
            free[_place(one.kind)] = f"_renamed_{detours}"
            waiting[one] = tuple(free)
            yield one, key, waiting[one]


def _place(kind: str) -> int:
    """Where in a key the name is."""
    return 1 if kind == "function" else -1


def _name(kind: str, key: Key) -> str:
    return key[_place(kind)]
