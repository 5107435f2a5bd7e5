"""Deleting samples of one device, tag or endpoint, compressed or not, and their part in rollups."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import models
from database.errors import FleetSchemaError, server_message
from database.tenancy import operator_transaction
from ddl.sql import escaped, ident
from models.shared.base import TIMESERIES, TenantTimeSeries
from operations.access.accounts import operator_name
from operations.lock import exclusive_run
from operations.maintenance import late_data
from operations.maintenance.late_data import Rollup
from operations.maintenance.run import BUSY
from operations.tenants.deletion import require_tenant

assert models, "the series are those of the models"

_SUBJECTS = {"device_id": "text", "tag_id": "bigint", "endpoint_id": "uuid"}


class SamplesError(FleetSchemaError):
    """Samples cannot be deleted; the text says why, and what was done before."""


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
        return (
            f"{self.series} of {self.subject} from {self.begins:%Y-%m-%d %H:%M:%S} to "
            f"{self.ends:%Y-%m-%d %H:%M:%S} UTC"
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


def count(engine: Engine, samples: Samples) -> int:
    """How many there are.

    Raises:
        TenantError: there is no such tenant.
        SamplesError: there is no such series, or the subject cannot be one of its subjects.
    """
    with engine.connect() as connection, connection.begin():
        found: int = _execute(engine, connection, "SELECT count(*)", samples).scalar_one()
        return found


def delete(
    engine: Engine,
    samples: Samples,
    *,
    reason: str,
    actor: str | None = None,
    on_refreshed: Callable[[late_data.Refreshed], None],
) -> int:
    """Delete them, and take that into the rollups; returns how many.

    Samples and rollups are those of the owner; the audit log is written before, and stays if the
    deletion fails. Buckets that raw data no longer covers stay as they are. Only the deletion is
    one transaction: if a refresh fails, ``operations refresh`` or the next maintenance continues.

    Args:
        engine: of the database's owner.
        actor: who does this, for the audit log; by default the user of this machine.
        on_refreshed: called after each rollup.

    Raises:
        TenantError, SamplesError: as for :func:`count`.
        RefreshError: the samples are deleted, but a rollup was not refreshed.
    """
    tenant = require_tenant(engine, samples.slug)
    with engine.connect() as connection, exclusive_run(connection, "maintain", BUSY):
        with operator_transaction(
            engine,
            actor=actor or operator_name(),
            action="samples.delete",
            reason=reason,
            tenant_id=tenant.tenant_id,
            write=True,
            resource_type=samples.series,
            resource_id=str(samples),
        ):
            pass
        with connection.begin():
            # Of a compressed batch all rows may have to be rewritten.
            connection.execute(_UNLIMITED)
            deleted = _execute(engine, connection, "DELETE", samples).rowcount
            rollups = _over(late_data.rollups(connection), samples.series)
        for rollup in rollups:
            done = late_data.take_in(connection, rollup, samples.begins, samples.ends)
            if done is not None:
                on_refreshed(done)
    return deleted


def _over(rollups: list[Rollup], source: str) -> list[Rollup]:
    """Those that read the series, or a rollup that does; each after what it reads."""
    names, found = {source}, []
    for rollup in rollups:
        if rollup.source in names:
            names.add(rollup.table)
            found.append(rollup)
    return found


def _execute(
    engine: Engine, connection: Connection, verb: str, samples: Samples
) -> sa.CursorResult[Any]:
    known = series()
    if samples.series not in known:
        raise SamplesError(f"expected one of {', '.join(known)}, found {samples.series!r}")
    column, time = known[samples.series]
    tenant = require_tenant(engine, samples.slug)
    # By equality on the columns by which batches are compressed: any other condition would
    # decompress the batches of all tenants.
    statement = sa.text(
        f"{verb} FROM {ident(TIMESERIES)}.{ident(samples.series)} WHERE tenant_id = :tenant"
        f" AND {escaped(ident(column))} = CAST(:subject AS {_SUBJECTS[column]})"
        f" AND {escaped(ident(time))} >= :begins AND {escaped(ident(time))} < :ends"
    )
    values = {
        "tenant": tenant.tenant_id,
        "subject": samples.subject,
        "begins": samples.begins,
        "ends": samples.ends,
    }
    try:
        return connection.execute(statement, values)
    except DBAPIError as error:
        raise SamplesError(
            f"nothing of {samples} was deleted: {server_message(error, brief=True)}"
        ) from error


_UNLIMITED = sa.text("""
    SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true),
           set_config('lock_timeout', '30s', true), set_config('statement_timeout', '0', true)
""")
