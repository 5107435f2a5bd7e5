"""What the ingest's role must not store, whatever it writes with: it goes to quarantine.

`database.ingest` looks at each record before it is sent. The triggers here look at the rows of
every statement of fleet_ingest, also of its own SQL: the tenant exists, what the row refers to is
registered, and its moment is neither ahead nor beyond the retention of the tenant.
"""

from __future__ import annotations

import re

from sqlalchemy import Table
from sqlalchemy.exc import ArgumentError

from ddl import Declared, Trigger
from ddl.kinds.retention_policy import RetentionPolicyState
from models.shared.time_series_checks import TIMESERIES

BY_INGEST = "pg_has_role('fleet_ingest', 'USAGE') AND NOT pg_has_role('fleet_operator', 'USAGE')"
"""Whether the statement is the ingest's; the owner and operators import what they like."""


def quarantined(table: Table, time_column: str, reference: str | None) -> list[Trigger]:
    """The triggers of a hypertable that fleet_ingest writes.

    Args:
        reference: the column that says where a row comes from and what it refers to, for example
            ``device_id = device_registry.device_id``; None for rows without a tenant.

    Raises:
        sqlalchemy.exc.ArgumentError: the reference is written otherwise.
    """
    match = re.fullmatch(r"(\w+) = (\w+)\.(\w+)", reference or "_ = _._")
    if match is None:
        raise ArgumentError(
            f"hypertable {table.name}: expected a reference such as "
            f'"device_id = device_registry.device_id", found "{reference}"'
        )
    key, registry, column = match.groups() if reference else ("", "", "")
    retention = Declared.on(table.metadata).of(RetentionPolicyState)[TIMESERIES, table.name]
    arguments = (time_column, retention.drop_after, key, registry, column)
    listed = ", ".join(f"'{one}'" for one in arguments)
    # The second removes what the first has put aside; triggers fire in the order of their names.
    return [
        Trigger(
            name,
            timing="after",
            events="insert",
            function=f"{name}({listed})",
            level="statement",
            new_table="new_rows",
            when=BY_INGEST,
        )
        for name in ("quarantine_misplaced", "remove_misplaced")
    ]
