"""Retention policies of single tenants, shorter than those of the hypertables and rollups.

``operations maintain`` applies them. Without a row, the policy of the relation itself applies.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, MetaData
from sqlalchemy.orm import Mapped, mapped_column

from ddl import NamesRelations, sql
from ddl.base import Declared, Key
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.rollups import RollupState
from ddl.sql import literal
from models.shared.base import Base, TenantScoped, Timestamped, access, not_empty
from models.shared.time_series_checks import TIMESERIES, days


class DataRetentionPolicy(TenantScoped, Timestamped, Base):
    """After how many days the rows of one tenant in one hypertable or rollup are deleted.

    Tenants read their policies; only operators write them, since deleted rows cannot be restored.
    The CHECK ``bounds`` is derived from the models, see :func:`declare_bounds`.
    """

    __tablename__ = "data_retention_policies"
    __app_privileges__ = "select"

    relation: Mapped[str] = mapped_column(
        primary_key=True, comment="Hypertable or rollup in schema timeseries, e.g. telemetry."
    )
    retention_days: Mapped[int] = mapped_column(
        comment="At most the retention of the relation itself, and at least as long as most "
        "messages are late: afterwards the buckets of rollups stay as they are."
    )

    __table_args__ = (
        not_empty("relation"),
        NamesRelations("relation", schema=TIMESERIES, role="fleet_operator"),
        *access("fleet_ingest", "select (tenant_id, relation, retention_days)"),
        CheckConstraint("retention_days >= 1", name="retention_days"),
        {
            "comment": "Shorter retention for single tenants, applied by operations maintain to "
            "each chunk as soon as the whole chunk is old enough."
        },
    )


@dataclass(frozen=True)
class Bounds:
    """The range of days that a policy for one relation may have."""

    shortest: int
    longest: int | None
    """None if the relation has no retention policy."""

    def __str__(self) -> str:
        if self.longest is None:
            return f"at least {self.shortest} days"
        return f"{self.shortest} to {self.longest} days"

    def allow(self, days: int) -> bool:
        """Whether a policy of ``days`` is within the range."""
        return self.shortest <= days and (self.longest is None or days <= self.longest)


def bounds(metadata: MetaData) -> dict[str, Bounds]:
    """Relation to the bounds of its policies, for every relation in which tenants have rows."""
    declared = Declared.on(metadata)
    found: dict[str, Bounds] = {}
    for key in sorted(_of_tenants(metadata, declared)):
        delays = [
            _longest_delay(state.definition)
            for rollup, state in declared.of(RollupState).items()
            if rollup == key or _reads(declared, rollup, key)
        ]
        shortest = max([1, *delays])
        retention = declared.of(RetentionPolicyState).get(key)
        longest = None if retention is None else math.floor(days(retention.drop_after))
        found[key[1]] = Bounds(shortest, longest)
    return found


def rollups_over(metadata: MetaData, relation: str) -> set[str]:
    """The rollups that read a hypertable or rollup of schema timeseries."""
    declared = Declared.on(metadata)
    source = (TIMESERIES, relation)
    return {key[1] for key in declared.of(RollupState) if _reads(declared, key, source)}


def declare_bounds(metadata: MetaData) -> None:
    """Add the CHECK ``bounds`` to the table, after all hypertables and rollups are declared."""
    cases = []
    for relation, limits in bounds(metadata).items():
        condition = f"retention_days >= {limits.shortest}"
        if limits.longest is not None:
            condition = f"retention_days BETWEEN {limits.shortest} AND {limits.longest}"
        cases.append(f"WHEN {literal(relation)} THEN {condition}")
    listed = " ".join([*cases, "ELSE false"])
    table = metadata.tables[DataRetentionPolicy.__tablename__]
    text = f"CASE relation {listed} END" if cases else "false"
    table.append_constraint(CheckConstraint(text, name="bounds"))


def _longest_delay(definition: str) -> int:
    """How many days old a message can be that a rollup by this query still takes in for sure."""
    widths = re.findall(r"time_bucket\s*\(\s*'([^']+)'", definition)
    longest = max(days(width) for width in widths)
    return next(found for width, found in _DELAYS.items() if longest >= days(width))


_DELAYS = {"1 day": 7, "1 hour": 3, "0 minutes": 1}
"""Width of a bucket, or more, to days."""


def _of_tenants(metadata: MetaData, declared: Declared) -> set[Key]:
    """Hypertables with a column tenant_id, and the rollups whose query has one."""
    tables = {
        key
        for key in declared.of(HypertableState)
        if key[0] == TIMESERIES and "tenant_id" in metadata.tables[f"{key[0]}.{key[1]}"].columns
    }
    rollups = {
        key
        for key, state in declared.of(RollupState).items()
        if key[0] == TIMESERIES and re.search(r"\btenant_id\b", state.definition)
    }
    return tables | rollups


def _reads(declared: Declared, rollup: Key, source: Key) -> bool:
    """Whether a rollup reads ``source``, directly or through other rollups."""
    state = declared.of(RollupState).get(rollup)
    if state is None:
        return False
    read = sql.relations(state.definition, {TIMESERIES})
    others = [key for key in declared.of(RollupState) if key != rollup and key in read]
    return source in read or any(_reads(declared, other, source) for other in others)
