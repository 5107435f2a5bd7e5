"""The comparison that autogenerate and ``alembic check`` run: the twin against the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from alembic import util
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrationScript, UpgradeOps
from alembic.runtime.migration import MigrationContext
from alembic.util import PriorityDispatchResult
from sqlalchemy import MetaData

from ddl import function, policy, sql, twin
from ddl.access import check_policies
from ddl.base import Declared, Identity, Key
from ddl.compare_tables import TableChanges
from ddl.compare_time_series import TimeSeriesChanges
from ddl.edition import edition_of
from ddl.function import FunctionOperation
from ddl.grant import GrantOperation, GrantState
from ddl.order import late_functions
from ddl.plan import Phase, Plan, prune
from ddl.policy import PolicyOperation, RowSecurityOperation, RowSecurityState
from ddl.schema import SchemaOperation
from ddl.trigger import TriggerOperation
from ddl.view import ViewOperation

log = logging.getLogger(__name__)


def autogenerate(context: AutogenContext, upgrade_ops: UpgradeOps) -> PriorityDispatchResult:
    """Alembic's comparator: append everything that brings the database to the models."""
    metadata, connection = context.metadata, context.connection
    assert isinstance(metadata, MetaData)
    assert connection is not None
    check_policies(metadata)
    version_table = context.migration_context.version_table

    def excluded(key: Key) -> bool:
        schema = None if key[0] == sql.DEFAULT_SCHEMA else key[0]
        parents: Any = {"schema_name": schema}
        return key[1] == version_table or not context.run_name_filters(key[1], "table", parents)

    try:
        found = twin.compare(connection, metadata, edition_of(context.migration_context))
        found = replace(found, actual=found.actual.without_tables(excluded))
        found.refuse_strangers()
    except twin.ModelError as error:
        raise util.CommandError(str(error)) from error
    changes = Changes(found, metadata)
    tables = TableChanges(found.wanted, found.actual, metadata, connection)
    series = TimeSeriesChanges(found.wanted, found.actual, changes.declared)
    changes.recreate_hanging_on([*tables.seeds(), *series.seeds()], tables.dropped_columns())
    series.refuse_loss(changes.recreated)
    plan = Plan(found.actual_hanging, _reversed(found.wanted_hanging))
    tables.plan(plan, changes.recreated)
    series.plan(plan)
    changes.plan(plan)
    upgrade_ops.ops.extend(plan.operations())
    for operation in upgrade_ops.ops:
        log.info("Detected %s", " ".join(map(str, operation.to_diff_tuple()[:2])))
    return PriorityDispatchResult.CONTINUE


def _reversed(hanging: twin.Hanging) -> twin.Hanging:
    """For each object those on which it hangs."""
    needed: twin.Hanging = {}
    for identity, dependents in hanging.items():
        for dependent in dependents:
            needed.setdefault(dependent, set()).add(identity)
    return needed


def process_revision_directives(
    context: MigrationContext,  # noqa: ARG001 (Alembic prescribes the signature)
    revision: Any,  # noqa: ARG001
    directives: list[MigrationScript],
) -> None:
    """Shorten both directions: what dies with its table is not dropped singly.

    This must wait until the downgrade was made, since that needs every single drop.
    """
    for script in directives:
        for operations in (*script.upgrade_ops_list, *script.downgrade_ops_list):
            operations.ops[:] = prune(operations.ops)


