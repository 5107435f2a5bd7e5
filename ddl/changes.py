"""The comparison of two catalogs, kind by kind: what is dropped, created, altered or recreated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, MetaData, Table

from ddl import sql
from ddl.base import Declared, Identity, Key, S, State
from ddl.comment_operation import CommentOperation, only_comment_differs
from ddl.kind import Kind
from ddl.plan import Edges, Phase, Plan

if TYPE_CHECKING:
    from ddl.catalog import Catalog
    from ddl.shadow import Comparison


class Changes:
    """Both catalogs, what depends on what in each, and what has to be recreated."""

    def __init__(
        self,
        found: Comparison,
        metadata: MetaData,
        connection: Connection,
        kinds: Sequence[Kind[Any]],
    ) -> None:
        self.target = found.target
        self.current = found.current
        self.dependents: Edges = found.current_dependents
        self.late = found.late
        self.metadata = metadata
        self.connection = connection
        self.declared = Declared.on(metadata)
        self.models: dict[Key, Table] = {
            (table.schema or sql.DEFAULT_SCHEMA, table.name): table
            for table in metadata.tables.values()
        }
        self.kinds = kinds
        self.provided: set[Identity] = {
            identity
            for kind in kinds
            if kind.provides is not None
            for state in self.declared.of(kind.state).values()
            for identity in kind.provides(state)
        }
        """Objects that the creation of another object creates as well."""
        self.recreated: set[Identity] = set()
        """Objects of both sides that must be dropped and created again."""
        self.in_the_way: set[Identity] = set()
        """Objects that must be dropped before something on which they depend changes."""
        self._parts: dict[Catalog, dict[tuple[str, Key], list[State]]] = {}
        self._prerequisites = _reversed(found.target_dependents)

    def operations(self, beside: Sequence[Any] = ()) -> list[Any]:
        """Everything that brings the current side to the target, in the order that works.

        Args:
            beside: operations on rows, which come where columns are altered.
        """
        self._find_recreated()
        plan = Plan(
            _joined(self.dependents, self._named(self.current)),
            _joined(self._prerequisites, _reversed(self._named(self.target))),
            {kind.name for kind in self.kinds if kind.relation},
        )
        for kind in self.kinds:
            (kind.compare or Changes.compare)(self, plan, kind)
        for operation in beside:
            plan.add(Phase.ALTER_COLUMNS, operation)
        return list(plan.operations())

    def _named(self, side: Catalog) -> Edges:
        """Columns, and what names them without PostgreSQL's knowing: see :attr:`Kind.columns`."""
        found: dict[Identity, set[Identity]] = {}
        for kind in self.kinds:
            if kind.columns is None:
                continue
            for key, state in side.of(kind.state).items():
                for column in kind.columns(state):
                    found.setdefault(("column", (*key, column)), set()).add((kind.name, key))
        return found

    # --- the two sides of a kind ---

    def sides(self, state_type: type[S]) -> tuple[Mapping[Key, S], Mapping[Key, S]]:
        """The current objects and the target ones."""
        return self.current.of(state_type), self.target.of(state_type)

    def changed(self, state_type: type[S]) -> list[Key]:
        """Keys of both sides whose states differ."""
        before, after = self.sides(state_type)
        return sorted(key for key in before.keys() & after.keys() if before[key] != after[key])

    def parts(self, kind: str, table: Key, side: Catalog) -> list[Any]:
        """The columns (or constraints) of a table on one side."""
        if side not in self._parts:
            found: dict[tuple[str, Key], list[State]] = {}
            for state in side.states():
                if state.relation is not None:
                    found.setdefault((state.kind, state.relation), []).append(state)
            self._parts[side] = found
        return self._parts[side].get((kind, table), [])

    def spelled(self, state: S) -> S:
        """The model's own spelling where there is one, else the server's."""
        return self.declared.spelled(state)

    def beside(self, state: State) -> Key | None:
        """The table in whose ``__table_args__`` an object was declared."""
        return self.declared.beside.get((state.kind, state.declared_as))

    def is_recreated(self, kind: str, key: Key) -> bool:
        """True for what is dropped and created again."""
        return (kind, key) in self.recreated

    # --- what every kind does unless it says otherwise ---

    def seeds_of(self, kind: Kind[Any]) -> Iterator[Identity]:
        """What is dropped, or changes in a way that the server cannot do in place."""
        before, after = self.sides(kind.state)
        gone = before.keys() - after.keys() if kind.dropped else ()
        for key in sorted([*gone, *self.not_alterable(kind)]):
            yield (kind.name, key)

    def not_alterable(self, kind: Kind[Any]) -> list[Key]:
        """What changes so that it must be dropped and created."""
        before, after = self.sides(kind.state)
        changed = self.changed(kind.state)
        return [key for key in changed if not kind.alterable(before[key], after[key])]

    def compare(self, plan: Plan, kind: Kind[Any]) -> None:
        """Drop what is gone, create what is new, alter what the server can alter."""
        before, after = self.sides(kind.state)
        operation = cast("Any", kind.operation)
        again = {key for name, key in self.recreated if name == kind.name}
        lost = self.gone_relations()
        again |= {key for key in before.keys() & after.keys() if before[key].relation in lost}
        gone = before.keys() - after.keys() if kind.dropped else set()
        for key in sorted(gone | again, reverse=True):
            plan.add(kind.drop, operation(before[key], None), removes=[(kind.name, key)])
        new = {key for key in after.keys() - before.keys() if (kind.name, key) not in self.provided}
        for key in sorted(new | again):
            self._make(plan, kind, operation(None, self.spelled(after[key])), key)
        for key in sorted(set(self.changed(kind.state)) - again):
            by_itself = only_comment_differs(before[key], after[key])
            altering = CommentOperation if by_itself else operation
            self._make(plan, kind, altering(before[key], self.spelled(after[key])), key)

    def _make(self, plan: Plan, kind: Kind[Any], operation: Any, key: Key) -> None:
        beside = self.beside(operation.after)
        plan.add(kind.create, operation, makes=[(kind.name, key)], beside=beside)

    def gone_relations(self) -> set[Key]:
        """Relations and functions that are dropped, with their grants; some are created again."""
        found = set()
        for kind in self.kinds:
            if kind.relation:
                before, after = self.sides(kind.state)
                for key, state in before.items():
                    if key not in after or self.is_recreated(kind.name, key):
                        found.add(state.relation)
        return {relation for relation in found if relation is not None}

    def needed_by_tables(self) -> set[Identity]:
        """Functions and sequences without which a table cannot be created."""
        found: set[Identity] = set()
        stack = [identity for identity in self._prerequisites if identity[0] in _OF_TABLES]
        while stack:
            for other in self._prerequisites.get(stack.pop(), ()):
                if other not in found and other[0] not in _OF_TABLES:
                    found.add(other)
                    stack.append(other)
        return found

    def read_by_calls(self, identity: Identity) -> set[Key]:
        """The tables that the functions read which an object of the models calls, at any remove."""
        found: set[Key] = set()
        seen: set[Identity] = set()
        stack = [one for one in self._prerequisites.get(identity, ()) if one[0] not in _OF_TABLES]
        while stack:
            one = stack.pop()
            if one[0] in _OF_TABLES:
                found.add(one[1][:2])
            elif one not in seen:
                seen.add(one)
                stack += self._prerequisites.get(one, ())
        return found

    # --- what depends on what changes ---

    def _find_recreated(self) -> None:
        """Find everything that must be dropped before something changes, and created again after.

        A dropped column takes its constraints and indexes with it; a column that only changes its
        type does not. A generated column over a column that changes is dropped and created again.
        """
        stack: list[Identity] = []
        for kind in self.kinds:
            listed = (kind.seeds or Changes.seeds_of)(self, kind)
            stack += listed
            self.recreated.update((kind.name, key) for key in self.not_alterable(kind))
        removed = {identity for identity in stack if identity[0] == "column"} - self._retyped(stack)
        self.recreated.update(identity for identity in removed if self._of_both(identity))
        self.in_the_way.update(one for one in stack if one[0] in ("view", "function"))
        while stack:
            identity = stack.pop()
            retyped = identity[0] == "column" and identity not in removed | self.recreated
            for dependent in sorted(self.dependents.get(identity, ())):
                if retyped and self._follows(dependent):
                    continue
                if dependent in self.in_the_way:
                    continue
                self.in_the_way.add(dependent)
                stack.append(dependent)
                if self._of_both(dependent):
                    self.recreated.add(dependent)

    def _retyped(self, identities: Iterable[Identity]) -> set[Identity]:
        """Columns of both sides that keep their place: only type or collation changes."""
        return {
            (name, key)
            for name, key in identities
            if name == "column" and self._of_both((name, key)) and not self._is_remade(key)
        }

    def _is_remade(self, key: Key) -> bool:
        before: Any = self.current.get(("column", key))
        after: Any = self.target.get(("column", key))
        return bool(before.is_remade_as(after))

    def _follows(self, dependent: Identity) -> bool:
        """True for what PostgreSQL adapts by itself to the new type of a column.

        Not a foreign key: it would be checked before the column at its other end has changed.
        """
        found: Any = self.current.get(dependent)
        if dependent[0] == "constraint":
            return found is None or not found.is_foreign_key
        return dependent[0] == "index"

    def _of_both(self, identity: Identity) -> bool:
        if identity[0] == "default":
            identity = ("column", identity[1])
        return None not in (self.current.get(identity), self.target.get(identity))


_OF_TABLES = ("table", "column", "default", "constraint", "index")


def _joined(one: Edges, other: Edges) -> Edges:
    return {key: one.get(key, set()) | other.get(key, set()) for key in one.keys() | other.keys()}


def _reversed(dependents: Edges) -> Edges:
    """For each object those on which it depends."""
    found: dict[Identity, set[Identity]] = {}
    for identity, others in dependents.items():
        for other in others:
            found.setdefault(other, set()).add(identity)
    return found
