"""Metrics as typed columns: what a fleet asks often gets a column beside its JSON.

A declared metric is a nullable column of its hypertable. A value that the type holds exactly is
in the column alone, every other one in the JSON, which keeps what is not declared. Whoever reads
the tenant view finds all of them in the JSON, equal to what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import BigInteger, Boolean, Double, Integer, Text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import MappedColumn, mapped_column

from ddl import json_values, sql

TYPES: dict[str, Any] = {
    "double precision": Double,
    "bigint": BigInteger,
    "integer": Integer,
    "boolean": Boolean,
    "text": Text,
}
"""The types that a metric may have."""

WHOLE = ("bigint", "integer")
NUMBERS = ("double precision", *WHOLE)

NAME = r"[a-z_][a-z0-9_]{0,62}"
"""A name that is a column's as it stands."""


@dataclass(frozen=True)
class Metric:
    """One metric with a column of its own.

    Attributes:
        name: of the metric in messages and of its column.
        type: of its column, one of `TYPES`.
        unit: what the column's comment says of it.
        message_type: the messages in whose rows the column is filled; None: in all.
        comment: what it is, if the name does not say it.

    Raises:
        sqlalchemy.exc.ArgumentError: there can be no such column; the message says why.
    """

    name: str
    type: str
    unit: str | None = None
    message_type: str | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        """Reject what would only fail in a revision."""
        if not re.fullmatch(NAME, self.name):
            raise ArgumentError(
                f'metric "{self.name}": expected the name of a column (small letters, digits and '
                "_, at most 63); a metric of another name stays in the JSON"
            )
        if self.type not in TYPES:
            raise ArgumentError(
                f"metric {self.name}: expected one of the types {', '.join(TYPES)}, found "
                f'"{self.type}"'
            )

    def column(self) -> MappedColumn[Any]:
        """Its column; a nullable one without a default is added to compressed chunks, too."""
        said = [self.comment]
        if self.unit is not None:
            said.append(f"In {self.unit}.")
        if self.message_type is not None:
            said.append(f"Of messages of the type {self.message_type}.")
        what = " ".join(filter(None, said)) or "A metric of the message."
        # By its comment autogenerate knows that its values go back into the JSON before it is gone.
        comment = json_values.comment_of("metrics", what)
        return mapped_column(TYPES[self.type](), nullable=True, sort_order=1, comment=comment)


class _Column(Protocol):
    @property
    def name(self) -> str: ...

    def column(self) -> MappedColumn[Any]: ...


def add_columns(cls: type, declared: Sequence[_Column]) -> None:
    """Give the class, which is not mapped yet, a column for each metric or attribute.

    Raises:
        sqlalchemy.exc.ArgumentError: there is such a column already, or the name is SQLAlchemy's;
            the message names it.
    """
    for one in declared:
        kind = type(one).__name__.lower()
        if one.name.startswith(("__", "_sa_")):
            raise ArgumentError(
                f"{kind} {one.name}: SQLAlchemy keeps names that begin with __ or _sa_ to itself; "
                "one of such a name stays in the JSON"
            )
        if hasattr(cls, one.name):
            raise ArgumentError(
                f"{kind} {one.name}: {cls.__name__} has an attribute {one.name} already; "
                f"declare each {kind} once, and none by the name of another column"
            )
        setattr(cls, one.name, one.column())


# --- in SQL -----------------------------------------------------------------------------------


def fitting(metric: Metric, metrics: str, message_type: str) -> str:
    """The value that belongs into the column, or NULL, as an expression over the JSON."""
    value = (
        f"public.fitting_value({metrics} -> {sql.literal(metric.name)}, {sql.literal(metric.type)})"
    )
    value = f"CAST({value} AS {metric.type})"
    if metric.message_type is None:
        return value
    return f"CASE WHEN {message_type} = {sql.literal(metric.message_type)} THEN {value} END"


def filled(metric: Metric) -> str:
    """What a trigger puts into the column of ``new``: what was given, or the value in the JSON."""
    column = f"new.{sql.quoted(metric.name)}"
    return f"coalesce({column}, {fitting(metric, 'new.metrics', 'new.msg_type')})"


def without(metrics: Sequence[Metric], step: str) -> str:
    """The assignment by which a trigger takes out of the JSON what is in columns of ``new``."""
    in_columns = [
        f"case when new.{sql.quoted(one.name)} is not null then {sql.literal(one.name)} end"
        for one in metrics
    ]
    return f"new.metrics := new.metrics - array[{step}{f',{step}'.join(in_columns)}]::text[];"


def merged(metrics: Sequence[Metric], row: str = "") -> str:
    """The column ``metrics`` with the values of the others in it; they win where both have one."""
    return json_values.merged([metric.name for metric in metrics], f"{row}metrics", row)


def as_stored(name: str) -> str:
    """The name of the view beside a tenant view that shows the JSON without the columns' values."""
    return f"{name}_as_stored"


def to_store(name: str) -> str:
    """The name of the view beside a tenant view that takes many rows at the speed of the table."""
    return f"{name}_to_store"
