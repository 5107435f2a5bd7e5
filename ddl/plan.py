"""The order of a revision's operations, and what can be left out of one."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias, TypeVar

from alembic.operations.ops import MigrateOperation

from ddl.base import Identity, Key, Operation

Edges: TypeAlias = Mapping[Identity, AbstractSet[Identity]]
"""For each object others, which depend on it or on which it depends."""

TABLE_PARTS = ("column", "default", "constraint")
"""Kinds of objects that a table's own operation may create or drop as well."""


class Phase(IntEnum):
    """When an operation happens; read backwards this is the order of the downgrade.

    Foreign keys are dropped first and created last: the role that checks them needs grants and
    policies. Tables are dropped before what they refer to changes.
    """

    EXTENSIONS = 0
    SCHEMAS = 1
    DROP_FOREIGN_KEYS = 2
    REVOKES = 3
    DROP_VIEWS = 4
    DROP_ROLLUPS = 5
    DROP_TIME_SERIES = 6
    DROP_TRIGGERS = 7
    DROP_POLICIES = 8
    DROP_FUNCTIONS_IN_THE_WAY = 9
    DROP_HYPERTABLES = 10
    DROP_TABLES = 11
    DROP_CONSTRAINTS = 12
    DROP_INDEXES = 13
    SEQUENCES = 14
    FUNCTIONS = 15
    TABLES = 16
    DROP_COLUMNS = 17
    ALTER_COLUMNS = 18
    ADD_COLUMNS = 19
    CONSTRAINTS = 20
    INDEXES = 21
    HYPERTABLES = 22
    ROLLUPS = 23
    COLUMNSTORES = 24
    RETENTION_POLICIES = 25
    REFRESH_POLICIES = 26
    FUNCTIONS_OVER_TABLES = 27
    TRIGGERS = 28
    ROW_LEVEL_SECURITY = 29
    POLICIES = 30
    VIEWS = 31
    GRANTS = 32
    FOREIGN_KEYS = 33
    DROP_FUNCTIONS = 34
    DROP_SEQUENCES = 35


@dataclass(eq=False)
class Entry:
    """One operation, its phase, and what it removes from or adds to the catalog."""

    phase: Phase
    operation: MigrateOperation
    removes: Sequence[Identity]
    makes: Sequence[Identity]
    relation: Key | None
    """The relation that it is about: its own for CREATE TABLE, that of the index for an index."""
    beside: Key | None = None
    """The table whose group it should be in, where that is not its own relation's."""
    is_root: bool = False
    """True for what creates or drops the whole relation."""
    needs: set[Entry] = field(default_factory=set)


T = TypeVar("T", bound=MigrateOperation)

Place: TypeAlias = tuple[int, ...]


class Plan:
    """Operations added in any order, returned in one that works and that a person can follow.

    The order is that of the phases, with two exceptions. What belongs to a relation that is
    created or dropped stays together with it, again in the order of the phases. And where
    PostgreSQL's own dependencies say otherwise, they win: what depends on something is dropped
    before it (``dependents``: for each current object those that depend on it), and created after
    it (``prerequisites``: for each target object those on which it depends).
    """

    def __init__(
        self, dependents: Edges, prerequisites: Edges, relations: AbstractSet[str]
    ) -> None:
        """``relations`` are the kinds without which other objects cannot exist."""
        self._entries: list[Entry] = []
        self._relations = relations
        self._dependents = dependents
        self._prerequisites = prerequisites

    def add(
        self,
        phase: Phase,
        operation: MigrateOperation,
        *,
        removes: Sequence[Identity] = (),
        makes: Sequence[Identity] = (),
        relation: Key | None = None,
        beside: Key | None = None,
    ) -> Entry:
        """Put ``operation`` behind those of the same phase."""
        if relation is None and isinstance(operation, Operation):
            relation = operation.relation
        entry = Entry(phase, operation, removes, makes, relation, beside)
        # A table that is altered is there already: the rest need not wait for it, nor stay with it.
        altered = isinstance(operation, Operation) and None not in (
            operation.before,
            operation.after,
        )
        entry.is_root = any(
            kind in self._relations and not (altered and kind == "table")
            for kind, _ in (*makes, *removes)
        )
        self._entries.append(entry)
        return entry

    def of(self, operation_type: type[T]) -> list[T]:
        """The operations of a type that were added so far."""
        found = (entry.operation for entry in self._entries)
        return [operation for operation in found if isinstance(operation, operation_type)]

    def operations(self) -> list[MigrateOperation]:
        """All operations in the order in which they work."""
        entries = sorted(self._entries, key=lambda entry: entry.phase)
        _link(entries, self._dependents, self._prerequisites)
        places = _Places(entries)
        waiting = {entry: len(entry.needs) for entry in entries}
        needed: dict[Entry, list[Entry]] = {}
        for entry in entries:
            for other in entry.needs:
                needed.setdefault(other, []).append(entry)
        ready = [(places.of(entry), entry) for entry in entries if not entry.needs]
        found: list[MigrateOperation] = []
        queue = [(place, number, entry) for number, (place, entry) in enumerate(ready)]
        heapq.heapify(queue)
        number = len(queue)
        while queue or waiting:
            if not queue:
                # A cycle: the server may still accept the usual order.
                stuck = min(waiting, key=places.of)
                queue.append((places.of(stuck), number, stuck))
            entry = heapq.heappop(queue)[2]
            if entry not in waiting:
                continue
            del waiting[entry]
            found.append(entry.operation)
            for other in needed.get(entry, ()):
                if other in waiting:
                    waiting[other] -= 1
                    if waiting[other] == 0:
                        number += 1
                        heapq.heappush(queue, (places.of(other), number, other))
        return found


