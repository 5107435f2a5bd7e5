"""How large the state of a device may grow.

Each batch reads and writes the state of its devices whole, and all tenants share a batch: without a
bound, one of them fills a state until the server can take no more (256 MB), and the batches of all
fail or become slow.
"""

from __future__ import annotations

from ddl import Function, Trigger
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

STATE_BYTES = 256 * 1024
"""Of a state; in a larger one only small values are kept."""
SMALL_BYTES = 128
"""Of a value in a state that is too large."""
MOST_METRICS = 4096
"""In a state: those with the newest values, twice as many as a device gets."""
_MOST_BYTES = 4 * STATE_BYTES
_LEAST_BYTES = 8 * MOST_METRICS
"""Of so many metrics, however short their names and values are."""

# pg_column_size() of a column alone is the size as it is stored, which compression makes small.
_SIZE = "pg_column_size(new.{0} || '{{}}')"

Function(
    "bound_device_state",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        begin
          new.state := new.state || '{{}}';
          if pg_column_size(new.state) > {STATE_BYTES} then
            select jsonb_object_agg(s.metric,
                     case when pg_column_size(s.value) > {SMALL_BYTES} then 'null' else s.value end)
              into new.state from jsonb_each(new.state) as s (metric, value);
          end if;
          if (select count(*) from jsonb_object_keys(new.state)) > {MOST_METRICS} then
            select jsonb_object_agg(n.metric, n.value), coalesce(jsonb_object_agg(n.metric, n.at)
                     filter (where n.at is not null), '{{}}')
              into new.state, new.state_times
              from (select s.metric, s.value, t.at
                      from jsonb_each(new.state) as s (metric, value)
                      left join jsonb_each(new.state_times) as t (metric, at) using (metric)
                     order by t.at desc nulls first limit {MOST_METRICS}) as n;
          end if;
          if pg_column_size(new.state) > {_MOST_BYTES} then
            new.state := '{{}}';
            new.state_times := '{{}}';
          end if;
          return new;
        end
    """,
    comment="Trigger: takes the older ones of very many metrics out of a state, makes large values "
    "of a large one null, and forgets the whole of it if that does not help.",
    metadata=Base.metadata,
)

Function(
    "refuse_large_shadow",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        begin
          raise exception 'desired_state or reported_state of device % is larger than 256 kB',
              new.device_id
            using errcode = 'check_violation', table = tg_table_name,
                  detail = format('Expected at most {STATE_BYTES} bytes of jsonb each, found %s '
                                  'and %s.', {_SIZE.format("desired_state")},
                                  {_SIZE.format("reported_state")}),
                  hint = 'Keep documents elsewhere, and their address in the shadow.';
        end
    """,
    comment="Trigger: refuses a shadow of a device that is larger than 256 kB.",
    metadata=Base.metadata,
)


def bounded_state(table: str) -> Trigger:
    """A trigger by which ``state`` has at most 4,096 metrics, and no large value beyond 256 kB."""
    return Trigger(
        f"{table}_is_bounded",
        timing="before",
        events="insert or update of state",
        when=f"{_SIZE.format('state')} > {_LEAST_BYTES}",
        function="bound_device_state()",
    )


def bounded_shadow(table: str) -> Trigger:
    """A trigger that refuses a desired or reported state of more than 256 kB."""
    return Trigger(
        f"{table}_has_a_small_shadow",
        timing="before",
        events="insert or update of desired_state, reported_state",
        when=f"{_SIZE.format('desired_state')} > {STATE_BYTES}"
        f" OR {_SIZE.format('reported_state')} > {STATE_BYTES}",
        function="refuse_large_shadow()",
    )
