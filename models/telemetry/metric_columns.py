"""Functions that bring together, or part, the metrics of a message in columns and in its JSON."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import MetaData, Table

from ddl import Function, sql
from models.shared.ingest_views import is_clock
from models.shared.metrics import NUMBERS, Metric, filled, merged, to_store, without
from models.shared.plpgsql import OWN_ROW_ONLY, PLPGSQL_SETTINGS

_READERS = ("fleet_app", "fleet_operator", "fleet_operator_read")

_IN_JSON = """
        SELECT m.key, m.value::double precision
          FROM jsonb_each(message.metrics) m
         WHERE octet_length(m.key) <= 255
           AND CASE WHEN jsonb_typeof(m.value) = 'number'
                    THEN m.value::numeric = 0 OR abs(m.value::numeric) BETWEEN 1e-100 AND 1e100
                    ELSE false END"""
_IN_COLUMNS = """
           AND CASE m.key
                    {empty}
                    ELSE true END
        UNION ALL
        SELECT v.metric, v.value
          FROM (VALUES {values}) v (metric, value)
         WHERE v.value = 0 OR abs(v.value) BETWEEN 1e-100 AND 1e100"""


def numeric_metrics(metadata: MetaData, metrics: Sequence[Metric]) -> None:
    """Declare ``numeric_metrics(message)``: the metrics of a message that can be averaged.

    Rollups call it instead of reading the columns themselves: so another metric changes this
    function and no rollup, which would have to be made anew with all its history. The server
    puts its query in the place of the call.

    One value that cannot be averaged would abort the refresh for all tenants: text, a number
    beyond the range of double (JSON has no limits), or a name too long for an index of the rollup.
    The CASE prevents the cast from being evaluated for text.
    """
    body = _IN_JSON
    if numbers := [metric for metric in metrics if metric.type in NUMBERS]:
        named = [(sql.literal(one.name), f"message.{sql.ident(one.name)}") for one in numbers]
        body += _IN_COLUMNS.format(
            empty=f"\n{'':20}".join(f"WHEN {name} THEN {one} IS NULL" for name, one in named),
            values=f",\n{'':23}".join(f"({name}, {one}::double precision)" for name, one in named),
        )
    Function(
        "numeric_metrics",
        "message timeseries.telemetry",
        returns="TABLE(metric text, value double precision)",
        volatility="immutable",
        parallel="safe",
        body=f"\n        BEGIN ATOMIC{body};\n        END\n",
        grants=dict.fromkeys(_READERS, "execute"),
        comment="The numeric metrics of a message, from its columns and from its JSON.",
        metadata=metadata,
    )


def all_metrics(metadata: MetaData, metrics: Sequence[Metric]) -> None:
    """Declare ``all_metrics(message)`` for those who read the hypertable: ``SELECT t.all_metrics``.

    Not immutable, as jsonb_build_object() is not, so that the server puts it in place of the call.
    """
    Function(
        "all_metrics",
        "message timeseries.telemetry",
        returns="jsonb",
        volatility="stable",
        parallel="safe",
        body=f"RETURN {merged(metrics, 'message.')}",
        grants=dict.fromkeys(_READERS[1:], "execute"),
        comment="All metrics of a message as JSON, as its tenant sees them.",
        metadata=metadata,
    )


# Exactly: what is read from the column is the number that was sent.
_FITTING = """
    RETURN CASE
      WHEN jsonb_typeof(value) = 'number' AND type = 'double precision' THEN
        CASE WHEN value::numeric = 0 OR abs(value::numeric) BETWEEN 1e-300 AND 1e300 THEN
          CASE WHEN value::double precision::text::numeric = value::numeric
               THEN value::double precision::text END END
      WHEN jsonb_typeof(value) = 'number' AND type IN ('bigint', 'integer') THEN
        CASE WHEN value::numeric = trunc(value::numeric) AND value::numeric
                  BETWEEN CASE type WHEN 'bigint' THEN -9223372036854775808 ELSE -2147483648 END
                      AND CASE type WHEN 'bigint' THEN 9223372036854775807 ELSE 2147483647 END
             THEN trunc(value::numeric)::text END
      WHEN jsonb_typeof(value) = 'boolean' AND type = 'boolean' THEN value::text
      WHEN jsonb_typeof(value) = 'string' AND type = 'text' THEN value #>> '{}'
    END
"""


def insert_of_metrics(table: Table, metrics: Sequence[Metric]) -> None:
    """Declare the trigger function by which the tenant view takes rows in.

    The function parts each row and hands it to the view that takes rows as they are stored, whose
    check option judges the tenant; so it needs no rights that its caller has not. What an INSERT
    leaves out has the default of the view, so that NULL is refused here as by the table.
    """
    metadata = table.metadata
    Function(
        "fitting_value",
        "value jsonb, type text",
        returns="text",
        volatility="immutable",
        parallel="safe",
        body=_FITTING,
        grants={"fleet_app": "execute", "fleet_ingest": "execute"},
        comment="A value of a message as text if a column of the type holds it exactly, else NULL.",
        metadata=metadata,
    )
    taken = [column.name for column in table.columns if not is_clock(column)]
    step = f"\n{'':10}"
    Function(
        f"insert_{table.name}",
        returns="trigger",
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        body=f"""
        begin
          {OWN_ROW_ONLY}
          {step.join(f"{_new(one.name)} := {filled(one)};" for one in metrics)}
          {without(metrics, f"{step}  ")}
          insert into public.{sql.ident(to_store(table.name))} ({", ".join(map(sql.ident, taken))})
          values ({", ".join(map(_new, taken))})
          on conflict do nothing;
          if not found then
            return null;
          end if;
          new.metrics := {merged(metrics, "new.")};
          return new;
        end
        """,
        comment=f"Trigger: stores a row of {table.name}, each declared metric in its column.",
        metadata=metadata,
    )


def _new(column: str) -> str:
    return f"new.{sql.quoted(column)}"