def _link(entries: Sequence[Entry], dependents: Edges, prerequisites: Edges) -> None:
    """Say of each entry which others must come first."""
    removing = {identity: entry for entry in entries for identity in entry.removes}
    making = {identity: entry for entry in entries for identity in entry.makes}
    altering = {
        identity: entry
        for entry in entries
        for identity in entry.makes
        if isinstance(entry.operation, Operation) and entry.operation.before is not None
    }
    made = {entry.relation: entry for entry in entries if entry.is_root and entry.makes}
    gone = {entry.relation: entry for entry in entries if entry.is_root and entry.removes}
    for entry in entries:
        for identity in entry.removes:
            for other in dependents.get(identity, ()):
                _need(entry, _entry_of(other, removing) or altering.get(other))
        for identity in entry.makes:
            _need(entry, removing.get(identity))
            for other in prerequisites.get(identity, ()):
                _need(entry, _entry_of(other, making))
        if entry.relation in made and not entry.removes and not _is_removal(entry):
            _need(entry, made[entry.relation])
        if entry.relation in gone and (entry.removes or _is_removal(entry)):
            _need(gone[entry.relation], entry)


def _need(entry: Entry, other: Entry | None) -> None:
    if other is not None and other is not entry:
        entry.needs.add(other)


def _is_removal(entry: Entry) -> bool:
    return isinstance(entry.operation, Operation) and entry.operation.is_removal


class _Places:
    """The place of each entry if nothing depended on anything."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._numbers = {entry: number for number, entry in enumerate(entries)}
        self._roots: dict[tuple[Key, bool], Entry] = {}
        for entry in entries:
            if entry.is_root and entry.relation is not None:
                self._roots[entry.relation, bool(entry.removes)] = entry
        self._groups: dict[Entry, Place] = {}
        self._needing: dict[Entry, list[Entry]] = {entry: [] for entry in entries}
        for entry in entries:
            for other in entry.needs:
                self._needing[other].append(entry)

    def of(self, entry: Entry) -> Place:
        """The group, then whether a dependency moved it there, then its phase and number."""
        own, group = self._own(entry), self._group(entry)
        moved = (group > own) - (group < own)
        return (*group, moved, *own, entry.phase, self._numbers[entry])

    def _own(self, entry: Entry) -> Place:
        """Phase and number of the relation that the entry belongs to, else of itself."""
        if entry.phase in (Phase.FOREIGN_KEYS, Phase.DROP_FOREIGN_KEYS):
            return (entry.phase, 0)
        removes = bool(entry.removes) or _is_removal(entry)
        for relation in (entry.beside, entry.relation):
            root = self._roots.get((relation, removes)) if relation is not None else None
            if root is not None and root is not entry and relation == entry.relation:
                # A view in the group of a table has its own grants with it.
                return self._own(root)
            if root is not None:
                return (root.phase, self._numbers[root])
        return (entry.phase, 0)

    def _group(self, entry: Entry) -> Place:
        """The latest group among the entry's own and those of all that it needs.

        A removal comes early instead: as soon as something needs it.
        """
        if entry not in self._groups:
            self._groups[entry] = self._own(entry)  # stops at a cycle
            if entry.removes:
                others = [self._group(other) for other in self._needing[entry] if other.removes]
                self._groups[entry] = min([self._own(entry), *others])
            else:
                others = [self._group(other) for other in entry.needs]
                self._groups[entry] = max([self._own(entry), *others])
        return self._groups[entry]


def _entry_of(identity: Identity, entries: dict[Identity, Entry]) -> Entry | None:
    """The operation on an object, else on the column or table that it is a part of."""
    kind, key = identity
    found = entries.get(identity)
    if found is None and kind == "default":
        found = entries.get(("column", key))
    if found is None and kind in TABLE_PARTS:
        found = entries.get(("table", key[:2]))
    return found
