"""The base class of all models. Model files import everything they share from this module.

A mapped class has one scope (module ``scopes``), and may use ready-made columns (``columns``) and
constraints (``constraints``). ``Base`` attaches what follows from the scope (``access``).
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any, ClassVar

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    BigInteger,
    Double,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import SchemaItem

from ddl import Trigger
from models.shared.access import (
    OWN_TENANT,
    access,
    attach,
    catalogue_access,
    for_functions,
    hypertable_access,
    operator_access,
    tenant_access,
)
from models.shared.across import hide_indexes
from models.shared.columns import (
    EMPTY_ARRAY,
    EMPTY_OBJECT,
    FALSE,
    NOW,
    PLATFORM_TENANT_ID,
    SYSTEM_USER_ID,
    TRUE,
    UUID7,
    ZERO,
    BigInt,
    Identified,
    Timestamped,
)
from models.shared.constraints import (
    bounded,
    json_array,
    json_object,
    json_value,
    not_ahead,
    not_empty,
    of_json,
    one_of,
    readable,
    readable_json,
    tenant_reference,
)
from models.shared.metrics import add_columns
from models.shared.naming import NAMING_CONVENTION
from models.shared.scopes import Catalogue, Private, TenantScoped, TenantTimeSeries
from models.shared.time_series_checks import TIMESERIES, require_key

__all__ = [
    "EMPTY_ARRAY",
    "EMPTY_OBJECT",
    "FALSE",
    "NOW",
    "OWN_TENANT",
    "PLATFORM_TENANT_ID",
    "SYSTEM_USER_ID",
    "TIMESERIES",
    "TRUE",
    "UUID7",
    "ZERO",
    "Base",
    "BigInt",
    "Catalogue",
    "Identified",
    "Private",
    "TenantScoped",
    "TenantTimeSeries",
    "Timestamped",
    "access",
    "bounded",
    "for_functions",
    "json_array",
    "json_object",
    "json_value",
    "not_ahead",
    "not_empty",
    "one_of",
    "operator_access",
    "readable",
    "readable_json",
    "tenant_access",
    "tenant_reference",
]


class Base(DeclarativeBase):
    """The base of all models; attaches policies, grants and triggers according to the scope."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: Uuid(),
        datetime.datetime: TIMESTAMP(timezone=True),
        str: Text(),
        float: Double(),
        decimal.Decimal: Numeric(),
        BigInt: BigInteger(),
        # None becomes NULL; as JSON null it would count as a value.
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text()),
        list[uuid.UUID]: ARRAY(Uuid()),
    }

    __scope__: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the table of the class, so that the safe choice is the default.

        Raises:
            sqlalchemy.exc.ArgumentError: the class has no scope, or a hypertable no primary key.
        """
        if issubclass(cls, TenantTimeSeries) and "__tablename__" in cls.__dict__:
            arguments = cls.__dict__.get("__table_args__")
            require_key(cls.__tablename__, arguments, cls.__time_column__)
            add_columns(cls, cls.__metrics__)
        if issubclass(cls, TenantScoped):
            add_columns(cls, cls.__attributes__)
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if not isinstance(table, Table):
            return
        if not hasattr(cls, "__scope__"):
            raise ArgumentError(
                f"{cls.__name__} has no scope: add TenantScoped, Catalogue or Private before Base"
            )
        items: list[SchemaItem] = [*of_json(table, series=table.schema == TIMESERIES)]
        if issubclass(cls, Timestamped):
            name = "set_updated_at"
            when = "new.updated_at IS DISTINCT FROM now()" if cls.__unless_now__ else None
            items.append(
                Trigger(name, timing="before", events="update", when=when, function=f"{name}()")
            )
        if issubclass(cls, TenantTimeSeries):
            items += hypertable_access(cls, table)
        elif issubclass(cls, TenantScoped):
            items += tenant_access(cls, table)
        elif issubclass(cls, Catalogue):
            items += catalogue_access()
        attach(table, items)
        hide_indexes(table)
