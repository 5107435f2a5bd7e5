"""Access to tables: row-level security, policies, grants, and tenant views."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import TIMESTAMP, MetaData, String, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import SchemaItem

from ddl import Declared, Function, Grant, HiddenFrom, Policy, RowLevelSecurity, Trigger, View, sql
from ddl.kinds.policy import OWNER
from ddl.kinds.retention_policy import RetentionPolicyState
from models.shared.column_statistics import unknown_to_the_planner
from models.shared.constraints import DOUBLES, MAX_ROW, SHORTEST, happened, not_ahead, short
from models.shared.ingest_views import defaults, ingest_access, is_clock
from models.shared.metrics import Metric, as_stored, merged, to_store
from models.shared.plpgsql import OWN_ROW_ONLY, PLPGSQL_SETTINGS
from models.shared.scopes import TenantScoped, TenantTimeSeries
from models.shared.time_series_checks import TIMESERIES, check_hypertable

OWN_TENANT = "(tenant_id, true) = (SELECT current_tenant(), true)"
"""The condition of every tenant policy; the sub-select calls the function once per statement.

For the planner that is `tenant_id = $0 AND $1`. The second part costs nothing and so comes first:
the sub-select runs for the first row, whoever owns it. With the first part alone it would run when
a row of any tenant has passed the caller's conditions, and EXPLAIN ANALYZE tells what never ran.
"""

OF_TENANT = "tenant_id = (SELECT current_tenant())"
"""The same for views, where other conditions come first, or PostgreSQL checks what it inserts."""

OF_ROLLUP = "(s.tenant_id, true) = (SELECT current_tenant(), true)"
"""The same for views of rollups, in which the second part is a condition of the whole query."""

OWN_ROWS = (
    "CASE WHEN s.tenant_id = ANY (ARRAY[(SELECT current_tenant())]) THEN true ELSE false END"
    f"\n   AND s.{OF_TENANT}"
)
"""The condition of a tenant view, before all that a query of it adds.

