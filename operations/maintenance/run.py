"""A maintenance run: late data, states, retention that no job enforces, purges, a check of jobs.

Rollups take in what came late before any raw data is deleted. If anything is missing, unreadable or
contradictory, rows are kept: a mistake in a setting must never shorten history.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row
from sqlalchemy.exc import DBAPIError

import models
from database.errors import FleetSchemaError, server_message
from database.tenancy import OPERATOR
from ddl.base import Declared
from ddl.edition import COMMUNITY, detect
from ddl.kinds.refresh_policy import RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.time_series import pending
from models.shared.base import TIMESERIES
from models.system.retention_policies import bounds, rollups_over
from operations.lock import exclusive_run
from operations.maintenance import (
    device_states,
    horizons,
    late_data,
    policy_jobs,
    purge,
    time_series,
)
from operations.maintenance.late_data import Progress, Refreshed, RefreshError
from operations.maintenance.time_series import TimeSeries
from operations.owner import acting_as
from operations.text import count

LOCK_TIMEOUT = "5s"
"""How long to wait for a chunk that another session locks; then it is left for the next run."""


class MaintenanceError(FleetSchemaError):
    """Maintenance cannot start; the text says why."""


BUSY = MaintenanceError("another maintenance run is active on this database: wait for it")


@dataclass(frozen=True)
class Removal:
    """Rows that were deleted or, in a dry run, would be."""

    relation: str
    tenant_id: uuid.UUID | None
    """None for a table without tenants."""
    rows: int
    transactions: int
    why: str


@dataclass
class Report:
    """What a run did or, in a dry run, would do."""

    edition: str
    dry_run: bool
    refreshed: list[Refreshed] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Each names what was expected, what was found, and the fix; the rows were kept."""
    slugs: dict[uuid.UUID, str] = field(default_factory=dict)


OnRemoval = Callable[[Removal], None]


def silent(removal: Removal) -> None:
    """Report no progress."""


def maintain(
    engine: Engine,
    *,
    dry_run: bool = False,
    on_removal: OnRemoval = silent,
    on_progress: Callable[[Progress], None] = late_data.silent,
) -> Report:
    """Refresh rollups where data came late, enforce retention for all, then for tenants; purge.

    Every chunk (without TimescaleDB: every batch) is a transaction of its own, so the next run
    continues where one was interrupted. Where jobs of TimescaleDB enforce the retention that
    applies to every tenant, they are only checked.

    Args:
        engine: of the database's owner, the only role that may delete from hypertables: they
            cannot have row-level security, so no role of the project has that privilege.
        dry_run: count what would be deleted, and change nothing.
        on_removal: called after each relation and tenant with rows to delete.
        on_progress: called while rollups are refreshed.

    Raises:
        MaintenanceError: another run is active, or the database has no such tables yet.
    """
    with engine.connect() as connection, exclusive_run(connection, "maintain", BUSY):
        with connection.begin():
            run = _Run(engine, connection, Report(detect(connection), dry_run), on_removal)
            run.inspect()
        run.take_in_late_data(on_progress)
        run.retain_for_all()
        run.retain_for_tenants()
        run.purge()
        # As long as what tenants left there takes, so after all else.
        run.take_in_states()
        run.log()
        return run.report


