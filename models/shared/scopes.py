"""Scopes: whose rows a table holds. Each mapped class has exactly one, given by its mixin.

- ``TenantScoped``: rows of one tenant each, with key, row-level security, policies and grants.
- ``TenantTimeSeries``: measurements of tenants, in a hypertable behind a tenant view.
- ``Catalogue``: global rows that tenants read and operators write.
- ``Private``: global rows, with only those grants that the model declares.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.attributes import Attribute
from models.shared.ingest_views import Correction
from models.shared.judgement import Expected, Registered
from models.shared.metrics import Metric


class TenantScoped:
    """Rows of one tenant each: ``tenant_id`` first in the key, row-level security, grants.

    Attributes:
        __app_privileges__: privileges of fleet_app on the rows of its tenant; "" for none.
        __hidden_columns__: credentials, which fleet_app and fleet_operator_read cannot select.
        __guarded_columns__: columns that fleet_app can read but not write.
        __by_functions__: whether functions with the rights of their owner see and write all rows.
        __attributes__: what has a generated column of its own, out of the column ``metadata``.
    """

    __scope__ = "tenant"
    __app_privileges__: ClassVar[str] = "select, insert, update, delete"
    __hidden_columns__: ClassVar[Sequence[str]] = ()
    __by_functions__: ClassVar[bool] = False
    __attributes__: ClassVar[Sequence[Attribute]] = ()
    __guarded_columns__: ClassVar[Sequence[str]] = ()

    tenant_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("tenants.tenant_id"), primary_key=True, sort_order=-20
    )


class TenantTimeSeries:
    """Measurements of tenants: a hypertable in schema ``timeseries``, behind a tenant view.

    TimescaleDB allows neither columnstore nor rollups with row-level security. So fleet_app has no
    grant on the table; it reads and appends through a view of the same name in ``public`` with the
    columns of the model. History is append-only for tenants. There are no foreign keys: they would
    slow the ingest and lock the referenced table whenever a chunk is dropped. Nobody stores moments
    more than a day ahead, which retention would never reach.

    Attributes:
        __app_privileges__: privileges of fleet_app on the view.
        __guarded_columns__: columns that fleet_app can read but not write.
        __metrics__: what has a column of its own, beside the column ``metrics``.
        __ingested__: whether fleet_ingest may insert, with SQL of its own by the view in schema
            ``ingest``; False for what devices do not send.
        __registered__: what rows that fleet_ingest writes refer to.
        __expected__: what fields of them take, as far as columns do not say it.
        __correction__: how a later row changes an earlier one with its key.
        __time_column__: the second column, after tenant_id. Both must come before every column that
            may be dropped one day: otherwise TimescaleDB checks the wrong column.
    """

    __scope__ = "tenant"
    __app_privileges__: ClassVar[str] = "select, insert"
    __guarded_columns__: ClassVar[Sequence[str]] = ()
    __metrics__: ClassVar[Sequence[Metric]] = ()
    __ingested__: ClassVar[bool] = True
    __registered__: ClassVar[Sequence[Registered]] = ()
    __expected__: ClassVar[Sequence[Expected]] = ()
    __correction__: ClassVar[Correction | None] = None
    __time_column__: ClassVar[str] = "ts"

    tenant_id: Mapped[uuid.UUID] = mapped_column(sort_order=-20)


class Catalogue:
    """Global rows that every tenant reads and only operators write."""

    __scope__ = "global"


class Private:
    """Global rows, with only those grants that the model declares."""

    __scope__ = "private"
