"""What to do about hypertables, columnstores, retention, rollups and their refreshes."""

from __future__ import annotations

from typing import Any

from alembic.util import CommandError

from ddl.base import Declared, Identity, Key
from ddl.catalog import Catalog
from ddl.columnstore import ColumnstoreOperation
from ddl.hypertable import HypertableOperation
from ddl.plan import Phase, Plan
from ddl.retention import RetentionOperation
from ddl.rollup import RefreshOperation, RollupOperation

_POLICIES = (
    ("columnstore", ColumnstoreOperation, Phase.COLUMNSTORES),
    ("retention", RetentionOperation, Phase.RETENTIONS),
    ("refresh", RefreshOperation, Phase.POLICIES_OF_ROLLUPS),
)


class TimeSeriesChanges:
    """Differences of what TimescaleDB keeps about relations.

    Policies change in place. Nothing drops a hypertable or rollup but its own table or query:
    a rollup may hold what the raw data no longer has.
    """

    def __init__(self, wanted: Catalog, actual: Catalog, declared: Declared) -> None:
        self.wanted = wanted
        self.actual = actual
        self.declared = declared
        before, after = actual.of("rollup"), wanted.of("rollup")
        self.remade = {key for key in before.keys() & after.keys() if before[key] != after[key]}

    def seeds(self) -> list[Identity]:
        """Rollups that go, or change so that they must go before they come back."""
        gone = self.actual.of("rollup").keys() - self.wanted.of("rollup").keys()
        return [("rollup", key) for key in sorted(gone | self.remade)]

    def refuse_loss(self, recreated: set[Identity]) -> None:
        """A column that a rollup reads cannot change under it.

        Raises:
            alembic.util.CommandError: names the rollup and the way around.
        """
        for kind, key in sorted(recreated):
            if kind == "rollup" and key not in self.remade:
                raise CommandError(
                    f"rollup {'.'.join(key)} reads a column that would be dropped or change its "
                    "type, and dropping the rollup loses what the raw data no longer has: add a "
                    "new column and a new rollup over it, and drop the old ones later"
                )

    def plan(self, plan: Plan) -> None:
        """Add the operations of every kind."""
        self._plan_hypertables(plan)
        before = self.actual.of("rollup")
        created = (self.wanted.of("rollup").keys() - before.keys()) | self.remade
        for key in sorted((before.keys() - self.wanted.of("rollup").keys()) | self.remade):
            operation = RollupOperation(before[key], None)
            plan.add(Phase.DROP_ROLLUPS, operation, removes=[("rollup", key)])
        for key in sorted(created):
            operation = RollupOperation(None, self._after("rollup", key))
            plan.add(Phase.ROLLUPS, operation, makes=[("rollup", key)])
        for kind, operation_type, phase in _POLICIES:
            self._plan_policies(plan, kind, operation_type, phase)

    def _after(self, kind: str, key: Key) -> Any:
        return self.declared.of(kind).get(key) or self.wanted.of(kind)[key]

    def _plan_hypertables(self, plan: Plan) -> None:
        before, after = self.actual.of("hypertable"), self.wanted.of("hypertable")
        for key in sorted(before.keys() - after.keys()):
            if key in self.wanted.of("table"):
                raise CommandError(
                    f"table {'.'.join(key)} is a hypertable, and the models declare a plain "
                    "table: TimescaleDB knows no way back; declare Hypertable(…), or make a new "
                    "table and copy the rows"
                )
            plan.add(Phase.DROP_HYPERTABLES, HypertableOperation(before[key], None))
        for key in sorted(after.keys() - before.keys()):
            plan.add(Phase.HYPERTABLES, HypertableOperation(None, self._after("hypertable", key)))
        for key in sorted(before.keys() & after.keys()):
            if before[key].time_column != after[key].time_column:
                raise CommandError(
                    f"hypertable {'.'.join(key)}: expected time column {after[key].time_column}, "
                    f"found {before[key].time_column}, which cannot change: make a new table"
                )
            if before[key] != after[key]:
                operation = HypertableOperation(before[key], self._after("hypertable", key))
                plan.add(Phase.HYPERTABLES, operation)

    def _plan_policies(self, plan: Plan, kind: str, operation: Any, phase: Phase) -> None:
        before, after = self.actual.of(kind), self.wanted.of(kind)
        for key in sorted(before.keys() | after.keys()):
            rollup = key in self.actual.of("rollup") or key in self.wanted.of("rollup")
            making = Phase.POLICIES_OF_ROLLUPS if rollup else phase
            dropping = Phase.DROP_POLICIES_OF_ROLLUPS if rollup else Phase.DROP_TIME_SERIES
            if key in before and (key not in after or key in self.remade):
                plan.add(dropping, operation(before[key], None))
            if key in after and (key not in before or key in self.remade):
                plan.add(making, operation(None, self._after(kind, key)))
            elif key in before and key in after and before[key] != after[key]:
                plan.add(making, operation(before[key], self._after(kind, key)))
