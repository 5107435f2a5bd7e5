"""Views through which fleet_ingest writes rows of its own SQL, each judged as ``ingest()`` would.

``ingest()`` judges a batch before it sends it, and stores it by COPY. A service that writes its
own SQL, in whatever language, inserts into the view of the same name in schema ``ingest``: what
may not be stored goes to quarantine there, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, DefaultClause, MetaData, Table
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import SchemaItem

from ddl import Declared, Function, Grant, Trigger, View, sql
from ddl.kinds.grant import GrantState
from ddl.kinds.retention_policy import RetentionPolicyState
from models.shared.columns import PLATFORM_TENANT_ID
from models.shared.constraints import DOUBLES
from models.shared.judgement import (
    BAD_TIME,
    EXPIRED,
    FUTURE,
    MAX_AHEAD_DAYS,
    READABLE,
    TAKEN_TENANT,
    Expected,
    Registered,
    completed,
    reason,
)
from models.shared.metrics import Metric, filled, without
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.time_series_checks import TIMESERIES

INGEST = "ingest"
"""The schema of the views. It is not ``public``, where the tenant views have the same names."""

MAX_PAYLOAD = 131_072
"""Bytes of a payload that quarantine keeps; of more, the beginning, and in detail a checksum.

As jsonb they are six times as many at most, and the columnstore takes a thousand rows of a tenant
at once, of less than 1 GB.
"""

MAX_NAMED = 1000
"""Characters of what a rejected row names."""

_SETTINGS = {**PLPGSQL_SETTINGS, "row_security": "on"}
"""Policies let fleet_ingest see what is registered. Where a session has switched row security off,
as tools that load a dump do, each look-up would fail instead."""

JUDGED = "fleetschema.judged"
"""The setting by which ``ingest()`` and the views say that the rows they write are judged."""


@dataclass(frozen=True)
class Correction:
    """A function by which a later row corrects an earlier one with its key.

    Attributes:
        function: in schema ``public``; its arguments are arrays, one for each column.
        columns: of the series, in the order of the arguments.
    """

    function: str
    columns: tuple[str, ...]


def declare_functions(metadata: MetaData) -> None:
    """Declare what the views and hypertables of all series have in common."""
    # The key is the same for each delivery of a row: a day where its own time is no key.
    Function(
        "quarantine",
        "series text, reason text, at timestamptz, sent jsonb",
        returns="void",
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        body=f"""
        declare
          whole boolean;
        begin
          -- What the server cannot write out it could neither keep nor look at.
          select jsonb_object_agg(one.key, case when {DOUBLES.format("one.value")} then one.value
                   else to_jsonb('number beyond double precision, hash '
                                 || jsonb_hash_extended(one.value, 0)) end)
            into sent from jsonb_each(sent) as one;
          whole := octet_length(sent::text) <= {MAX_PAYLOAD};
          insert into timeseries.quarantine_events
                 (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id, site_id,
                  msg_type, event_ts, payload, payload_raw)
          values (coalesce((select t.tenant_id from public.tenants t
                             where t.tenant_id = (sent ->> 'tenant_id')::uuid
                               and {TAKEN_TENANT}), '{PLATFORM_TENANT_ID}'),
                  case when at between now() - interval '1 day' and now() + interval '1 day'
                       then at else date_trunc('day', now(), 'UTC') end,
                  md5(series || ' ' || sent::text)::uuid, reason,
                  'written with SQL into {INGEST}.' || series || case when whole then '' else
                    format('; of %s bytes (SHA-256 %s) the first are kept',
                           octet_length(sent::text),
                           encode(sha256(convert_to(sent::text, 'UTF8')), 'hex')) end,
                  '', sent ->> 'tenant_id', {_named("device_id")}, {_named("site_id")},
                  case when sent ? 'msg_type' then {_named("msg_type")} else series end,
                  case when {READABLE} then at end,
                  case when whole then sent end,
                  case when not whole
                       then substr(convert_to(sent::text, 'UTF8'), 1, {MAX_PAYLOAD}) end)
          on conflict do nothing;
        end
        """,
        grants={"fleet_ingest": "execute"},
        comment="Keeps a row that may not be stored, with the reason.",
        metadata=metadata,
    )
    # The days of a retention have 24 hours, whatever the time zone of the session.
    Function(
        "reason_against",
        "series text, kept interval, of_tenant uuid, at timestamptz",
        returns="text",
        language="plpgsql",
        volatility="stable",
        settings=PLPGSQL_SETTINGS,
        body=f"""
        begin
          if {READABLE} is not true then
            return '{BAD_TIME}';
          elsif at > now() + interval '{24 * MAX_AHEAD_DAYS} hours' then
            return '{FUTURE}';
          elsif at < now() - make_interval(secs => extract(epoch from least(kept, (
                       select make_interval(days => p.retention_days)
                         from public.data_retention_policies p
                        where p.tenant_id = of_tenant and p.relation = series)))) then
            return '{EXPIRED}';
          end if;
          return null;
        end
        """,
        grants={"fleet_ingest": "execute"},
        comment="Why a row of that moment may not be stored in a series that is kept so long, or "
        "shorter for that tenant; NULL if it may.",
        metadata=metadata,
    )
    Function(
        "require_judgement",
        returns="trigger",
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        body=f"""
        begin
          if current_setting('{JUDGED}', true) = 'on'
             or not pg_has_role(current_user, 'fleet_ingest', 'usage')
             or pg_has_role(current_user, (select c.relowner from pg_class c
                                            where c.oid = tg_relid), 'usage') then
            return null;
          end if;
          raise exception 'fleet_ingest cannot insert into %.% directly', tg_table_schema,
              tg_table_name
            using errcode = 'insufficient_privilege',
                  hint = format('Insert into {INGEST}.%I, which judges each row, or call ingest().',
                                tg_table_name);
        end
        """,
        comment="Trigger: refuses rows of fleet_ingest that nothing has judged.",
        metadata=metadata,
    )


def counted() -> Trigger:
    """The trigger of a hypertable of tenants that keeps fleet_ingest to their rates."""
    return Trigger(
        "count_ingested",
        timing="after",
        events="insert",
        when="new.tenant_id = ANY (limited_tenants())",
        function="count_ingested()",
    )


def ingest_access(
    table: Table,
    time_column: str,
    *,
    registered: Sequence[Registered] = (),
    expected: Sequence[Expected] = (),
    correction: Correction | None = None,
    metrics: Sequence[Metric] = (),
) -> list[SchemaItem]:
    """What fleet_ingest may do with a hypertable: its grant, its triggers, and its view.

    Args:
        registered: what rows refer to.
        expected: what fields take, as far as columns do not say it.
        correction: how a later row changes an earlier one; otherwise it changes nothing.
        metrics: those with a column of their own.
    """
    shown = [column for column in table.columns if not column.computed and not is_clock(column)]
    names = [column.name for column in shown]
    function = f"judge_{table.name}"
    return [
        Grant("insert", to="fleet_ingest"),
        Trigger(
            "require_judgement",
            timing="before",
            events="insert",
            level="statement",
            function="require_judgement()",
        ),
        *([counted()] if "tenant_id" in table.columns else []),
        Function(
            function,
            returns="trigger",
            language="plpgsql",
            settings=_SETTINGS,
            body=_body(table, names, time_column, registered, expected, correction, metrics),
            comment=f"Trigger: stores a row of {table.name}, or keeps it in quarantine.",
        ),
        View(
            table.name,
            f"SELECT {', '.join(map(sql.ident, names))}\n"
            f"  FROM {TIMESERIES}.{sql.ident(table.name)}",
            grants={"fleet_ingest": "insert"},
            triggers=[
                Trigger(
                    function,
                    timing="instead of",
                    events="insert",
                    function=f"{sql.ident(function)}()",
                )
            ],
            defaults=defaults(table, names),
            comment=f"{table.comment} What may not be stored goes to quarantine.",
            schema=INGEST,
        ),
    ]


def check_registered(metadata: MetaData, name: str, registered: Sequence[Registered]) -> None:
    """Reject a series whose rows refer to what fleet_ingest cannot look up.

    Raises:
        sqlalchemy.exc.ArgumentError: the message says what to write.
    """
    grants = Declared.on(metadata).of(GrantState)
    for one in registered:
        held = grants.get((sql.DEFAULT_SCHEMA, one.table))
        readable = {
            privilege.column
            for privilege in (held.privileges if held else ())
            if (privilege.role, privilege.name) == ("fleet_ingest", "select")
        }
        needed = dict.fromkeys(filter(None, ("tenant_id", one.found_by, one.brings)))
        if "" not in readable and not readable.issuperset(needed):
            raise ArgumentError(
                f"hypertable {name}: its rows refer to {one.table}, which fleet_ingest cannot "
                f'read; write *access("fleet_ingest", "select ({", ".join(needed)})") in the '
                f"__table_args__ of {one.table}"
            )


def _body(
    table: Table,
    names: Sequence[str],
    time_column: str,
    registered: Sequence[Registered],
    expected: Sequence[Expected],
    correction: Correction | None,
    metrics: Sequence[Metric],
) -> str:
    """Judge the row, then store it, or what was sent of it in quarantine."""
    retention = Declared.on(table.metadata).of(RetentionPolicyState)[TIMESERIES, table.name]
    first = list(completed(table, time_column, expected))
    for one in registered:
        if one.brings is not None:
            brought = one.rows(f"r.{sql.ident(one.brings)}")
            first.append(f"{_new(one.brings)} := coalesce({_new(one.brings)}, ({brought}));")
    judging = reason(
        table,
        names,
        time_column,
        retention.drop_after,
        registered,
        expected,
        [one.name for one in metrics],
    )
    stored = [f"{_new(one.name)} := {filled(one)};" for one in metrics]
    if metrics:
        stored.append(without(metrics, f"\n{'':12}"))
    step, column = f"\n{'':10}", ", ".join
    return f"""
        #variable_conflict use_column
        declare
          sent jsonb := to_jsonb(new);
          before text := coalesce(current_setting('{JUDGED}', true), '');
          reason text;
          changed boolean;
        begin
          {step.join([*first, f"{judging};"])}
          if reason is not null then
            perform public.quarantine({sql.literal(table.name)}, reason, {_new(time_column)}, sent);
            return null;
          end if;{"".join(step + line for line in stored)}
          -- By SET of the function only a superuser could create it.
          perform set_config('{JUDGED}', 'on', true);
          insert into {TIMESERIES}.{sql.ident(table.name)}
                 ({column(map(sql.ident, names))})
          values ({column(map(_new, names))})
          on conflict do nothing;
          changed := {_changed(correction)};
          perform set_config('{JUDGED}', before, true);
          return case when changed then new end;
        end
        """


def _changed(correction: Correction | None) -> str:
    if correction is None:
        return "found"
    arrays = ", ".join(f"array[{_new(name)}]" for name in correction.columns)
    return f"found or public.{correction.function}({arrays}) > 0"


def _named(field: str) -> str:
    """What a row names, in the columns of quarantine, as ``ingest()`` writes it."""
    return f"nullif(left(sent ->> '{field}', {MAX_NAMED}), '')"


def _new(column: str) -> str:
    return f"new.{sql.quoted(column)}"


def defaults(table: Table, names: Sequence[str] | None = None) -> dict[str, str]:
    """The default of each column that has one, as an expression."""
    found = {}
    for column in table.columns:
        if (names is None or column.name in names) and isinstance(
            column.server_default, DefaultClause
        ):
            value = column.server_default.arg
            found[column.name] = sql.literal(value) if isinstance(value, str) else str(value)
    return found


def is_clock(column: Column[Any]) -> bool:
    """Whether the server fills the column with its own time, which nobody else should."""
    default = column.server_default
    return (
        not column.primary_key
        and isinstance(default, DefaultClause)
        and str(default.arg) == "now()"
    )
