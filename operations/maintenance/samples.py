"""Deleting and correcting samples of a device, tag or endpoint, and their part in rollups."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import models
from database.errors import FleetSchemaError, server_message
from database.tenancy import operator_transaction
from ddl.sql import escaped, ident
from models.shared.base import TIMESERIES, TenantTimeSeries
from operations import text
from operations.access.accounts import operator_name
from operations.lock import exclusive_run
from operations.maintenance import late_data
from operations.maintenance.corrections import MESSAGES, Correction
from operations.maintenance.corrections import change as change_of
from operations.maintenance.device_states import read_anew, take_in_backlog, unfounded
from operations.maintenance.late_data import Rollup
from operations.maintenance.run import BUSY
from operations.tenants.deletion import require_tenant

assert models, "the series are those of the models"

_SUBJECTS = {"device_id": "text", "tag_id": "bigint", "endpoint_id": "uuid"}


class SamplesError(FleetSchemaError):
    """Samples cannot be deleted or corrected; the text says why, and what was done before."""


@dataclass(frozen=True)
class Samples:
    """Samples of one device, tag or endpoint of a tenant, in a range of time."""

    slug: str
    series: str
    subject: str
    begins: datetime.datetime
    ends: datetime.datetime
    """Not included."""

    def __str__(self) -> str:
        begins, ends = (one.astimezone(datetime.UTC) for one in (self.begins, self.ends))
        return (
            f"{self.series} of {self.subject} from {begins:%Y-%m-%d %H:%M:%S} to "
            f"{ends:%Y-%m-%d %H:%M:%S} UTC"
        )


def series() -> dict[str, tuple[str, str]]:
    """The series whose samples can be deleted: name to its column of subjects and that of time."""
    found = {}
    for cls in TenantTimeSeries.__subclasses__():
        table = cls.__table__  # type: ignore[attr-defined]
        columns = [one.name for one in table.primary_key.columns if one.name in _SUBJECTS]
        if columns:
            found[table.name] = columns[0], cls.__time_column__
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Preview:
    """What a correction would change."""

    samples: int
    """How many there are in the range."""
    corrected: int
    """How many of them have another value after it."""
    before: tuple[Decimal | None, Decimal | None]
    after: tuple[Decimal | None, Decimal | None]
    """The lowest and highest of their numbers."""


def count(engine: Engine, samples: Samples) -> int:
    """How many there are.

    Raises:
        TenantError: there is no such tenant.
        SamplesError: there is no such series, or the subject cannot be one of its subjects.
    """
    chosen = _Chosen.of(engine, samples)
    with engine.connect() as connection, connection.begin():
        found: int = chosen.execute(
            connection, "SELECT count(*) FROM {table} WHERE {where}"
        ).scalar_one()
        return found


def lasting(engine: Engine, samples: Samples) -> dict[str, int]:
    """Rollup to how many of its rows in the range rest on samples that are there no longer.

    Retention deleted those, so neither deleting nor correcting samples changes the rows.

    Raises:
        TenantError, SamplesError: as for :func:`count`.
    """
    chosen = _Chosen.of(engine, samples)
    only = {"tenant_id": chosen.tenant_id, chosen.column: samples.subject}
    found = {}
    with engine.connect() as connection, connection.begin() as transaction:
        for rollup in _over(late_data.rollups(connection), samples.series):
            late_data.note_dropped(connection, rollup)
            begins, ends = samples.begins.isoformat(), samples.ends.isoformat()
            if rows := late_data.extent(connection, rollup, begins, ends, **only).stay:
                found[rollup.name] = rows
        transaction.rollback()
    return found


def preview(engine: Engine, samples: Samples, correction: Correction) -> Preview:
    """What :func:`correct` would change; nothing is changed.

    Raises:
        TenantError, SamplesError: as for :func:`count`.
        CorrectionError: the series has no such values.
    """
    chosen = _Chosen.of(engine, samples)
    change = change_of(samples.series, correction)
    number = "CASE jsonb_typeof(c.{0}) WHEN 'number' THEN CAST(c.{0} AS numeric) END"
    before, after = number.format("old"), number.format("new")
    query = f"""
        SELECT count(*), min({before}), max({before}), min({after}), max({after})
          FROM (SELECT {change.old} AS old, {change.new} AS new
                  FROM {{table}} WHERE {{where}} AND {change.applies}) c"""
    with engine.connect() as connection, connection.begin():
        row: Any = chosen.execute(connection, query, change.parameters).one()
    return Preview(count(engine, samples), row[0], (row[1], row[2]), (row[3], row[4]))


def delete(
    engine: Engine,
    samples: Samples,
    *,
    reason: str,
    actor: str | None = None,
    on_refreshed: Callable[[late_data.Refreshed], None],
) -> int:
    """Delete them, and take that into rollups and the state of the device; returns how many.

    Samples and rollups are those of the owner; the audit log is written before, and stays if the
    deletion fails. Buckets that raw data no longer covers stay as they are. Only the deletion is
    one transaction: if a refresh fails, ``operations refresh`` or the next maintenance continues.

    Args:
        engine: of the database's owner.
        actor: who does this, for the audit log; by default the user of this machine.
        on_refreshed: called after each rollup.

    Raises:
        TenantError, SamplesError: as for :func:`count`; or the samples are deleted, but a rollup
            was not refreshed.
    """
    statement = "DELETE FROM {table} WHERE {where}"
    what = str(samples)
    return _carry_out(engine, samples, "delete", what, statement, {}, reason, actor, on_refreshed)


def correct(
    engine: Engine,
    samples: Samples,
    correction: Correction,
    *,
    reason: str,
    actor: str | None = None,
    on_refreshed: Callable[[late_data.Refreshed], None],
) -> int:
    """Correct their values, in the same way as :func:`delete`; returns how many changed.

    A correction by a factor that is made twice counts twice.

    Raises:
        TenantError, SamplesError: as for :func:`count`; or a result fits no column; or the samples
            are corrected, but a rollup was not refreshed.
        CorrectionError: the series has no such values.
    """
    change = change_of(samples.series, correction)
    statement = f"UPDATE {{table}} SET {change.assignments} WHERE {{where}} AND {change.applies}"
    return _carry_out(
        engine,
        samples,
        "correct",
        f"{samples}: {correction}",
        statement,
        change.parameters,
        reason,
        actor,
        on_refreshed,
    )


def _carry_out(
    engine: Engine,
    samples: Samples,
    action: str,
    what: str,
    statement: str,
    parameters: dict[str, Any],
    reason: str,
    actor: str | None,
    on_refreshed: Callable[[late_data.Refreshed], None],
) -> int:
    chosen = _Chosen.of(engine, samples)
    with engine.connect() as connection, exclusive_run(connection, "maintain", BUSY):
        with operator_transaction(
            engine,
            actor=actor or operator_name(),
            action=f"samples.{action}",
            reason=reason,
            tenant_id=chosen.tenant_id,
            write=True,
            resource_type=samples.series,
            resource_id=what,
        ):
            pass
        try:
            if samples.series == MESSAGES:
                take_in_backlog(engine, tenant_id=chosen.tenant_id)
            with connection.begin():
                # Of a compressed batch all rows may have to be rewritten.
                connection.execute(_UNLIMITED)
                changed = _changed(connection, chosen, statement, parameters)
                rollups = _over(late_data.rollups(connection), samples.series)
        except KeyboardInterrupt:
            raise SamplesError(f"interrupted: nothing of {samples} was changed") from None
        try:
            for rollup in rollups:
                done = late_data.take_in(connection, rollup, samples.begins, samples.ends)
                if done is not None:
                    on_refreshed(done)
        except (late_data.RefreshError, KeyboardInterrupt) as error:
            raise SamplesError(
                f"{action} of {text.count(changed, 'sample')} is committed, but not in all rollups "
                f"({str(error) or 'interrupted'}): run: python -m operations refresh "
                f"{samples.series} (or wait for the next maintenance)"
            ) from error
    return changed


def _changed(
    connection: Connection, chosen: _Chosen, statement: str, parameters: dict[str, Any]
) -> int:
    """Carry out the statement, and let the state of the device follow; returns how many changed."""
    if chosen.samples.series != MESSAGES:
        return chosen.execute(connection, statement, parameters).rowcount
    samples = chosen.samples
    of = chosen.tenant_id, samples.subject, samples.begins, samples.ends
    before = unfounded(connection, *of)
    changed = chosen.execute(connection, statement, parameters).rowcount
    if changed:
        read_anew(connection, *of, metric=parameters.get("metric"), before=before)
    return changed


def _over(rollups: list[Rollup], source: str) -> list[Rollup]:
    """Those that read the series, or a rollup that does; each after what it reads."""
    names, found = {source}, []
    for rollup in rollups:
        if rollup.source in names:
            names.add(rollup.table)
            found.append(rollup)
    return found


@dataclass(frozen=True)
class _Chosen:
    """The rows of samples, in SQL."""

    samples: Samples
    tenant_id: str
    column: str
    time: str

    @classmethod
    def of(cls, engine: Engine, samples: Samples) -> _Chosen:
        known = series()
        if samples.series not in known:
            raise SamplesError(f"expected one of {', '.join(known)}, found {samples.series!r}")
        tenant = require_tenant(engine, samples.slug)
        return cls(samples, str(tenant.tenant_id), *known[samples.series])

    def execute(
        self, connection: Connection, statement: str, parameters: dict[str, Any] | None = None
    ) -> sa.CursorResult[Any]:
        """Carry out a statement with ``{table}`` and ``{where}`` in it."""
        samples, column, time = self.samples, ident(self.column), escaped(ident(self.time))
        # By equality on the columns by which batches are compressed: any other condition would
        # decompress the batches of all tenants.
        kind = _SUBJECTS[self.column]
        where = (
            f"tenant_id = :tenant AND {escaped(column)} = CAST(:subject AS {kind})"
            f" AND {time} >= :begins AND {time} < :ends"
        )
        table = f"{ident(TIMESERIES)}.{ident(samples.series)}"
        values = {
            "tenant": self.tenant_id,
            "subject": samples.subject,
            "begins": samples.begins,
            "ends": samples.ends,
            **(parameters or {}),
        }
        query = statement.replace("{table}", table).replace("{where}", where)
        try:
            return connection.execute(sa.text(query), values)
        except DBAPIError as error:
            raise SamplesError(
                f"nothing of {samples} was changed: {server_message(error, brief=True)}"
            ) from error


_UNLIMITED = sa.text("""
    SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true),
           set_config('lock_timeout', '30s', true), set_config('statement_timeout', '0', true)
""")