class Changes:
    """What to do about functions, triggers, policies, views and grants."""

    def __init__(self, found: twin.Comparison, metadata: MetaData) -> None:
        self.wanted = found.wanted
        self.actual = found.actual
        self.hanging = found.actual_hanging
        self.late = found.late
        self.declared = Declared.on(metadata)
        self.recreated: set[Identity] = set()
        """Objects of both sides that must go and come back for something they hang on."""
        self._in_the_way: set[Identity] = set()

    def after(self, kind: str, key: Key) -> Any:
        """The model's own spelling where there is one, else the server's."""
        declared = self.declared.of(kind)
        wanted = self.wanted.of(kind)[key]
        return declared.get(wanted.declared_as, wanted)

    def changed(self, kind: str) -> list[Key]:
        """Keys of both sides whose states differ."""
        before, after = self.actual.of(kind), self.wanted.of(kind)
        return sorted(key for key in before.keys() & after.keys() if before[key] != after[key])

    # --- what hangs on what changes ---

    def recreate_hanging_on(self, seeds: Iterable[Identity], columns: set[Identity]) -> None:
        """Find all that must be dropped before ``seeds`` change, and made again after.

        ``columns`` are those of the seeds that disappear: they take constraints and indexes
        along, which a column that only changes its type does not. A generated column over a
        column that changes goes and comes back too.
        """
        stack = [*seeds, *self._unreplaceable()]
        self.recreated.update(
            found
            for found in (*columns, *stack)
            if (found in columns or found[0] == "rollup") and self._of_both(found)
        )
        while stack:
            identity = stack.pop()
            retyped = identity[0] == "column" and identity not in columns | self.recreated
            for dependent in sorted(self.hanging.get(identity, ())):
                if retyped and self._follows(dependent):
                    continue
                if dependent in self._in_the_way:
                    continue
                self._in_the_way.add(dependent)
                stack.append(dependent)
                if self._of_both(dependent):
                    self.recreated.add(dependent)

    def _unreplaceable(self) -> list[Identity]:
        """Views and functions that go, or change so that they must go before they come back."""
        found: list[Identity] = []
        for kind in ("view", "function"):
            before, after = self.actual.of(kind), self.wanted.of(kind)
            for key in self.changed(kind):
                if kind == "view" or not function.replaceable(before[key], after[key]):
                    self.recreated.add((kind, key))
                    found.append((kind, key))
            # Of another signature it is another function, which the old one would shadow.
            names = {key[:2] for key in after}
            gone = sorted(before.keys() - after.keys())
            found += [(kind, key) for key in gone if kind == "view" or key[:2] in names]
        self._in_the_way.update(found)
        return found

    def _follows(self, dependent: Identity) -> bool:
        """True for what PostgreSQL changes itself along with the type of a column.

        It would check a foreign key before the column at its other end has changed too.
        """
        found = self.actual.get(dependent)
        if dependent[0] == "constraint":
            return found is None or not found.is_foreign_key
        return dependent[0] == "index"

    def _of_both(self, identity: Identity) -> bool:
        if identity[0] == "default":
            identity = ("column", identity[1])
        return None not in (self.actual.get(identity), self.wanted.get(identity))

    # --- operations ---

    def plan(self, plan: Plan) -> None:
        """Add the operations of every kind."""
        for key in sorted(self.wanted.of("schema").keys() - self.actual.of("schema").keys()):
            plan.add(Phase.SCHEMAS, SchemaOperation(None, self.wanted.of("schema")[key]))
        self._plan_functions(plan)
        self._plan_simple(plan, "trigger", TriggerOperation, Phase.DROP_TRIGGERS, Phase.TRIGGERS)
        self._plan_row_security(plan)
        self._plan_simple(plan, "policy", PolicyOperation, Phase.DROP_POLICIES, Phase.POLICIES)
        self._plan_simple(plan, "view", ViewOperation, Phase.DROP_VIEWS, Phase.VIEWS)
        self._plan_grants(plan)

    def _sides(self, kind: str) -> tuple[list[Key], list[Key], list[Key]]:
        """Keys (to drop, to create, to change in place)."""
        before, after = self.actual.of(kind), self.wanted.of(kind)
        again = {key for found, key in self.recreated if found == kind}
        changed = [key for key in self.changed(kind) if key not in again]
        in_place = [key for key in changed if self._in_place(kind, key)]
        again.update(set(changed) - set(in_place))
        gone = sorted((before.keys() - after.keys()) | again)
        new = sorted((after.keys() - before.keys()) | again)
        return gone, new, in_place

    def _in_place(self, kind: str, key: Key) -> bool:
        if kind == "function":
            return True
        before, after = self.actual.of(kind)[key], self.wanted.of(kind)[key]
        return kind == "policy" and policy.alterable(before, after)

    def _plan_simple(
        self, plan: Plan, kind: str, operation: Any, dropping: Phase, creating: Phase
    ) -> None:
        before = self.actual.of(kind)
        dropped, created, altered = self._sides(kind)
        for key in reversed(dropped):
            plan.add(dropping, operation(before[key], None), removes=[(kind, key)])
        for key in created:
            plan.add(creating, operation(None, self.after(kind, key)), makes=[(kind, key)])
        for key in altered:
            change = operation(before[key], self.after(kind, key))
            plan.add(creating, change, makes=[(kind, key)])

    def _plan_functions(self, plan: Plan) -> None:
        before = self.actual.of("function")
        dropped, created, altered = self._sides("function")
        reading = self._read_what_goes([before[key] for key in dropped])
        for key in reversed(dropped):
            identity: Identity = ("function", key)
            early = identity in self.recreated | self._in_the_way or key[1] in reading
            phase = Phase.DROP_FUNCTIONS_IN_THE_WAY if early else Phase.DROP_FUNCTIONS
            plan.add(phase, FunctionOperation(before[key], None), removes=[identity])
        for key in sorted([*created, *altered]):
            after = self.after("function", key)
            phase = Phase.FUNCTIONS_OVER_TABLES if key[1] in self.late else Phase.FUNCTIONS
            operation = FunctionOperation(before[key] if key in altered else None, after)
            plan.add(phase, operation, makes=[("function", key)])

    def _read_what_goes(self, functions: list[function.FunctionState]) -> set[str]:
        """Names of functions that can only come back after a table or view has."""
        gone = {
            key
            for kind in ("table", "view")
            for key in self.actual.of(kind).keys() - self.wanted.of(kind).keys()
        }
        return late_functions(functions, gone, "")

    def _plan_row_security(self, plan: Plan) -> None:
        before, after = self.actual.of("row security"), self.wanted.of("row security")
        for key in sorted(before.keys() | after.keys()):
            off = RowSecurityState(key[1], enable=False, force=False, schema=key[0])
            sides = before.get(key, off), after.get(key, off)
            if sides[0] != sides[1]:
                stays = key in self.wanted.of("table")
                phase = Phase.ROW_SECURITY if stays else Phase.DROP_POLICIES
                plan.add(phase, RowSecurityOperation(*sides))

    def _plan_grants(self, plan: Plan) -> None:
        before, after = self.actual.of("grant"), self.wanted.of("grant")
        dropped = self._dropped_relations()
        for key in sorted(before.keys() | after.keys()):
            nothing = GrantState(key[1], frozenset(), key[0])
            held, wanted = before.get(key, nothing), after.get(key, nothing)
            kept = {
                one
                for one in held.privileges & wanted.privileges
                if held.relation not in dropped
                and ("column", (*key, one.column)) not in self.recreated
            }
            lost, gained = held.privileges - kept, wanted.privileges - kept
            if lost:
                plan.add(Phase.REVOKES, GrantOperation(replace(held, privileges=lost), None))
            if gained:
                granted = replace(wanted, on=self._spelled(wanted), privileges=gained)
                plan.add(Phase.GRANTS, GrantOperation(None, granted))

    def _dropped_relations(self) -> set[Key]:
        """Relations and functions that lose their grants; some come back, even as another."""
        return {
            state.relation
            for kind in ("table", "view", "function", "rollup")
            for key, state in self.actual.of(kind).items()
            if key not in self.wanted.of(kind) or (kind, key) in self.recreated
        }

    def _spelled(self, wanted: GrantState) -> str:
        """The model's own spelling of a function's signature."""
        for key, state in self.wanted.of("function").items():
            if state.relation == wanted.relation:
                on: str = self.after("function", key).on
                return on
        return wanted.on
