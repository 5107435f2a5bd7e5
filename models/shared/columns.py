"""Columns of many tables, server defaults, and the ids of the platform's own rows."""

from __future__ import annotations

import datetime
import uuid
from typing import Annotated, ClassVar, TypeAlias

from sqlalchemy import FetchedValue, text
from sqlalchemy.orm import Mapped, mapped_column

PLATFORM_TENANT_ID = uuid.UUID(int=0)
"""The platform as a tenant: it owns the built-in rows, and what belongs to no customer."""

SYSTEM_USER_ID = uuid.UUID(int=0)
"""The account that the platform acts as."""

NOW = text("now()")
UUID7 = text("uuid7()")
TRUE = text("true")
FALSE = text("false")
ZERO = text("0")
EMPTY_OBJECT = text("'{}'::jsonb")
EMPTY_ARRAY = text("'{}'")

BigInt: TypeAlias = Annotated[int, "bigint"]
"""For counters that may exceed 2^31: ``Mapped[BigInt]``."""


class Identified:
    """A time-ordered id, so that new rows are close together in the index."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7, sort_order=-10)


class Timestamped:
    """When a row was created and last changed; for every table whose rows change."""

    __unless_now__: ClassVar[bool] = False
    """Spare the trigger where a statement sets ``updated_at`` to now() itself: it takes 3 µs."""

    created_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW, sort_order=90)
    updated_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, server_onupdate=FetchedValue(), sort_order=91
    )
