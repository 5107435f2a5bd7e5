"""Access to tables: row-level security, policies, grants, and tenant views."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import MetaData, Table
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import SchemaItem

from ddl import Grant, HiddenFrom, Policy, RowLevelSecurity, Trigger, View, sql
from models.shared.ingest_views import defaults, ingest_access
from models.shared.metrics import Metric, as_stored, merged
from models.shared.scopes import TenantScoped, TenantTimeSeries
from models.shared.time_series_checks import TIMESERIES, check_hypertable

OWN_TENANT = "tenant_id = (SELECT current_tenant())"
"""The condition of every tenant policy; the sub-select calls the function once per statement."""


def tenant_access(cls: type[TenantScoped], table: Table) -> list[SchemaItem]:
    """Row-level security, policies and grants of a tenant table.

    Raises:
        sqlalchemy.exc.ArgumentError: a hidden or guarded column does not exist.
    """
    _require_columns(table, {*cls.__hidden_columns__, *cls.__guarded_columns__})
    items: list[SchemaItem] = [RowLevelSecurity()]
    if cls.__app_privileges__:
        granted = _with_columns(
            cls.__app_privileges__, table, cls.__hidden_columns__, cls.__guarded_columns__
        )
        items.append(Policy("tenant_isolation", to="fleet_app", using=OWN_TENANT, check=OWN_TENANT))
        items.append(Grant(granted, to="fleet_app"))
    read = _with_columns("select", table, cls.__hidden_columns__, ())
    return [*items, *operator_access(read=read)]


def attach(table: Table, items: Iterable[SchemaItem]) -> None:
    """Declare the items on a table that exists already, as Table does with its arguments."""
    for item in items:
        item._set_parent_with_dispatch(table)


def hypertable_access(cls: type[TenantTimeSeries], table: Table) -> list[SchemaItem]:
    """Grants on a hypertable of tenants, and its tenant view.

    Raises:
        sqlalchemy.exc.ArgumentError: the declaration would break the isolation; the message says
            what to write instead.
    """
    check_hypertable(table, cls.__time_column__)
    _require_columns(table, set(cls.__guarded_columns__))
    columns = [column.name for column in table.columns]
    privileges = _with_columns(cls.__app_privileges__, table, (), cls.__guarded_columns__)
    views = [
        tenant_view(
            table.name,
            columns,
            privileges=privileges,
            check_option=None if cls.__metrics__ else "cascaded",
            comment=table.comment or "",
            metrics=cls.__metrics__,
            defaults=defaults(table) if cls.__metrics__ else {},
        )
    ]
    if cls.__metrics__:
        stored = tenant_view(
            as_stored(table.name),
            columns,
            of=table.name,
            privileges=privileges,
            check_option="cascaded",
            comment=f"{table.comment} Declared metrics only in their columns.",
        )
        views.append(stored)
    return [
        *views,
        HiddenFrom("fleet_app"),
        *(_ingest_access(cls, table) if cls.__ingested__ else []),
        Grant("select", to="fleet_operator_read"),
        Grant("select", to="fleet_operator"),
    ]


def tenant_view(
    name: str,
    columns: Sequence[str],
    *,
    privileges: str,
    comment: str,
    of: str | None = None,
    metrics: Sequence[Metric] = (),
    defaults: Mapping[str, str] | None = None,
    check_option: str | None = None,
    metadata: MetaData | None = None,
) -> View:
    """The view in ``public`` through which tenants use a hypertable or rollup of the same name.

    Args:
        of: the hypertable or rollup, if it has another name.
        metrics: what the column ``metrics`` shows besides, from columns of its own.
        defaults: those of the table, where it is a trigger that inserts.
    """
    shown = {column: sql.ident(column) for column in columns}
    triggers = []
    if metrics:
        shown["metrics"] = f"{merged(metrics)} AS metrics"
        name_of_function = f"insert_{name}"
        triggers.append(
            Trigger(
                name_of_function,
                timing="instead of",
                events="insert",
                function=f"{sql.ident(name_of_function)}()",
            )
        )
    return View(
        name,
        f"SELECT {', '.join(shown.values())}\n"
        f"  FROM {TIMESERIES}.{sql.ident(of or name)}\n WHERE {OWN_TENANT}",
        security_invoker=False,
        reason="Tenants have no grant on hypertables and rollups; the condition of the view "
        "shows them their own rows.",
        check_option=check_option,
        # Operators read it as the functions do that they call for one tenant.
        grants={
            "fleet_app": privileges,
            "fleet_operator": "select",
            "fleet_operator_read": "select",
        },
        triggers=triggers,
        defaults=defaults,
        comment=f"{comment} Only rows of the current tenant.",
        metadata=metadata,
    )


def _ingest_access(cls: type[TenantTimeSeries], table: Table) -> list[SchemaItem]:
    return ingest_access(
        table,
        cls.__time_column__,
        registered=cls.__registered__,
        correction=cls.__correction__,
        metrics=cls.__metrics__,
    )


def catalogue_access() -> list[SchemaItem]:
    """Grants on a catalogue: every tenant reads it, only operators write."""
    return [
        Grant("select", to="fleet_app"),
        Grant("select", to="fleet_operator_read"),
        Grant("select, insert, update, delete", to="fleet_operator"),
    ]


def operator_access(
    write: str = "select, insert, update, delete", read: str = "select"
) -> tuple[SchemaItem, ...]:
    """Policies and grants that give the two operator roles access to all rows."""
    return (
        Policy("operator_all", to="fleet_operator", using="true", check="true"),
        Grant(write, to="fleet_operator"),
        Policy("operator_read", to="fleet_operator_read", command="select", using="true"),
        Grant(read, to="fleet_operator_read"),
    )


def access(
    role: str, privileges: str, using: str = "true", check: str | None = None
) -> tuple[SchemaItem, ...]:
    """The policy and the grant of another role on a table with row-level security.

    ``check`` defaults to ``using``. If the commands of a role need different conditions, declare
    the policies one by one.
    """
    name = f"{role.removeprefix('fleet_')}_access"
    verbs = set(re.findall(r"[a-z]+", re.sub(r"\(.*?\)", "", privileges)))
    if verbs == {"select"}:
        return Policy(name, to=role, command="select", using=using), Grant(privileges, to=role)
    return Policy(name, to=role, using=using, check=check or using), Grant(privileges, to=role)


def _require_columns(table: Table, named: set[str]) -> None:
    missing = named - set(table.columns.keys())
    if missing:
        raise ArgumentError(
            f"table {table.name} has no column {', '.join(sorted(missing))}; correct "
            "__hidden_columns__ or __guarded_columns__"
        )


def _with_columns(
    privileges: str, table: Table, hidden: Sequence[str], guarded: Sequence[str]
) -> str:
    """``privileges``, with column lists if the role must not access some columns."""
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
        return f"{verb} ({', '.join(map(sql.ident, names))})"

    return re.sub(r"\b(select|insert|update)\b(?!\s*\()", listed, privileges)
