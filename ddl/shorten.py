"""Shorter revisions: no needless drops, and one operation for what belongs together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeGuard

from alembic.operations import ops as alembic_ops
from alembic.operations.ops import MigrateOperation

from ddl import sql
from ddl.base import Key, Operation
from ddl.kinds import KINDS
from ddl.kinds.grant import GrantOperation
from ddl.kinds.policy import PolicyOperation, clauses
from ddl.kinds.row_level_security import RowLevelSecurityOperation

_DROPPABLE = tuple(kind.operation for kind in KINDS if kind.relation and kind.operation)


def shorten(operations: Sequence[MigrateOperation]) -> list[MigrateOperation]:
    """The same effect in fewer lines; for text only, since reversing needs every single drop."""
    return _secured(_granted(prune(operations)))


def _granted(operations: Sequence[MigrateOperation]) -> list[MigrateOperation]:
    """Grants on what is created here become part of its creation."""
    created: dict[tuple[str, str], Operation[Any]] = {}
    found: list[MigrateOperation] = []
    for operation in operations:
        if isinstance(operation, GrantOperation) and operation.after is not None:
            creation = created.get((operation.after.schema, operation.after.on))
            if creation is not None:
                creation.grants |= operation.after.privileges
                continue
        elif _is_grantable_creation(operation):
            schema = getattr(operation.state, "schema", sql.DEFAULT_SCHEMA)
            created[schema, operation.state.granted_as] = operation
        found.append(operation)
    return found


def _is_grantable_creation(operation: MigrateOperation) -> TypeGuard[Operation[Any]]:
    if not isinstance(operation, Operation) or operation.before is not None:
        return False
    return bool(operation.state.grantable)


def _secured(operations: Sequence[MigrateOperation]) -> list[MigrateOperation]:
    """Policies and grants next to a table's row-level security become part of that operation."""
    found: list[MigrateOperation] = []
    run: list[Operation[Any]] = []
    for operation in [*operations, None]:
        if isinstance(operation, Operation) and _secures(operation):
            if run and run[0].relation != operation.relation:
                found += _joined(run)
                run = []
            run.append(operation)
            continue
        found += _joined(run)
        run = []
        if operation is not None:
            found.append(operation)
    return found


def _secures(operation: Operation[Any]) -> bool:
    if isinstance(operation, RowLevelSecurityOperation):
        return bool(operation.state.enable)
    creating = operation.before is None
    return creating and isinstance(operation, PolicyOperation | GrantOperation)


def _joined(run: Sequence[Operation[Any]]) -> Sequence[MigrateOperation]:
    security = [one for one in run if isinstance(one, RowLevelSecurityOperation)]
    if not security:
        return run
    for operation in run:
        if isinstance(operation, PolicyOperation):
            security[0].policies[operation.state.name] = clauses(operation.state)
        elif isinstance(operation, GrantOperation):
            security[0].grants |= operation.state.privileges
    return security


def prune(operations: Sequence[MigrateOperation]) -> list[MigrateOperation]:
    """Leave out what is dropped with its table, view or function anyway.

    What mentions something that is dropped before its own table is kept: it would be in the way.
    """
    between: dict[Key, set[str]] = {}
    kept: list[MigrateOperation] = []
    for operation in reversed(operations):
        dropped = _dropped(operation)
        relation = _removed_from(operation)
        if dropped is not None:
            for names in between.values():
                names.add(dropped[1].partition(" ")[2].partition("(")[0] or dropped[1])
            between[dropped] = set()
        elif relation in between and between[relation].isdisjoint(_mentioned(operation)):
            continue
        kept.append(operation)
    return kept[::-1]


def _dropped(operation: MigrateOperation) -> Key | None:
    """The relation or function that ``operation`` drops as a whole."""
    if isinstance(operation, alembic_ops.DropTableOp):
        return (operation.schema or sql.DEFAULT_SCHEMA, operation.table_name)
    if isinstance(operation, _DROPPABLE) and operation.after is None:
        return operation.relation
    return None


def _removed_from(operation: MigrateOperation) -> Key | None:
    """The relation from which ``operation`` removes something."""
    if isinstance(operation, Operation):
        return operation.relation if operation.is_removal else None
    if isinstance(operation, alembic_ops.DropIndexOp | alembic_ops.DropConstraintOp):
        return (operation.schema or sql.DEFAULT_SCHEMA, operation.table_name or "")
    return None


def _mentioned(operation: MigrateOperation) -> Collection[str]:
    """What the definition of the removed object names."""
    if isinstance(operation, Operation):
        return sql.words(operation.state.text())
    if isinstance(operation, alembic_ops.DropIndexOp):
        index = operation.to_index()
        parts = [*index.expressions, operation.kw.get("postgresql_where")]
        return sql.calls(" ".join(map(str, parts)))
    return set()
