"""Units of measure."""

from __future__ import annotations

from sqlalchemy import Identity, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import Base, Catalogue, Timestamped, not_empty


class UnitOfMeasure(Catalogue, Timestamped, Base):
    """A unit such as degree Celsius."""

    __tablename__ = "units_of_measure"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(comment="Identifies the unit in the reference data.")
    symbol: Mapped[str] = mapped_column(comment="Shown after a value; not unique.")
    category: Mapped[str] = mapped_column(comment="Heading such as Temperature or Pressure.")

    __table_args__ = (
        UniqueConstraint("name"),
        Index(None, "category"),
        not_empty("name"),
        not_empty("category"),
        {"comment": "Catalogue of units of measure."},
    )
