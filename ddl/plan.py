"""The phases of a revision, and what can be left out of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum

from alembic.operations import ops as alembic_ops
from alembic.operations.ops import MigrateOperation

from ddl import sql
from ddl.base import DDLOperation, Identity, Key
from ddl.function import FunctionOperation
from ddl.grant import GrantOperation
from ddl.rollup import RollupOperation
from ddl.view import ViewOperation

Edges = Mapping[Identity, AbstractSet[Identity]]


class Phase(IntEnum):
    """When an operation happens; read backwards this is the order of the downgrade.

    Foreign keys go first and come last: what role checks them needs grants and policies. Tables
    go before what they refer to changes.
    """

    SCHEMAS = 0
    DROP_FOREIGN_KEYS = 1
    REVOKES = 2
    DROP_VIEWS = 3
    DROP_POLICIES_OF_ROLLUPS = 4
    DROP_ROLLUPS = 5
    DROP_TIME_SERIES = 6
    DROP_TRIGGERS = 7
    DROP_POLICIES = 8
    DROP_FUNCTIONS_IN_THE_WAY = 9
    DROP_HYPERTABLES = 10
    DROP_TABLES = 11
    DROP_CONSTRAINTS = 12
    DROP_INDEXES = 13
    FUNCTIONS = 14
    TABLES = 15
    DROP_COLUMNS = 16
    ALTER_COLUMNS = 17
    ADD_COLUMNS = 18
    CONSTRAINTS = 19
    INDEXES = 20
    HYPERTABLES = 21
    COLUMNSTORES = 22
    RETENTIONS = 23
    ROLLUPS = 24
    POLICIES_OF_ROLLUPS = 25
    FUNCTIONS_OVER_TABLES = 26
    TRIGGERS = 27
    ROW_SECURITY = 28
    POLICIES = 29
    VIEWS = 30
    GRANTS = 31
    FOREIGN_KEYS = 32
    DROP_FUNCTIONS = 33


@dataclass(frozen=True, eq=False)
class Entry:
    """One operation, its phase, and what it takes away from or adds to the catalog."""

    phase: Phase
    operation: MigrateOperation
    removes: Sequence[Identity]
    makes: Sequence[Identity]


class Plan:
    """Operations gathered in any order, given out by phase.

    Phases are what a reader expects. Where PostgreSQL's own dependencies say otherwise, they
    win: what hangs on something is removed before it (``removed_first``: for each object those
    that hang on it), and made after it (``made_first``: for each object what it hangs on).
    """

    def __init__(self, removed_first: Edges, made_first: Edges) -> None:
        self._entries: list[Entry] = []
        self._removed_first = removed_first
        self._made_first = made_first

    def add(
        self,
        phase: Phase,
        operation: MigrateOperation,
        *,
        removes: Sequence[Identity] = (),
        makes: Sequence[Identity] = (),
    ) -> None:
        """Put ``operation`` behind those of the same phase."""
        self._entries.append(Entry(phase, operation, removes, makes))

    def operations(self) -> list[MigrateOperation]:
        """All operations in the order in which they work."""
        entries = sorted(self._entries, key=lambda entry: entry.phase)
        removing = {identity: entry for entry in entries for identity in entry.removes}
        making = {identity: entry for entry in entries for identity in entry.makes}
        placed: dict[Entry, None] = {}
        seen: set[Entry] = set()

        def place(entry: Entry) -> None:
            if entry in seen:
                return
            seen.add(entry)
            for identity in entry.removes:
                for other in sorted(self._removed_first.get(identity, ())):
                    place(_entry_of(other, removing) or entry)
            for identity in entry.makes:
                for other in sorted(self._made_first.get(identity, ())):
                    place(_entry_of(other, making) or entry)
            placed[entry] = None

        for entry in entries:
            place(entry)
        return [entry.operation for entry in placed]


def _entry_of(identity: Identity, entries: dict[Identity, Entry]) -> Entry | None:
    """The operation on an object, else on the column or table that it is a part of."""
    kind, key = identity
    found = entries.get(identity)
    if found is None and kind == "default":
        found = entries.get(("column", key))
    if found is None and kind in ("column", "default", "constraint"):
        found = entries.get(("table", key[:2]))
    return found


def prune(operations: Sequence[MigrateOperation]) -> list[MigrateOperation]:
    """Leave out what dies with its table, view or function anyway.

    What mentions something that is dropped before its own table stays, for it is in the way.
    """
    between: dict[Key, set[str]] = {}
    kept: list[MigrateOperation] = []
    for operation in reversed(operations):
        dropped = _dropped(operation)
        relation = _removed_from(operation)
        if dropped is not None:
            for names in between.values():
                names.add(dropped[1].removeprefix("function ").partition("(")[0])
            between[dropped] = set()
        elif relation in between and between[relation].isdisjoint(_mentioned(operation)):
            continue
        kept.append(operation)
    return kept[::-1]


def _dropped(operation: MigrateOperation) -> Key | None:
    if isinstance(operation, alembic_ops.DropTableOp):
        return (operation.schema or sql.DEFAULT_SCHEMA, operation.table_name)
    kinds = ViewOperation | FunctionOperation | RollupOperation
    if isinstance(operation, kinds) and operation.after is None:
        return operation.relation
    return None


def _removed_from(operation: MigrateOperation) -> Key | None:
    """The relation from which ``operation`` takes something away."""
    if isinstance(operation, DDLOperation):
        return operation.relation if operation.is_removal else None
    if isinstance(operation, alembic_ops.DropIndexOp | alembic_ops.DropConstraintOp):
        return (operation.schema or sql.DEFAULT_SCHEMA, operation.table_name or "")
    return None


def _mentioned(operation: MigrateOperation) -> set[str]:
    """What the definition of the removed object names."""
    if isinstance(operation, DDLOperation) and not isinstance(operation, GrantOperation):
        return sql.words(operation.state.text())
    return set()
