"""How long a tenant's measurements are kept, where that is shorter than for everybody.

``operations maintain`` carries it out. No row means the retention of the relation itself.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, MetaData
from sqlalchemy.orm import Mapped, mapped_column

from ddl import sql
from ddl.base import Declared, Key
from ddl.sql import literal
from models.shared.base import Base, TenantScoped, Timestamped, not_empty
from models.shared.time_series_checks import TIMESERIES, days


class DataRetentionPolicy(TenantScoped, Timestamped, Base):
    """After how many days one tenant's rows of one hypertable or rollup go.

    Tenants read their policies; only operators write them, for what a policy deletes is gone.
    The table's CHECK ``bounds`` follows from the models, see :func:`declare_bounds`.
    """

    __tablename__ = "data_retention_policies"
    __app_privileges__ = "select"

    relation: Mapped[str] = mapped_column(
        primary_key=True, comment="Hypertable or rollup in schema timeseries: telemetry."
    )
    retention_days: Mapped[int] = mapped_column(
        comment="Never longer than the relation keeps rows at all, never shorter than the window "
        "in which a rollup over it is refreshed: that would erase the rollup as well."
    )

    __table_args__ = (
        not_empty("relation"),
        CheckConstraint("retention_days >= 1", name="retention_days"),
        {
            "comment": "Shorter retention of single tenants; carried out by operations maintain, "
            "a chunk at a time once all of it is old enough."
        },
    )


@dataclass(frozen=True)
class Bounds:
    """Between which numbers of days a policy for one relation may lie."""

    shortest: int
    longest: int | None
    """None where the relation keeps everything."""

    def __str__(self) -> str:
        if self.longest is None:
            return f"at least {self.shortest} days"
        return f"{self.shortest} to {self.longest} days"

    def allow(self, days: int) -> bool:
        """Whether a policy of ``days`` lies between them."""
        return self.shortest <= days and (self.longest is None or days <= self.longest)


def bounds(metadata: MetaData) -> dict[str, Bounds]:
    """Relation to the bounds of its policies, for every one in which tenants have rows.

    A relation with a rollup that is refreshed from its beginning (no ``start_offset``) has none:
    whatever is deleted from it disappears from the rollup as well.
    """
    declared = Declared.on(metadata)
    found: dict[str, Bounds] = {}
    for key in sorted(_of_tenants(metadata, declared)):
        windows = [
            state.start_offset
            for rollup, state in declared.of("refresh").items()
            if rollup == key or _reads(declared, rollup, key)
        ]
        if None in windows:
            continue
        shortest = max([1, *(math.ceil(days(window)) for window in windows)])
        retention = declared.of("retention").get(key)
        longest = None if retention is None else math.floor(days(retention.drop_after))
        found[key[1]] = Bounds(shortest, longest)
    return found


def rollups_over(metadata: MetaData, relation: str) -> set[str]:
    """The rollups that read a hypertable or rollup of schema timeseries."""
    declared = Declared.on(metadata)
    source = (TIMESERIES, relation)
    return {key[1] for key in declared.of("rollup") if _reads(declared, key, source)}


def declare_bounds(metadata: MetaData) -> None:
    """Add the CHECK ``bounds`` to the table, once every series is declared."""
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


def _of_tenants(metadata: MetaData, declared: Declared) -> set[Key]:
    """Hypertables with a column tenant_id, and the rollups whose query has one."""
    tables = {
        key
        for key in declared.of("hypertable")
        if key[0] == TIMESERIES and "tenant_id" in metadata.tables[f"{key[0]}.{key[1]}"].columns
    }
    rollups = {
        key
        for key, state in declared.of("rollup").items()
        if key[0] == TIMESERIES and re.search(r"\btenant_id\b", state.definition)
    }
    return tables | rollups


def _reads(declared: Declared, rollup: Key, source: Key) -> bool:
    """Whether a rollup reads ``source``, directly or through other rollups."""
    state = declared.of("rollup").get(rollup)
    if state is None:
        return False
    names = sql.relations(state.definition, {TIMESERIES})
    others = [key for key in declared.of("rollup") if key != rollup and key[1] in names]
    return source[1] in names or any(_reads(declared, other, source) for other in others)
