"""What an operation does to rows and to running sessions: its class, and what is lost.

The class is shown by ``alembic check`` and when a revision is generated. The revision has to
accept what loses rows by a line of its own, with the reason, and neither the lint nor the runner
lets it pass without::

    # accept drop-column public.pumps.maker: nothing has read it since release 7
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from alembic.operations import ops
from alembic.operations.ops import MigrateOperation, MigrationScript
from sqlalchemy import Connection
from sqlalchemy.schema import Computed

from ddl import sql
from ddl.base import Key, Operation
from ddl.columns import ColumnState
from ddl.json_values import MoveIntoJson
from ddl.kinds import KINDS
from ddl.risk import BUILDS, READS, REWRITES, Risk
from ddl.rows import rows
from ddl.source import NOTES


@dataclass(frozen=True)
class Effect:
    """The class of one operation on one object.

    ``rule`` and ``name`` are what ``# accept`` names: ``drop-column`` and
    ``public.pumps.maker``. ``reason`` says what is lost or locked, ``relation`` and ``column``
    where it is.
    """

    risk: Risk
    kind: str
    rule: str
    name: str
    reason: str = ""
    relation: Key | None = None
    column: str | None = None
    at_once: bool = True
    """See :attr:`ddl.base.Operation.loses_at_once`."""

    @property
    def acceptance(self) -> str:
        """The line that accepts it, all but the reason."""
        return f"# accept {self.rule} {' '.join(self.name.split())}:"

    def counted(self, connection: Connection) -> str:
        """The reason, with the number of rows that the database at hand would lose."""
        if not self.at_once:
            return self.reason
        found = rows(connection, self.relation, self.column) if self.relation else ""
        return f"{self.reason}, {found}" if found else self.reason


class Effects:
    """The effects of the operations of one revision, told one after another.

    What the revision itself creates holds no rows, and nobody waits for it. A column whose values
    it has moved is dropped without a loss.
    """

    def __init__(self) -> None:
        self._created: set[Key] = set()
        self._moved: dict[tuple[Key | None, str | None], str] = {}

    def of(self, operation: MigrateOperation) -> list[Effect]:
        """What ``operation`` does, the most harmful first; one that is safe has one effect, too."""
        found = [self._weighed(effect) for effect in _effects(operation)]
        self._created |= _created(operation)
        if isinstance(operation, MoveIntoJson):
            reason, state = operation.effect()[1], operation.state
            self._moved |= {(state.key, column): reason for column in state.columns}
        return sorted(found, key=lambda effect: -effect.risk)

    def _weighed(self, effect: Effect) -> Effect:
        if effect.relation in self._created:
            return Effect(Risk.SAFE, effect.kind, effect.rule, effect.name)
        moved = self._moved.get((effect.relation, effect.column))
        if effect.rule == "drop-column" and moved is not None:
            return dataclasses.replace(effect, risk=Risk.BLOCKING, reason=moved)
        return effect


def effects(operations: Iterable[MigrateOperation]) -> list[Effect]:
    """The effects of all operations of a revision, in their order."""
    told = Effects()
    return [effect for operation in operations for effect in told.of(operation)]


def warn(script: MigrationScript, connection: Connection) -> dict[Effect, str]:
    """Write above each operation that loses something what that is, and a line to accept it.

    The line lacks the reason unless it is known, and without one the lint and the runner refuse
    it. Returns those effects, each with what would be lost in the database at hand.
    """
    found: dict[Effect, str] = {}
    for upgrade_ops in script.upgrade_ops_list:
        told = Effects()
        accepted: set[str] = set()
        for operation in upgrade_ops.ops:
            notes: list[str] = []
            for effect in told.of(operation):
                if effect.risk.loses and effect.acceptance not in accepted:
                    accepted.add(effect.acceptance)
                    found[effect] = effect.counted(connection)
                    why = _known_reason(operation)
                    notes += [f"# {effect.risk}: {found[effect]}", effect.acceptance + why]
            if notes:  # else CREATE TABLE would have an empty list of them as an argument
                operation.info[NOTES] = [*operation.info.get(NOTES, []), *notes]
    return found


def _known_reason(operation: MigrateOperation) -> str:
    """Why nobody misses what is lost: a generated column has no values of its own."""
    reverse = operation._reverse if isinstance(operation, ops.DropColumnOp) else None
    if reverse is not None and reverse.column.computed is not None:
        return " its values are computed from other columns"
    return ""


def _effects(operation: MigrateOperation) -> Sequence[Effect]:
    if isinstance(operation, Operation):
        risk, reason = operation.effect()
        state = operation.state
        return [
            Effect(
                risk,
                state.kind,
                operation.rule,
                state.title().removeprefix(f"{state.kind} "),
                reason,
                operation.relation,
                state.name if isinstance(state, ColumnState) else None,
                operation.loses_at_once,
            )
        ]
    for type_, classify in _ALEMBIC.items():
        if isinstance(operation, type_):
            return list(classify(operation))
    return []


def _created(operation: MigrateOperation) -> set[Key]:
    if isinstance(operation, ops.CreateTableOp):
        return {_key(operation)}
    if isinstance(operation, Operation) and operation.before is None:
        state = operation.state
        return {state.relation} if state.relation and state.kind in _RELATIONS else set()
    return set()


_RELATIONS = {kind.name for kind in KINDS if kind.relation}


# --- Alembic's own operations -----------------------------------------------------------------


def _key(operation: Any) -> Key:
    return (operation.schema or sql.DEFAULT_SCHEMA, str(operation.table_name))


def _effect(
    operation: Any, risk: Risk, kind: str, rule: str, name: str = "", reason: str = ""
) -> Effect:
    relation = _key(operation)
    title = ".".join([*relation, name] if name else relation)
    column = name if kind == "column" else None
    return Effect(risk, kind, rule, title, reason, relation, column)


def _drop_table(operation: ops.DropTableOp) -> Iterable[Effect]:
    yield _effect(operation, Risk.DESTRUCTIVE, "table", "drop-table", "", "drops the table")


def _drop_column(operation: ops.DropColumnOp) -> Iterable[Effect]:
    name = operation.column_name
    yield _effect(operation, Risk.DESTRUCTIVE, "column", "drop-column", name, "drops the column")


def _add_column(operation: ops.AddColumnOp) -> Iterable[Effect]:
    column = operation.column
    default = column.server_default
    computed = isinstance(default, Computed) and bool(default.persisted)
    rewrites = computed or column.identity is not None or _is_volatile(default)
    risk, reason = (Risk.BLOCKING, REWRITES) if rewrites else (Risk.SAFE, "")
    yield _effect(operation, risk, "column", "add-column", str(column.name), reason)


def _is_volatile(default: Any) -> bool:
    """A default that differs from row to row: it calls something other than the moment."""
    called = sql.calls(str(getattr(default, "arg", "")))
    return not called <= {"now", "transaction_timestamp", "statement_timestamp"}


def _alter_column(operation: ops.AlterColumnOp) -> Iterable[Effect]:
    risk, reason = Risk.SAFE, ""
    if operation.modify_type is not None:
        # Written by hand: ours says more. Whatever USING is given, the server may not refuse it.
        risk, reason = Risk.DESTRUCTIVE, "may lose what the new type does not hold"
    elif operation.modify_nullable is False:
        risk, reason = Risk.BLOCKING, READS
    name = operation.column_name
    yield _effect(operation, risk, "column", "alter-column", name, reason)


def _create_index(operation: ops.CreateIndexOp) -> Iterable[Effect]:
    concurrently = bool(operation.kw.get("postgresql_concurrently"))
    risk = Risk.SAFE if concurrently else Risk.BLOCKING
    name = str(operation.index_name)
    yield _effect(operation, risk, "index", "create-index", name, "" if concurrently else BUILDS)


def _drop_index(operation: ops.DropIndexOp) -> Iterable[Effect]:
    yield _effect(operation, Risk.SAFE, "index", "drop-index", str(operation.index_name))


def _add_constraint(operation: Any) -> Iterable[Effect]:
    later = bool(operation.kw.get("postgresql_not_valid"))
    table = getattr(operation, "source_table", None) or operation.table_name
    schema = operation.kw.get("source_schema") or getattr(operation, "schema", None)
    relation = (schema or sql.DEFAULT_SCHEMA, str(table))
    yield Effect(
        Risk.SAFE if later else Risk.BLOCKING,
        "constraint",
        "add-constraint",
        ".".join([*relation, str(operation.constraint_name)]),
        "" if later else READS,
        relation,
    )


_DESTRUCTIVE_SQL = re.compile(
    r"""
    ^\s*(?:
        (?P<truncate>TRUNCATE)\b(?:\s+TABLE)?(?:\s+ONLY)?\s+(?P<truncated>[^\s;,(]+)
      | (?P<delete>DELETE)\s+FROM\s+(?:ONLY\s+)?(?P<deleted>[^\s;(]+)
      | (?P<drop>DROP)\s+(?P<what>TABLE|SCHEMA|MATERIALIZED\s+VIEW|SEQUENCE)
        (?:\s+IF\s+EXISTS)?\s+(?P<dropped>[^\s;,(]+)
      | ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<table>[^\s;,(]+)\s
        (?:[^;]*?[\s,])?DROP\s+COLUMN\s+(?:IF\s+EXISTS\s+)?(?P<column>[^\s;,(]+)
      | SELECT\s+(?:\w+\.)?(?P<chunks>drop_chunks)\s*\(\s*'(?P<hypertable>[^']+)'
    )""",
    re.I | re.X,
)
_QUIET = re.compile(r"--[^\n]*|/\*.*?\*/", re.S)


def _execute(operation: ops.ExecuteSQLOp) -> Iterable[Effect]:
    """SQL written by hand: what begins like a statement that deletes."""
    text = _QUIET.sub(" ", str(operation.sqltext))
    for statement in re.split(r";\s*(?=\S)", text):
        match = _DESTRUCTIVE_SQL.match(statement)
        if match is None:
            continue
        found = {name: value for name, value in match.groupdict().items() if value}
        if "truncate" in found:
            yield _by_hand("truncate", found["truncated"], "deletes all rows")
        elif "delete" in found:
            yield _by_hand("delete", found["deleted"], "deletes rows")
        elif "drop" in found:
            what = "-".join(found["what"].lower().split())
            yield _by_hand(f"drop-{what}", found["dropped"], f"drops the {what.replace('-', ' ')}")
        elif "chunks" in found:
            yield _by_hand("drop-chunks", found["hypertable"], "drops chunks with their rows")
        else:
            column = sql.unquoted(found["column"])
            yield _by_hand("drop-column", found["table"], "drops the column", column)


def _by_hand(rule: str, spelled: str, reason: str, column: str | None = None) -> Effect:
    parts = [sql.unquoted(part) for part in re.findall(sql.IDENT, spelled)]
    whole = parts if len(parts) > 1 or rule == "drop-schema" else [sql.DEFAULT_SCHEMA, *parts]
    relation = (whole[0], whole[1]) if len(whole) > 1 else None
    name = ".".join([*whole, column] if column else whole)
    kind = "column" if column else "table"
    return Effect(Risk.DESTRUCTIVE, kind, rule, name, reason, relation, column)


_ALEMBIC: dict[type[MigrateOperation], Any] = {
    ops.DropTableOp: _drop_table,
    ops.DropColumnOp: _drop_column,
    ops.AddColumnOp: _add_column,
    ops.AlterColumnOp: _alter_column,
    ops.CreateIndexOp: _create_index,
    ops.DropIndexOp: _drop_index,
    ops.AddConstraintOp: _add_constraint,
    ops.ExecuteSQLOp: _execute,
}