class _Run:
    """The work of one run."""

    def __init__(
        self, engine: Engine, connection: Connection, report: Report, on_removal: OnRemoval
    ) -> None:
        self.engine = engine
        self.connection = connection
        self.report = report
        self.on_removal = on_removal
        self.series: dict[str, TimeSeries] = {}
        self.unrefreshed: set[str] = set()
        """Rollups whose refresh policy does not run: they may not have stored the raw data yet."""
        self.retentions: dict[str, str] = {}
        """Relation to the age from which rows are to be deleted here."""

    def inspect(self) -> None:
        """Read the hypertables and rollups, and find what contradicts the models."""
        self.connection.execute(sa.text("SET LOCAL search_path = public"))
        self.series = {one.table: one for one in time_series.all_time_series(self.connection)}
        if not self.series:
            raise MaintenanceError(
                f"schema {TIMESERIES} has no table: run: alembic upgrade head (or, if it is at "
                "the head, there is nothing to maintain)"
            )
        for problem in policy_jobs.problems(self.connection):
            self.report.problems.append(problem.text)
            if problem.kind == RefreshPolicyState.kind:
                self.unrefreshed.add(problem.relation[1])
        self._read_pending_retention()

    def _read_pending_retention(self) -> None:
        """Find the retention that no job enforces, and on which database and models agree."""
        declared = Declared.on(models.metadata).of(RetentionPolicyState)
        listed = pending(self.connection, RetentionPolicyState.kind, ["public", TIMESERIES])
        found = {row["name"]: row for row in listed if row["schema"] == TIMESERIES}
        for name, one in sorted(self.series.items()):
            state = declared.get((TIMESERIES, name))
            target = policy_jobs.normal(self.connection, state).drop_after if state else None
            row = found.get(name)
            if row is None:
                if target is not None and self.report.edition != COMMUNITY:
                    self._keep(
                        f"{one.name}: expected a retention policy of {target}, found none pending"
                    )
            elif row["drop_after"] != target:
                difference = f"expected {target or 'none'}, found {row['drop_after']}"
                self._keep(f"retention policy of {one.name}: {difference}")
            elif row["scheduled"] and one.time_column is not None:
                self.retentions[name] = target

    def _keep(self, what: str) -> None:
        self.report.problems.append(
            f"{what}; its rows are kept until the database agrees with the models: run: alembic "
            "upgrade head, then: alembic check"
        )

    # --- late data ---

    def take_in_late_data(self, on_progress: Callable[[Progress], None]) -> None:
        """Refresh what the jobs left; the raw data of a rollup that fails is kept."""
        with self.connection.begin():
            rollups = late_data.rollups(self.connection)
        for rollup in rollups:
            try:
                done = late_data.take_in(
                    self.connection, rollup, dry_run=self.report.dry_run, on_progress=on_progress
                )
            except RefreshError as error:
                self.unrefreshed.add(rollup.table)
                self.report.problems.append(f"{error}; run it again")
            else:
                if done is not None:
                    self.report.refreshed.append(done)

    def take_in_states(self) -> None:
        """Write what batches left, since transactions held the rows of devices."""
        if self.report.dry_run:
            return
        with self._kept_on_error("device_state"):
            left = device_states.take_in_backlog(self.engine)
            self.report.problems += [f"device_state: {text}" for text in left.refused]
            if left.devices:
                stay = (
                    f"newest values of {count(left.devices, 'device')} stay in device_state_backlog"
                )
                self.report.problems.append(
                    f"device_state: {stay}, which takes more than {device_states.LONGEST // 60} "
                    "minutes: run it again"
                    if left.out_of_time
                    else f"device_state: {stay}, since transactions hold their rows: end those "
                    "transactions (pg_stat_activity), and run it again"
                )

    # --- for all tenants ---

    def retain_for_all(self) -> None:
        """Enforce the retention that no job of TimescaleDB enforces."""
        for name, age in self.retentions.items():
            one = self.series[name]
            why = f"older than {age}"
            with self._kept_on_error(one.name):
                before = self._moment("now() - CAST(:age AS interval)", age=age)
                if one.chunked:
                    self._drop_chunks(one, before, why)
                elif one.of_tenants:
                    with self.connection.begin():
                        tenants = time_series.tenants_in(self.connection, one)
                    for tenant_id in tenants:
                        with self._kept_on_error(f"{one.name} of tenant {tenant_id}"):
                            self._empty(one, tenant_id, before, why)
                else:
                    self._delete_older(one, before, why)

    def _drop_chunks(self, one: TimeSeries, before: datetime.datetime, why: str) -> None:
        """A chunk per transaction, so that each holds its locks only briefly."""
        with self.connection.begin():
            chunks = time_series.old_chunks(self.connection, one, before)
        rows: dict[uuid.UUID | None, int] = {}
        for chunk in chunks:
            with self.connection.begin():
                counted = time_series.count_chunk(self.connection, one, chunk)
                if not self.report.dry_run:
                    time_series.drop_chunk(self.connection, one, chunk, LOCK_TIMEOUT)
            for tenant_id, number in counted.items():
                rows[tenant_id] = rows.get(tenant_id, 0) + number
        for tenant_id, number in rows.items():
            self._removed(Removal(one.name, tenant_id, number, len(chunks), why))

    def _delete_older(self, one: TimeSeries, before: datetime.datetime, why: str) -> None:
        rows, batches = 0, 0
        if self.report.dry_run:
            with self.connection.begin():
                rows = time_series.count_older(self.connection, one, before)
        else:
            for number in time_series.delete_older(self.connection, one, before, LOCK_TIMEOUT):
                rows, batches = rows + number, batches + 1
        self._removed(Removal(one.name, None, rows, batches, why))

    # --- for single tenants ---

    def retain_for_tenants(self) -> None:
        """Enforce data_retention_policies; an invalid row is reported, and its rows are kept."""
        limits = bounds(models.metadata)
        for policy in self._policies():
            one = self.series.get(policy.relation)
            allowed = limits.get(policy.relation)
            days = policy.retention_days
            who = f"policy of {self.report.slugs[policy.tenant_id]} for {policy.relation}"
            if allowed is None or not allowed.allow(days):
                expected = allowed or "no policy for this relation"
                self.report.problems.append(
                    f"{who}: expected {expected}, found {days} days; the rows are kept: change "
                    "the row of data_retention_policies"
                )
                continue
            if one is None:  # a rollup that is a plain view has no rows of its own
                continue
            outdated = self.unrefreshed & rollups_over(models.metadata, policy.relation)
            if outdated:
                self.report.problems.append(
                    f"{who}: its rows are kept, since {', '.join(sorted(outdated))} may not have "
                    "stored them yet: fix the refresh policy first"
                )
                continue
            with self._kept_on_error(f"{who}"):
                before = self._moment("now() - make_interval(days => :days)", days=days)
                self._empty(one, policy.tenant_id, before, f"policy of {days} days")

    def _policies(self) -> Sequence[Row[Any]]:
        """As an operator: forced row-level security hides every row from the owner."""
        try:
            with acting_as(self.engine, OPERATOR) as connection:
                tenants = connection.execute(sa.text("SELECT tenant_id, slug FROM public.tenants"))
                self.report.slugs = {row.tenant_id: row.slug for row in tenants}
                return connection.execute(_POLICIES).all()
        except DBAPIError as error:
            self.report.problems.append(
                f"data_retention_policies cannot be read as {OPERATOR}: {server_message(error)}; "
                "every tenant's rows are kept: run: alembic upgrade head, as the owner"
            )
            return []

    # --- ordinary tables ---

    def purge(self) -> None:
        """Delete from tables that would grow forever."""
        for relation, (_, why) in purge.PURGED.items():
            with self._kept_on_error(relation):
                rows, transactions = 0, 0
                try:
                    if self.report.dry_run:
                        rows = purge.count(self.engine, relation)
                    else:
                        for number in purge.delete(self.engine, relation):
                            rows, transactions = rows + number, transactions + 1
                finally:
                    self._removed(Removal(relation, None, rows, transactions, why))

    def log(self) -> None:
        """Record the run in maintenance_log, unless it was a dry run."""
        if not self.report.dry_run:
            rows = sum(removal.rows for removal in self.report.removals)
            with (
                self._kept_on_error("maintenance_log"),
                acting_as(self.engine, OPERATOR) as connection,
            ):
                purge.log(connection, rows, self.report.problems)

    # --- both ---

    def _empty(
        self, one: TimeSeries, tenant_id: uuid.UUID, before: datetime.datetime, why: str
    ) -> None:
        rows, transactions = 0, 0
        try:
            if self.report.dry_run:
                with self.connection.begin():
                    for part in time_series.parts(self.connection, one, tenant_id, before):
                        rows, transactions = rows + part.rows, transactions + 1
                # Rows that the retention for all tenants would delete are not counted again.
                rows -= sum(
                    removal.rows
                    for removal in self.report.removals
                    if (removal.relation, removal.tenant_id) == (one.name, tenant_id)
                )
            else:
                note = partial(horizons.note_horizon, self.connection, one.table, tenant_id)
                for number in time_series.empty(
                    self.connection,
                    one,
                    tenant_id,
                    lock_timeout=LOCK_TIMEOUT,
                    before=before,
                    before_each=note,
                    skip_locked=True,
                ):
                    rows, transactions = rows + number, transactions + 1
        finally:
            # What was committed is reported even if the next transaction failed.
            self._removed(Removal(one.name, tenant_id, rows, transactions, why))

    def _removed(self, removal: Removal) -> None:
        if removal.rows:
            self.report.removals.append(removal)
            self.on_removal(removal)

    def _moment(self, expression: str, **values: object) -> datetime.datetime:
        with self.connection.begin():
            found: datetime.datetime = self.connection.execute(
                sa.text(f"SELECT {expression}"), values
            ).scalar_one()
        return found

    @contextmanager
    def _kept_on_error(self, what: str) -> Iterator[None]:
        """Report an error of the server, such as a lock timeout, as a problem, and continue."""
        try:
            yield
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            self.report.problems.append(
                f"{what}: {server_message(error)}; the remaining rows are kept: run it again"
            )


_POLICIES = sa.text("""
    SELECT tenant_id, relation, retention_days FROM public.data_retention_policies
     ORDER BY relation, tenant_id
""")
