"""Attributes as generated columns: what questions group and filter by, out of a table's JSON.

The JSON stays as it is; the server computes the column from it. A value of another
type than declared is NULL there, never an error, so nothing that was accepted is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Computed
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import MappedColumn, mapped_column

from ddl import sql
from models.shared.metrics import NAME, TYPES

_VALUES = {
    "text": "metadata ->> {name}",
    "boolean": (
        "CASE WHEN jsonb_typeof(metadata -> {name}) = 'boolean'"
        " THEN (metadata -> {name})::boolean END"
    ),
    "double precision": (
        "CASE WHEN jsonb_typeof(metadata -> {name}) = 'number'"
        " THEN CASE WHEN (metadata -> {name})::numeric = 0"
        " OR abs((metadata -> {name})::numeric) BETWEEN 1e-300 AND 1e300"
        " THEN (metadata -> {name})::double precision END END"
    ),
}
for _type, _bits in (("integer", 31), ("bigint", 63)):
    _VALUES[_type] = (
        "CASE WHEN jsonb_typeof(metadata -> {name}) = 'number'"
        " THEN CASE WHEN (metadata -> {name})::numeric = trunc((metadata -> {name})::numeric)"
        f" AND (metadata -> {{name}})::numeric BETWEEN -{2**_bits} AND {2**_bits - 1}"
        f" THEN (metadata -> {{name}})::{_type} END END"
    )


@dataclass(frozen=True)
class Attribute:
    """One attribute with a generated column of its own.

    Attributes:
        name: in the column ``metadata``, and of the new column.
        type: of the column, one of `models.shared.metrics.TYPES`.
        comment: what it is, if the name does not say it.

    Raises:
        sqlalchemy.exc.ArgumentError: there can be no such column; the message says why.
    """

    name: str
    type: str = "text"
    comment: str | None = None

    def __post_init__(self) -> None:
        """Reject what would only fail in a revision."""
        if not re.fullmatch(NAME, self.name):
            raise ArgumentError(
                f'attribute "{self.name}": expected the name of a column (small letters, digits '
                "and _, at most 63); an attribute of another name stays in metadata"
            )
        if self.type not in TYPES:
            raise ArgumentError(
                f"attribute {self.name}: expected one of the types {', '.join(TYPES)}, found "
                f'"{self.type}"'
            )

    def column(self) -> MappedColumn[Any]:
        """Its column, which the server computes and stores."""
        value = _VALUES[self.type].format(name=sql.literal(self.name))
        comment = f"{self.comment or 'An attribute of the device.'} Computed from metadata."
        return mapped_column(
            TYPES[self.type](),
            Computed(value, persisted=True),
            nullable=True,
            sort_order=1,
            comment=comment,
        )
