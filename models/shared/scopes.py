"""Whose rows a table holds: a mapped class has exactly one scope, said by its mixin.

- ``TenantScoped``: rows of one tenant each. Key, row security, policies and grants come with it.
- ``TenantTimeSeries``: measurements of tenants, in a hypertable behind a tenant view.
- ``Catalogue``: global rows that tenants read and operators write.
- ``Private``: global rows without any grant but those that the model writes down.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column


class TenantScoped:
    """Rows of one tenant each: ``tenant_id`` first, in the key, and guarded by row security.

    Attributes:
        __app_privileges__: what fleet_app may do with the rows of its tenant; "" is nothing.
        __hidden_columns__: credentials: neither fleet_app nor fleet_operator_read selects them.
        __guarded_columns__: columns that fleet_app may read but not write.
    """

    __scope__ = "tenant"
    __app_privileges__: ClassVar[str] = "select, insert, update, delete"
    __hidden_columns__: ClassVar[Sequence[str]] = ()
    __guarded_columns__: ClassVar[Sequence[str]] = ()

    tenant_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("tenants.tenant_id"), primary_key=True, sort_order=-20
    )


class TenantTimeSeries:
    """Measurements of tenants: a hypertable in schema ``timeseries``, behind a tenant view.

    Row security excludes columnstore and rollups, so fleet_app gets no grant on the table; it
    reads and appends through a view of the same name in ``public``, made from the columns of the
    model. History is append-only for tenants. No foreign keys: they would slow the ingest and
    lock the referenced table whenever a chunk is dropped.

    Attributes:
        __app_privileges__: what fleet_app may do through the view.
        __guarded_columns__: columns that fleet_app may read but not write.
        __time_column__: the second column, behind tenant_id: both must precede every column
            that may be dropped one day (TimescaleDB checks the wrong column otherwise).
    """

    __scope__ = "tenant"
    __app_privileges__: ClassVar[str] = "select, insert"
    __guarded_columns__: ClassVar[Sequence[str]] = ()
    __time_column__: ClassVar[str] = "ts"

    tenant_id: Mapped[uuid.UUID] = mapped_column(sort_order=-20)


class Catalogue:
    """Global rows that every tenant reads and only operators write."""

    __scope__ = "global"


class Private:
    """Global rows without any grant but those that the model writes down."""

    __scope__ = "private"
