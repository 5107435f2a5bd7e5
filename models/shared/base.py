"""What every model shares: the base class, its naming convention, and the scopes.

A mapped class has exactly one scope, said by its mixin:

- ``TenantScoped``: rows of one tenant each. Key, row security, policies and grants come with it.
- ``TenantSeries``: measurements of tenants, in a hypertable behind a tenant view.
- ``Catalogue``: global rows that tenants read and operators write.
- ``Private``: global rows that nobody may touch unless the model grants it.
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Double,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import ColumnCollectionConstraint, SchemaItem

from ddl import Grant, Policy, RowSecurity, Trigger, View
from models.shared.time_series_checks import TIMESERIES as TIMESERIES
from models.shared.time_series_checks import check_series, require_key

PLATFORM_TENANT_ID = uuid.UUID(int=0)
"""The platform itself, as a tenant: owns what belongs to no customer, and all built-ins."""

SYSTEM_USER_ID = uuid.UUID(int=0)
"""The account in whose name the platform acts."""

NOW = text("now()")
UUID7 = text("uuid7()")
TRUE = text("true")
FALSE = text("false")
ZERO = text("0")
EMPTY_OBJECT = text("'{}'::jsonb")
EMPTY_ARRAY = text("'{}'")

BigInt: TypeAlias = Annotated[int, "bigint"]
"""For counters that outgrow 2^31: ``Mapped[BigInt]``."""

OWN_TENANT = "tenant_id = (SELECT current_tenant())"
"""The condition of every tenant policy; the sub-select makes it one call per statement."""


def _own_columns(item: ColumnCollectionConstraint | Index, _table: Table) -> str:
    """The columns of a constraint or index without tenant_id, unless that is all there is."""
    if isinstance(item, ForeignKeyConstraint):
        names = list(item.column_keys)
    else:
        names = [column.name for column in item.columns]
    return "_".join([name for name in names if name != "tenant_id"] or names)


NAMING_CONVENTION: dict[Any, Any] = {
    "own_columns": _own_columns,
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(own_columns)s",
    "uq": "uq_%(table_name)s_%(own_columns)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(own_columns)s",
    ExcludeConstraint: "ex_%(table_name)s_%(constraint_name)s",
}


class Base(DeclarativeBase):
    """The base of all models; attaches what follows from the scope of a class."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: Uuid(),
        datetime.datetime: TIMESTAMP(timezone=True),
        str: Text(),
        float: Double(),
        decimal.Decimal: Numeric(),
        BigInt: BigInteger(),
        # None is no value; as JSON null it would pass for one.
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text()),
        list[uuid.UUID]: ARRAY(Uuid()),
    }

    __scope__: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the table, if the class has one, so that the safe thing needs no word.

        Raises:
            sqlalchemy.exc.ArgumentError: the class says no scope, or a hypertable no key.
        """
        if issubclass(cls, TenantSeries) and "__tablename__" in cls.__dict__:
            arguments = cls.__dict__.get("__table_args__")
            require_key(cls.__tablename__, arguments, cls.__time_column__)
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if not isinstance(table, Table):
            return
        if not hasattr(cls, "__scope__"):
            raise ArgumentError(
                f"{cls.__name__} has no scope: add TenantScoped, Catalogue or Private before Base"
            )
        items: list[SchemaItem] = []
        if issubclass(cls, Timestamped):
            name = "set_updated_at"
            items.append(Trigger(name, timing="before", events="update", function=f"{name}()"))
        if issubclass(cls, TenantSeries):
            items += series_access(cls, table)
        elif issubclass(cls, TenantScoped):
            items += tenant_access(cls, table)
        elif issubclass(cls, Catalogue):
            items += [
                Grant("select", to="fleet_app"),
                Grant("select", to="fleet_operator_read"),
                Grant("select, insert, update, delete", to="fleet_operator"),
            ]
        for item in items:
            # What Table does with its own arguments; the table exists already.
            item._set_parent_with_dispatch(table)


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


class TenantSeries:
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


class Identified:
    """A time-ordered id, so that new rows are neighbours in the index."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=UUID7, sort_order=-10)


class Timestamped:
    """When a row was made and last changed; for every table whose rows change."""

    created_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW, sort_order=90)
    updated_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, server_onupdate=FetchedValue(), sort_order=91
    )


def tenant_access(cls: type[TenantScoped], table: Table) -> list[SchemaItem]:
    """Row security, policies and grants of a tenant table.

    Raises:
        sqlalchemy.exc.ArgumentError: a hidden or guarded column does not exist.
    """
    _require_columns(table, {*cls.__hidden_columns__, *cls.__guarded_columns__})
    items: list[SchemaItem] = [RowSecurity()]
    if cls.__app_privileges__:
        granted = _with_columns(
            cls.__app_privileges__, table, cls.__hidden_columns__, cls.__guarded_columns__
        )
        items.append(Policy("tenant_isolation", to="fleet_app", using=OWN_TENANT, check=OWN_TENANT))
        items.append(Grant(granted, to="fleet_app"))
    read = _with_columns("select", table, cls.__hidden_columns__, ())
    return [*items, *operator_access(read=read)]


