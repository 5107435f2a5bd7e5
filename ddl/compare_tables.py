"""What to do about tables, columns, constraints and indexes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alembic import util
from alembic.operations import ops
from sqlalchemy import Column, Connection, Constraint, MetaData, Table
from sqlalchemy.schema import AddConstraint, sort_tables_and_constraints

from ddl import sql
from ddl.base import Identity, Key
from ddl.catalog import Catalog
from ddl.constraint import NOT_VALID, ConstraintOperation, ConstraintState, IndexOperation
from ddl.plan import Phase, Plan
from ddl.reflected import PLAIN_KEY, Reflected
from ddl.table import (
    ColumnIdentityOperation,
    ColumnState,
    ColumnTypeOperation,
    TableOptionsOperation,
    TableState,
)


class TableChanges:
    """Differences of tables and all that PostgreSQL keeps inside them."""

    def __init__(
        self, wanted: Catalog, actual: Catalog, metadata: MetaData, connection: Connection
    ) -> None:
        self.wanted = wanted
        self.actual = actual
        self.metadata = metadata
        self.models: dict[Key, Table] = {
            (table.schema or sql.DEFAULT_SCHEMA, table.name): table
            for table in metadata.tables.values()
        }
        before, after = actual.of("table"), wanted.of("table")
        self.created = sorted(after.keys() - before.keys())
        self.dropped = sorted(before.keys() - after.keys())
        self.common = sorted(before.keys() & after.keys())
        self._circular: set[Key] = set()
        self._reflected = Reflected(connection, actual)

    # --- what others hang on ---

    def seeds(self) -> list[Identity]:
        """Tables, columns and keys that disappear or change so that dependents must go first."""
        found: list[Identity] = [("table", key) for key in self.dropped]
        before = self.actual.of("column")
        found += [("column", key) for key in sorted(before) if key[:2] in self.dropped]
        found += sorted(self.dropped_columns())
        found += [("column", key) for key in self._changed_columns() if self._retyped(key)]
        for kind in ("constraint", "index"):
            gone = self.actual.of(kind).keys() - self.wanted.of(kind).keys()
            found += [(kind, key) for key in sorted(gone | set(self._changed(kind)))]
        return found

    def dropped_columns(self) -> set[Identity]:
        """Columns of surviving tables that go, or go and come back with another expression."""
        gone = self.actual.of("column").keys() - self.wanted.of("column").keys()
        remade = {key for key in self._changed_columns() if self._remade(key)}
        return {("column", key) for key in gone | remade if key[:2] in self.common}

    def _changed(self, kind: str) -> list[Key]:
        before, after = self.actual.of(kind), self.wanted.of(kind)
        return sorted(
            key
            for key in before.keys() & after.keys()
            if before[key] != after[key] and not self._only_unvalidated(kind, key)
        )

    def _only_unvalidated(self, kind: str, key: Key) -> bool:
        """True where the model itself says NOT VALID: CREATE TABLE takes no notice of it."""
        if kind != "constraint":
            return False
        before, after = self.actual.of(kind)[key], self.wanted.of(kind)[key]
        return before.definition == after.definition + NOT_VALID and self._definition(
            after
        ).endswith(NOT_VALID)

    def _changed_columns(self) -> list[Key]:
        return self._changed("column")

    def _retyped(self, key: Key) -> bool:
        before, after = self.actual.of("column")[key], self.wanted.of("column")[key]
        return (before.type, before.collation) != (after.type, after.collation)

    def _remade(self, key: Key) -> bool:
        before, after = self.actual.of("column")[key], self.wanted.of("column")[key]
        return bool(before.generated != after.generated) or (
            after.generated is not None and self._retyped(key)
        )

    # --- operations ---

    def plan(self, plan: Plan, recreated: set[Identity]) -> None:
        """Add the operations; ``recreated`` constraints and indexes go and come back."""
        self._create(plan)
        for key in reversed(self.dropped):
            drop = ops.DropTableOp.from_table(self._reflected.table(key))
            parts = [("column", found) for found in self.actual.of("column") if found[:2] == key]
            plan.add(Phase.DROP_TABLES, drop, removes=[("table", key), *parts])
        for key in self.common:
            self._plan_table(plan, self.actual.of("table")[key], self.wanted.of("table")[key])
            self._plan_columns(plan, key, recreated)
        self._plan_constraints(plan, recreated)
        self._plan_indexes(plan, recreated)

    def _create(self, plan: Plan) -> None:
        """New tables; of foreign keys in a circle some come when all tables are there."""
        new = [self.models[key] for key in self.created]
        listed = sort_tables_and_constraints(new)  # type: ignore[no-untyped-call]
        circular = {one for table, constraints in listed if table is None for one in constraints}
        for table in (table for table, _ in listed if table is not None):
            key = (table.schema or sql.DEFAULT_SCHEMA, table.name)
            later = {name for name, one in self._declared_constraints(key) if one in circular}
            create = ops.CreateTableOp.from_table(table)
            create.columns = [item for item in create.columns if item not in circular]
            parts: list[Identity] = [("table", key)]
            for kind in ("column", "constraint"):
                found = [one for one in self.wanted.of(kind) if one[:2] == key]
                parts += [(kind, one) for one in found if one[2] not in later]
            plan.add(Phase.TABLES, create, makes=parts)
            self._circular.update((*key, name) for name in later)

    def _plan_table(self, plan: Plan, before: TableState, after: TableState) -> None:
        if before.partition_by != after.partition_by:
            raise util.CommandError(
                f"table {after.name}: expected PARTITION BY {after.partition_by}, found"
                f" {before.partition_by}; PostgreSQL cannot change that in place, so write a"
                f" revision by hand that makes a new table and moves the rows"
            )
        if (before.unlogged, before.options) != (after.unlogged, after.options):
            options = TableOptionsOperation(before, after)
            plan.add(Phase.ALTER_COLUMNS, options, makes=[("table", after.key)])
        if before.comment != after.comment:
            schema = _schema(after.schema)
            if after.comment is None:
                comment: Any = ops.DropTableCommentOp(
                    after.name, schema=schema, existing_comment=before.comment
                )
            else:
                comment = ops.CreateTableCommentOp(
                    after.name, after.comment, schema=schema, existing_comment=before.comment
                )
            plan.add(Phase.ALTER_COLUMNS, comment)

    def _plan_columns(self, plan: Plan, table: Key, recreated: set[Identity]) -> None:
        model = self.models[table].columns
        schema = _schema(table[0])
        before = {key[2]: s for key, s in self.actual.of("column").items() if key[:2] == table}
        after = {key[2]: s for key, s in self.wanted.of("column").items() if key[:2] == table}
        again = {name for name in before if ("column", (*table, name)) in recreated}
        for name in sorted((before.keys() - after.keys()) | again):
            column = self._reflected.dropped_column(table, name)
            drop = ops.DropColumnOp.from_column_and_tablename(schema, table[1], column)
            plan.add(Phase.DROP_COLUMNS, drop, removes=[("column", (*table, name))])
        for name in [column.name for column in model if column.name not in before.keys() - again]:
            add = ops.AddColumnOp.from_column_and_tablename(schema, table[1], model[name])
            plan.add(Phase.ADD_COLUMNS, add, makes=[("column", (*table, name))])
        for name in sorted((before.keys() & after.keys()) - again):
            undefault = ("default", (*table, name)) in recreated
            if before[name] != after[name] or undefault:
                self._plan_column(plan, before[name], after[name], model[name], undefault)

    def _plan_column(
        self,
        plan: Plan,
        before: ColumnState,
        after: ColumnState,
        model: Column[Any],
        undefault: bool,
    ) -> None:
        """Type, default, NOT NULL and comment of one column, in the order that works.

        A default that stands in the way of the new type, or of what it calls (``undefault``),
        goes first and comes back.
        """
        found = self._reflected.columns(before.key[:2])[before.name]
        retyped = (before.type, before.collation) != (after.type, after.collation)
        had = found.server_default if before.default is not None else None
        default = ("default", before.key)
        undefault = before.default is not None and (retyped or undefault)
        if undefault:
            without = self._alter(before, found, had, modify_server_default=None)
            plan.add(Phase.ALTER_COLUMNS, without, removes=[default])
            had = None
        identity = ColumnIdentityOperation(before, after)
        renumbered = before.identity != after.identity
        if renumbered and after.identity is None:
            plan.add(Phase.ALTER_COLUMNS, identity)
        if retyped:
            retype = ColumnTypeOperation(before, after)
            plan.add(Phase.ALTER_COLUMNS, retype, makes=[("column", before.key)])
        modified: dict[str, Any] = {}
        if (after.default is not None) if undefault else before.default != after.default:
            modified["modify_server_default"] = _default(model, after)
        if before.not_null != after.not_null:
            modified["modify_nullable"] = not after.not_null
        if before.comment != after.comment:
            modified["modify_comment"] = after.comment
        if modified:
            found.type = model.type if retyped else found.type
            alter = self._alter(after, found, had, **modified)
            plan.add(Phase.ALTER_COLUMNS, alter, makes=[default])
        if renumbered and after.identity is not None:
            plan.add(Phase.ALTER_COLUMNS, identity)

    def _alter(
        self, state: ColumnState, found: Column[Any], had: Any, **modified: Any
    ) -> ops.AlterColumnOp:
        return ops.AlterColumnOp(
            state.table,
            state.name,
            schema=_schema(state.schema),
            existing_type=found.type,
            existing_nullable=found.nullable,
            existing_server_default=had,
            existing_comment=found.comment,
            **modified,
        )

    def _plan_constraints(self, plan: Plan, recreated: set[Identity]) -> None:
        before, after = self.actual.of("constraint"), self.wanted.of("constraint")
        again = {key for kind, key in recreated if kind == "constraint"}
        again.update(self._changed("constraint"))
        for key in sorted((before.keys() - after.keys()) | again):
            state = before[key]
            if key[:2] in self.dropped and PLAIN_KEY.fullmatch(state.definition):
                continue  # stands in the table that the downgrade creates
            foreign = state.is_foreign_key
            phase = Phase.DROP_FOREIGN_KEYS if foreign else Phase.DROP_CONSTRAINTS
            plan.add(phase, self._constraint(state, None), removes=[("constraint", key)])
        for key in sorted((after.keys() - before.keys()) | again):
            if key[:2] in self.created and key not in self._circular:
                continue
            phase = Phase.FOREIGN_KEYS if after[key].is_foreign_key else Phase.CONSTRAINTS
            spelled = replace(after[key], definition=self._definition(after[key]))
            plan.add(phase, self._constraint(None, spelled), makes=[("constraint", key)])

    def _constraint(self, before: Any, after: Any) -> ConstraintOperation:
        operation = ConstraintOperation(before, after)
        operation.validate_as = self.metadata.info.get("validate_as")
        return operation

    def _definition(self, state: ConstraintState) -> str:
        """The model's spelling, which is the same on every version of the server."""
        for name, found in self._declared_constraints(state.key[:2]):
            if name == state.name:
                # Isolated, SQLAlchemy would leave it out of CREATE TABLE from now on.
                text = sql.compiled(AddConstraint(found, isolate_from_table=False))
                return text.split(f"CONSTRAINT {sql.ident(name)} ", 1)[1]
        return state.definition

    def _declared_constraints(self, table: Key) -> list[tuple[str, Constraint]]:
        """The named constraints of a model, names as the server has them."""
        constraints = self.models[table].constraints
        named = [(sql.constraint_name(one), one) for one in constraints]
        return [(name, one) for name, one in named if name is not None]

    def _plan_indexes(self, plan: Plan, recreated: set[Identity]) -> None:
        before, after = self.actual.of("index"), self.wanted.of("index")
        again = {key for kind, key in recreated if kind == "index"}
        again.update(self._changed("index"))
        for key in sorted((before.keys() - after.keys()) | again):
            drop = IndexOperation(before[key], None)
            plan.add(Phase.DROP_INDEXES, drop, removes=[("index", key)])
        for key in sorted((after.keys() - before.keys()) | again):
            state = after[key]
            indexes = self.models[state.relation].indexes
            declared = {sql.constraint_name(index): index for index in indexes}
            create: Any = IndexOperation(None, state)
            if state.name in declared:
                create = ops.CreateIndexOp.from_index(declared[state.name])
            plan.add(Phase.INDEXES, create, makes=[("index", key)])


def _default(model: Column[Any], after: ColumnState) -> Any:
    """The model's default; that of a serial column belongs to CREATE TABLE."""
    if after.default is not None and model.server_default is None:
        raise util.CommandError(
            f"column {after.table}.{after.name}: the model makes it serial, which only a new"
            f" column can be; write Identity() in the model, or autoincrement=False"
        )
    return model.server_default if after.default is not None else None


def _schema(name: str) -> str | None:
    return None if name == sql.DEFAULT_SCHEMA else name
