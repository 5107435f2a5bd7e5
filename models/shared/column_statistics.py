"""Which columns of series have no statistics: those on whose values an operator can fail."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    ARRAY,
    Boolean,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    Numeric,
    Table,
    Time,
    Uuid,
)
from sqlalchemy.dialects.postgresql import CIDR, INET, INTERVAL, MACADDR, MACADDR8
from sqlalchemy.dialects.postgresql.ranges import AbstractRange

from ddl import ColumnStatistics

_NEVER_FAIL = (
    *(ARRAY, Boolean, Date, DateTime, Float, Integer, Interval, Numeric, Time, Uuid),
    *(AbstractRange, CIDR, INET, INTERVAL, MACADDR, MACADDR8),
)
"""Types whose operators with an estimator take any two values. Not text: LIKE takes no pattern that
ends with a backslash. Not jsonb: a path compares no date with a moment."""


def unknown_to_the_planner(table: Table) -> Iterator[ColumnStatistics]:
    """No statistics for columns of a series by which the planner would tell of other tenants.

    It tries conditions on the values that it keeps of a column, of all tenants, and fails where
    they do. Only row-level security and barriers keep it from that, and series have neither.
    """
    names = [one.name for one in table.columns if not isinstance(one.type, _NEVER_FAIL)]
    if names:
        yield ColumnStatistics(*names, target=0)