def series_access(cls: type[TenantSeries], table: Table) -> list[SchemaItem]:
    """Grants on a hypertable of tenants, and the tenant view before it.

    Raises:
        sqlalchemy.exc.ArgumentError: the declaration would break the isolation; says what to
            write instead.
    """
    check_series(table, cls.__time_column__)
    _require_columns(table, set(cls.__guarded_columns__))
    columns = ", ".join(column.name for column in table.columns)
    view = View(
        table.name,
        f"SELECT {columns}\n  FROM {TIMESERIES}.{table.name}\n WHERE {OWN_TENANT}",
        check_option="cascaded",
        grants={
            "fleet_app": _with_columns(cls.__app_privileges__, table, (), cls.__guarded_columns__)
        },
        comment=f"{table.comment} Those of the tenant of the transaction.",
    )
    return [
        view,
        Grant("insert", to="fleet_ingest"),
        Grant("select", to="fleet_operator_read"),
        Grant("select", to="fleet_operator"),
    ]


def operator_access(
    write: str = "select, insert, update, delete", read: str = "select"
) -> tuple[SchemaItem, ...]:
    """The two operator roles on a table with row security: all rows, by policy."""
    return (
        Policy("operator_all", to="fleet_operator", using="true", check="true"),
        Grant(write, to="fleet_operator"),
        Policy("operator_read", to="fleet_operator_read", command="select", using="true"),
        Grant(read, to="fleet_operator_read"),
    )


def access(
    role: str, privileges: str, using: str = "true", check: str | None = None
) -> tuple[SchemaItem, ...]:
    """What a further role may do with a table under row security: its policy and its grant.

    ``check`` defaults to ``using``. Where the commands of a role need different conditions,
    write the policies one by one.
    """
    name = f"{role.removeprefix('fleet_')}_access"
    verbs = set(re.findall(r"[a-z]+", re.sub(r"\(.*?\)", "", privileges)))
    if verbs == {"select"}:
        return Policy(name, to=role, command="select", using=using), Grant(privileges, to=role)
    return Policy(name, to=role, using=using, check=check or using), Grant(privileges, to=role)


def tenant_reference(
    columns: str | Sequence[str],
    table: str,
    target: str | Sequence[str] | None = None,
    *,
    on_delete: str = "no action",
) -> ForeignKeyConstraint:
    """A foreign key between tenant tables; it always carries tenant_id.

    PostgreSQL checks foreign keys without row security, so a key without tenant_id would let a
    tenant refer to the rows of another.

    Args:
        columns: the referring columns besides tenant_id.
        target: the columns referred to besides tenant_id, where their names differ.
        on_delete: ``no action``, ``cascade`` or ``set null`` (tenant_id itself stays).
    """
    own = [columns] if isinstance(columns, str) else list(columns)
    other = [target] if isinstance(target, str) else list(target or own)
    action = f"SET NULL ({', '.join(own)})" if on_delete == "set null" else on_delete.upper()
    return ForeignKeyConstraint(
        ["tenant_id", *own],
        [f"{table}.tenant_id", *(f"{table}.{column}" for column in other)],
        ondelete=None if action == "NO ACTION" else action,
    )


def one_of(column: str, values: Sequence[str], name: str | None = None) -> CheckConstraint:
    """A list of values as text and CHECK.

    Operators of native enums are not leakproof: row security would keep them from indexes.
    """
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


def not_empty(column: str) -> CheckConstraint:
    """Text that says something."""
    return CheckConstraint(f"{column} <> ''", name=f"{column}_not_empty")


def json_object(column: str) -> CheckConstraint:
    """A JSON object, nothing else."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'object'", name=f"{column}_object")


def json_array(column: str) -> CheckConstraint:
    """A JSON array, nothing else."""
    return CheckConstraint(f"jsonb_typeof({column}) = 'array'", name=f"{column}_array")


def json_value(column: str) -> CheckConstraint:
    """Any JSON but null, which SQL says better."""
    return CheckConstraint(f"jsonb_typeof({column}) <> 'null'", name=f"{column}_value")


def _require_columns(table: Table, named: set[str]) -> None:
    missing = named - set(table.columns.keys())
    if missing:
        raise ArgumentError(f"table {table.name} has no column {', '.join(sorted(missing))}")


def _with_columns(
    privileges: str, table: Table, hidden: Sequence[str], guarded: Sequence[str]
) -> str:
    """``privileges`` with column lists where columns are withheld from the role."""
    withheld = {"select": hidden, "insert": guarded, "update": guarded}

    def listed(match: re.Match[str]) -> str:
        verb = match[0]
        if not withheld[verb]:
            return verb
        names = [
            column.name
            for column in table.columns
            if column.name not in withheld[verb] and (verb == "select" or not column.computed)
        ]
        return f"{verb} ({', '.join(names)})"

    return re.sub(r"\b(select|insert|update)\b(?!\s*\()", listed, privileges)