The second half is for indexes and ordered reads. The first says the same, and costs less than any
function, operator or cast, so that it comes first on the compressed rows of a chunk, too. Without
the CASE the server would take the two for independent, and expect too few rows. See
docs/decisions/order-of-conditions.md.
"""


BY_FUNCTION = "(SELECT called_by_another())"
"""The condition of the policy of `for_functions`."""

FOR_FUNCTIONS = "by_functions"
"""The name of the policy of `for_functions`."""

_LAST = re.compile(r"(first|last)_\w+|\w+_updated_at")
"""The names of columns that say when something happened last, or first."""


_IN_ORDER = "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id"


def tenant_access(cls: type[TenantScoped], table: Table) -> list[SchemaItem]:
    """Row-level security, policies and grants of a tenant table, and checks of times it tells.

    Raises:
        sqlalchemy.exc.ArgumentError: a hidden or guarded column does not exist.
    """
    _require_columns(table, {*cls.__hidden_columns__, *cls.__guarded_columns__})
    items: list[SchemaItem] = [RowLevelSecurity()]
    if cls.__by_functions__:
        items.append(for_functions())
    if cls.__app_privileges__:
        granted = _with_columns(
            cls.__app_privileges__, table, cls.__hidden_columns__, cls.__guarded_columns__
        )
        items.append(Policy("tenant_isolation", to="fleet_app", using=OWN_TENANT, check=OWN_TENANT))
        items.append(Grant(granted, to="fleet_app"))
    # Support reads no hash of a secret either: those of short codes can be found by trying all.
    hashes = [column.name for column in table.columns if column.name.endswith("_hash")]
    read = _with_columns("select", table, [*cls.__hidden_columns__, *hashes], ())
    told = [
        happened(column.name)
        for column in table.columns
        if isinstance(column.type, TIMESTAMP) and _LAST.fullmatch(column.name)
    ]
    return [*items, *operator_access(read=read), *told]


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
    # When a row was stored is for the server to say.
    guarded = {*cls.__guarded_columns__, *(one.name for one in table.columns if is_clock(one))}
    privileges = _with_columns(cls.__app_privileges__, table, (), sorted(guarded))
    appended = "insert" in cls.__app_privileges__
    items: list[SchemaItem] = [
        tenant_view(
            table.name,
            columns,
            privileges=privileges,
            comment=table.comment or "",
            metrics=cls.__metrics__,
            defaults=defaults(table) if appended else None,
        )
    ]
    if cls.__metrics__:
        comment = f"{table.comment} Declared metrics only in their columns."
        items.append(
            tenant_view(
                as_stored(table.name), columns, of=table.name, privileges="select", comment=comment
            )
        )
    if appended:
        items.append(_view_to_store(table, cls.__time_column__, columns, privileges))
        if not cls.__metrics__:
            items.append(_append(table, guarded))
    return [
        *items,
        not_ahead(cls.__time_column__),
        *(short(one.name) for one in table.primary_key if isinstance(one.type, String)),
        HiddenFrom("fleet_app"),
        *unknown_to_the_planner(table),
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
    rollup: bool = False,
    metadata: MetaData | None = None,
) -> View:
    """The view in ``public`` through which tenants use a hypertable or rollup of the same name.

    Args:
        of: the hypertable or rollup, if it has another name.
        metrics: what the column ``metrics`` shows besides, from columns of its own.
        defaults: those of the table, if tenants append rows by it.
        rollup: whether it is over a rollup. That is a view itself, with a query for what is not
            refreshed, into which the server pushes conditions at any cost; so a barrier is needed.
    """
    conditions = f" WHERE {OF_ROLLUP}" if rollup else f"{_IN_ORDER}\n WHERE {OWN_ROWS}"
    shown = {column: f"s.{sql.ident(column)}" for column in columns}
    if metrics:
        shown["metrics"] = f"{merged(metrics, 's.')} AS metrics"
    appending = Trigger(
        f"insert_{name}",
        timing="instead of",
        events="insert",
        function=f"{sql.ident(f'insert_{name}')}()",
    )
    return View(
        name,
        f"SELECT {', '.join(shown.values())}\n  FROM {TIMESERIES}.{sql.ident(of or name)} s\n"
        f"{conditions}",
        security_invoker=False,
        security_barrier=rollup,
        reason="Tenants have no grant on hypertables and rollups; the condition of the view "
        "shows them their own rows.",
        # Operators read it as the functions do that they call for one tenant.
        grants={
            "fleet_app": privileges,
            "fleet_operator": "select",
            "fleet_operator_read": "select",
        },
        triggers=() if defaults is None else [appending],
        defaults=defaults,
        comment=f"{comment} Only rows of the current tenant.",
        metadata=metadata,
    )


def _ingest_access(cls: type[TenantTimeSeries], table: Table) -> list[SchemaItem]:
    return ingest_access(
        table,
        cls.__time_column__,
        registered=cls.__registered__,
        expected=cls.__expected__,
        correction=cls.__correction__,
        metrics=cls.__metrics__,
    )


def _view_to_store(table: Table, time_column: str, columns: Sequence[str], privileges: str) -> View:
    """The view through which rows reach the hypertable: PostgreSQL itself inserts, at full speed.

    It can read one relation only, so nothing but a barrier puts its condition first. What retention
    would delete is refused, too: each such day would make a chunk, which every tenant's questions
    have to look at. So are large rows: the columnstore takes up to a thousand rows of a tenant at
    once, and cannot take a chunk, with the rows of all, where that makes more than 1 GB.
    """
    kept = Declared.on(table.metadata).of(RetentionPolicyState).get((TIMESERIES, table.name))
    not_expired = ""
    if kept is not None:
        # Its days have 24 hours, whatever the time zone of the session.
        age = f"make_interval(secs => extract(epoch FROM interval {sql.literal(kept.drop_after)}))"
        not_expired = f"{sql.ident(time_column)} >= now() - {age}\n   AND "
    return View(
        to_store(table.name),
        f"SELECT {', '.join(map(sql.ident, columns))}\n"
        f"  FROM {TIMESERIES}.{sql.ident(table.name)}\n"
        f" WHERE {not_expired}{_not_large(table)}{OF_TENANT}",
        security_invoker=False,
        reason="Tenants have no grant on hypertables; the check option refuses rows of others.",
        security_barrier=True,
        check_option="cascaded",
        grants={"fleet_app": privileges},
        comment=f"{table.comment} To append many rows; {table.name} is faster to read.",
    )


def _not_large(table: Table) -> str:
    """That the columns of any length have `MAX_ROW` bytes at most, compressed or written out.

    Of JSON, which has numbers of double precision only, either can be several times the other.
    """
    written, sizes, numbers = [], [], []
    for column in table.columns:
        name = sql.ident(column.name)
        if isinstance(column.type, JSONB):
            text = f"octet_length(CAST({name} AS text))"
            written.append(f"coalesce({text}, 0)")
            # Of the column alone it would be the size as stored, which compression makes small.
            stored = f"pg_column_size({name} || '{{}}')"
            sizes.append(f"coalesce(greatest({stored}, {text}), 0)")
            numbers.append(f"coalesce({sql.escaped(DOUBLES.format(name))}, true)")
        elif isinstance(column.type, String) and not column.primary_key:
            sizes.append(f"coalesce(octet_length({name}), 0)")
            written.append(sizes[-1])
    if not sizes:
        return ""
    bounded = " AND ".join([*numbers, f"{' + '.join(sizes)} <= {MAX_ROW}"])
    if numbers:  # which cost more than all else of a short row
        bounded = f"({' + '.join(written)} <= {SHORTEST} OR {bounded})"
    return f"{bounded}\n   AND "


def _append(table: Table, guarded: set[str]) -> Function:
    """The trigger function of a tenant view, without a right that its caller has not."""
    names = [column.name for column in table.columns if column.name not in guarded]
    return Function(
        f"insert_{table.name}",
        returns="trigger",
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        body=f"""
        begin
          {OWN_ROW_ONLY}
          insert into public.{sql.ident(to_store(table.name))} ({", ".join(map(sql.ident, names))})
          values ({", ".join(f"new.{sql.quoted(name)}" for name in names)})
          on conflict do nothing;
          if not found then
            return null;
          end if;
          return new;
        end
        """,
        comment=f"Trigger: stores a row of {table.name}, unless it is there already.",
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


def for_functions() -> Policy:
    """The policy that shows all rows to functions that run as the owner of the table.

    ``database.privileges`` renews it by its name where the table gets another owner.
    """
    return Policy(FOR_FUNCTIONS, to=OWNER, using=BY_FUNCTION, check=BY_FUNCTION)


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
