"""Deleting a tenant with all its rows, table by table; a run that was interrupted can continue."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from database.errors import server_message
from database.ingest.steps import BATCH_LOCK
from database.tenancy import OPERATOR, operator_transaction
from models.shared.base import PLATFORM_TENANT_ID
from operations.access.accounts import operator_name
from operations.lock import exclusive_run
from operations.maintenance import horizons, time_series
from operations.maintenance.time_series import TimeSeries
from operations.tenants.tenant import Tenant, TenantError, find_tenant
from operations.tenants.tenant_tables import MEMBERS, Group, deletion_order, read_tenant_tables

LOCK_TIMEOUT = "30s"
"""How long a deletion waits for a row that another session locks; the next run continues there."""


@dataclass(frozen=True)
class Step:
    """One transaction of a deletion."""

    relations: str
    number: int
    steps: int
    rows: int | None
    """None before the transaction; after it, the number of rows that it deleted."""


@dataclass(frozen=True)
class Deleted:
    """A deleted tenant."""

    tenant_id: uuid.UUID
    slug: str
    rows: dict[str, int]
    """Table to the number of rows that this run deleted, where any."""
    left_over: list[str]
    """E-mail addresses of its members who are not members of any other tenant."""


def silent(step: Step) -> None:
    """Report no progress."""


def require_tenant(engine: Engine, slug: str) -> Tenant:
    """The tenant with a slug, if it may be deleted.

    Raises:
        TenantError: there is none, or it is the platform.
    """
    tenant = find_tenant(engine, slug)
    if tenant is None:
        raise TenantError(f"no tenant has the slug {slug!r} (any more)")
    if tenant.tenant_id == PLATFORM_TENANT_ID:
        raise TenantError(f"{slug} is the platform itself, which cannot be deleted")
    return tenant


def delete_tenant(
    engine: Engine,
    slug: str,
    *,
    actor: str | None = None,
    on_step: Callable[[Step], None] = silent,
) -> Deleted:
    """Delete a tenant with all its rows, or continue a deletion that was interrupted.

    The tenant is marked as deleted first, so that its members cannot sign in any more. Then its
    rows are deleted, each table in a transaction of its own, by plain equality on tenant_id;
    those of hypertables and rollups as the owner, a chunk at a time. No rollup is refreshed;
    what rollups have of other tenants stays in later refreshes. The members and the
    tenant itself go last and together, since a run that continues needs them. Accounts belong to
    no tenant and stay.

    Args:
        engine: of the database's owner.
        actor: who does this, for the audit log; by default the user of this machine.
        on_step: called before and after each transaction.

    Raises:
        TenantError: no such tenant, the platform, another session deletes it, a table cannot be
            emptied, or the server rejected a statement.
    """
    tenant = require_tenant(engine, slug)
    busy = TenantError(
        f"the tenant {tenant.slug} is being deleted by another session: wait for it, and run the "
        "command again if it does not finish"
    )
    what = f"delete tenant {tenant.tenant_id}"
    with engine.connect() as connection:
        # Before the lock, which only the owner may take: this says so of any other login.
        with connection.begin():
            groups = _order(connection)
            listed = [one for one in time_series.all_time_series(connection) if one.of_tenants]
        with exclusive_run(connection, what, busy):
            deletion = _Deletion(engine, connection, tenant, actor or operator_name(), on_step)
            return deletion.run(listed, groups)


def _order(connection: Connection) -> list[Group]:
    tables = read_tenant_tables(connection)
    closed = [table.name for table in tables if not table.deletable and not table.by_owner]
    if closed:
        raise TenantError(
            f"{OPERATOR} cannot delete from {', '.join(closed)} (no grant, or row-level security "
            "without a policy for it); nothing was deleted: add operator_access() to the model"
        )
    if foreign := [table.name for table in tables if not table.deletable]:
        raise TenantError(
            f"the connected role does not own {', '.join(foreign)}, which only the owner can "
            "empty; nothing was deleted: set MIGRATION_DATABASE_URL to the owner's URL"
        )
    return deletion_order([table for table in tables if not table.by_owner])


class _Deletion:
    """The transactions of one run."""

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        tenant: Tenant,
        actor: str,
        on_step: Callable[[Step], None],
    ) -> None:
        self.engine = engine
        self.connection = connection
        self.tenant = tenant
        self.actor = actor
        self.on_step = on_step
        self.rows: Counter[str] = Counter()

    def run(self, listed: list[TimeSeries], groups: list[Group]) -> Deleted:
        """Mark the tenant; empty raw data, rollups, then each group of tables; finish."""
        with self._audited("tenant.delete") as connection:
            self._mark(connection)
        members = [number for number, group in enumerate(groups) if _holds_members(group)]
        single = groups[: members[0]] if members else groups
        steps = 1 + len(listed) + len(single) + 1
        with self._step("batches being ingested", 1, steps):
            self._let_batches_end()
        for number, one in enumerate(listed, start=2):
            with self._step(one.name, number, steps):
                self._empty_time_series(one)
        for number, group in enumerate(single, start=len(listed) + 2):
            with self._step(_names(group), number, steps), self.connection.begin():
                self.connection.execute(_ENTER, {"role": OPERATOR, "wait": LOCK_TIMEOUT})
                self._empty(self.connection, group)
        last = _names([table for group in groups[len(single) :] for table in group])
        with (
            self._step(f"{last}, tenants" if last else "tenants", steps, steps),
            self._audited("tenant.delete.finish") as connection,
        ):
            left_over = self._finish(connection, listed, groups)
        return Deleted(self.tenant.tenant_id, self.tenant.slug, dict(self.rows), left_over)

    @contextmanager
    def _audited(self, action: str) -> Iterator[Connection]:
        with operator_transaction(
            self.engine,
            actor=self.actor,
            action=action,
            reason=f"delete the tenant {self.tenant.slug} with all its rows",
            tenant_id=self.tenant.tenant_id,
            write=True,
            resource_type="tenant",
            resource_id=self.tenant.slug,
        ) as connection:
            connection.execute(_ENTER, {"role": OPERATOR, "wait": LOCK_TIMEOUT})
            yield connection

    @contextmanager
    def _step(self, names: str, number: int, steps: int) -> Iterator[None]:
        self.on_step(Step(names, number, steps, None))
        before = self.rows.total()
        try:
            yield
        except DBAPIError as error:
            raise TenantError(
                f"deleting {self.tenant.slug} stopped at {names} (step {number} of {steps}): "
                f"{server_message(error)}; run the command again to continue from there"
            ) from error
        self.on_step(Step(names, number, steps, self.rows.total() - before))

    def _mark(self, connection: Connection) -> None:
        """Committed before the first row is deleted: from here on there is no way back."""
        self._one_row(
            connection,
            "UPDATE public.tenants SET status = 'deleted',"
            " deleted_at = coalesce(deleted_at, now()) WHERE tenant_id = :tenant",
        )

    def _let_batches_end(self) -> None:
        """Wait for batches of telemetry that began before the tenant was marked."""
        alone = f"SELECT pg_advisory_xact_lock({BATCH_LOCK.format(':tenant')})"
        with self.connection.begin():
            self.connection.execute(_WAIT, {"wait": LOCK_TIMEOUT})
            self.connection.execute(sa.text(alone), {"tenant": str(self.tenant.tenant_id)})

    def _empty_time_series(self, one: TimeSeries) -> None:
        """As the owner, on the connection of this run, a transaction per chunk.

        Whatever raw data is gone, the rollups keep no row of this tenant, nor store a new one.
        """
        tenant_id = self.tenant.tenant_id

        def note(_: str) -> None:
            horizons.note_horizon(self.connection, one.table, tenant_id, "infinity")

        for rows in time_series.empty(
            self.connection,
            one,
            tenant_id,
            lock_timeout=LOCK_TIMEOUT,
            before_each=note if one.rollup else time_series.silent,
        ):
            if rows:
                self.rows[one.name] += rows

    def _empty(self, connection: Connection, group: Group) -> None:
        """Delete the tenant's rows from each table of the group, in one statement."""
        values = {"tenant": self.tenant.tenant_id}
        deletions = [f"DELETE FROM {table.sql} WHERE tenant_id = :tenant" for table in group]
        if len(group) == 1:
            counts = [connection.execute(sa.text(deletions[0]), values).rowcount]
        else:
            # Each part sees the state before the statement; NO ACTION keys are checked at its
            # end, when the rows of the whole cycle are gone.
            parts = ", ".join(f"d{n} AS ({d} RETURNING 1)" for n, d in enumerate(deletions))
            counted = ", ".join(f"(SELECT count(*) FROM d{n})" for n in range(len(group)))
            statement = sa.text(f"WITH {parts} SELECT {counted}")
            counts = list(connection.execute(statement, values).one())
        for table, count in zip(group, counts, strict=True):
            if count:
                self.rows[table.name] += count

    def _finish(
        self, connection: Connection, listed: list[TimeSeries], groups: list[Group]
    ) -> list[str]:
        """Delete the tenant, its members, and what was written in the meantime; all or nothing."""
        # Foreign keys need KEY SHARE on this row: from here on no rows are inserted for the tenant.
        connection.execute(
            sa.text("SELECT FROM public.tenants WHERE tenant_id = :tenant FOR UPDATE"),
            {"tenant": self.tenant.tenant_id},
        )
        left_over = list(connection.scalars(_LEFT_OVER, {"tenant": self.tenant.tenant_id}))
        # Hypertables have no foreign keys: this deletes what was ingested or refreshed meanwhile.
        for one in listed:
            self._empty_time_series(one)
        with self.connection.begin():
            horizons.forget_horizons(self.connection, self.tenant.tenant_id)
        for group in groups:
            self._empty(connection, group)
        self._one_row(connection, "DELETE FROM public.tenants WHERE tenant_id = :tenant")
        self.rows["tenants"] = 1
        return left_over

    def _one_row(self, connection: Connection, statement: str) -> None:
        values = {"tenant": self.tenant.tenant_id}
        if (changed := connection.execute(sa.text(statement), values).rowcount) != 1:
            raise TenantError(
                f"tenants: expected one row of {self.tenant.slug}, found {changed}: it was "
                f"deleted by another session, or {OPERATOR} does not see it"
            )


_WAIT = sa.text("SELECT set_config('lock_timeout', :wait, true)")
_ENTER = sa.text("""
    SELECT set_config('role', :role, true), set_config('lock_timeout', :wait, true),
           set_config('statement_timeout', '0', true)
""")
_LEFT_OVER = sa.text(f"""
    SELECT u.email FROM public.{MEMBERS} m JOIN public.users u ON u.id = m.user_id
     WHERE m.tenant_id = :tenant
       AND NOT EXISTS (SELECT FROM public.{MEMBERS} o
                        WHERE o.user_id = m.user_id AND o.tenant_id <> m.tenant_id)
     ORDER BY u.email
""")


def _holds_members(group: Group) -> bool:
    return any(table.table == MEMBERS for table in group)


def _names(group: Group) -> str:
    return ", ".join(table.name for table in group)
