"""Rollups (continuous aggregates) over hypertables, and their tenant views.

Tenants have no grant on a rollup; they read its tenant view.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ddl import Columnstore, Declared, KeptHistory, RefreshPolicy, Rollup, sql
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.select import parsed
from models.shared.access import tenant_view
from models.shared.base import TIMESERIES, Base
from models.shared.time_series_checks import check_rollup

MEASURABLE = "abs({}) <= 1e100"
"""The condition for values that can be averaged. Larger values overflow a double, infinity and NaN
spread to the result; and the refresh, one statement for all tenants, would fail."""


def platform_rollup(
    name: str,
    definition: str,
    *,
    refresh: RefreshPolicy,
    comment: str,
    columnstore: Columnstore | None = None,
    retention: str | None = None,
    indexes: Sequence[str] | None = None,
    tenants: bool = False,
) -> None:
    """Declare a rollup in ``timeseries`` that only operators read.

    Args:
        indexes: lists of columns, those of a tenant's rows with ``tenant_id`` first; by default
            all that it groups by, and the bucket (of a tenant), by which refreshes find rows.
        tenants: whether its rows belong to tenants.

    Raises:
        sqlalchemy.exc.ArgumentError: it would lose history or mix tenants; the message says what to
            write.
    """
    check_rollup(
        name,
        refresh=refresh,
        columnstore=columnstore,
        retention=retention,
        indexes=indexes or (),
        tenants=tenants,
    )
    Rollup(
        name,
        definition,
        schema=TIMESERIES,
        refresh=refresh,
        columnstore=columnstore,
        retention=retention,
        history=_history(definition, tenants=tenants),
        indexes=_indexes(definition, tenants=tenants) if indexes is None else indexes,
        grants={"fleet_operator": "select", "fleet_operator_read": "select"},
        comment=comment,
        metadata=Base.metadata,
    )


def _indexes(definition: str, *, tenants: bool) -> list[str]:
    """All that it groups by, newest first, and the buckets of a tenant.

    A refresh replaces a few buckets of a large chunk. It asks for the bucket alone, and finds it by
    the second index: that is small, since it has each bucket of a tenant once.
    """
    first = ["tenant_id"] if tenants else []
    keys = [one for one in parsed(definition).keys if one not in (*first, "bucket")]
    # The same list where it groups by nothing else.
    return sorted({", ".join([*first, *more, "bucket DESC"]) for more in ([], keys)})


def _history(definition: str, *, tenants: bool) -> KeptHistory:
    """A refresh leaves the buckets that the raw data no longer covers as they are."""
    # TimescaleDB lets a rollup read one hypertable or rollup, and other tables only beside it.
    source = next(key for key in sql.relations(definition, {TIMESERIES}) if key[0] == TIMESERIES)
    retention = Declared.on(Base.metadata).of(RetentionPolicyState).get(source)
    width = re.search(r"time_bucket\s*\(\s*'([^']+)'", definition)
    return KeptHistory(
        "keep_history",
        "raw_data_covers",
        source[1],
        retention.drop_after if retention else None,
        width[1] if width else "",
        tuple(parsed(definition).keys),
        tenant="tenant_id" if tenants else None,
    )


def tenant_rollup(
    name: str,
    definition: str,
    *,
    columns: Sequence[str],
    refresh: RefreshPolicy,
    comment: str,
    columnstore: Columnstore | None = None,
    retention: str | None = None,
    indexes: Sequence[str] | None = None,
) -> None:
    """Declare a rollup in ``timeseries`` and its tenant view in ``public``.

    The view is read-only: through an INSERT a tenant could forge history.

    Raises:
        sqlalchemy.exc.ArgumentError: it would lose history or mix tenants; the message says what to
            write.
    """
    platform_rollup(
        name,
        definition,
        refresh=refresh,
        comment=comment,
        columnstore=columnstore,
        retention=retention,
        indexes=indexes,
        tenants=True,
    )
    tenant_view(
        name,
        columns,
        privileges="select",
        comment=comment,
        rollup=True,
        metadata=Base.metadata,
    )
