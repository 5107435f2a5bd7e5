"""How large the state of a device may grow.

Each batch reads and writes the state of its devices whole, and all tenants share a batch: without a
bound, one of them fills a state until the server can take no more (256 MB), and the batches of all
fail or become slow.
"""

from __future__ import annotations

from ddl import Function, Trigger
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

STATE_BYTES = 1024 * 1024
"""Of a state; in a larger one only small values are kept."""
SMALL_BYTES = 2048
"""Of a value in a state that is too large."""
_MOST_BYTES = 8 * STATE_BYTES

# pg_column_size() of a column alone is the size as it is stored, which compression makes small.
_SIZE = "pg_column_size(new.{0} || '{{}}')"

Function(
    "bound_device_state",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        begin
          select jsonb_object_agg(s.metric,
                   case when pg_column_size(s.value) > {SMALL_BYTES} then 'null' else s.value end)
            into new.state from jsonb_each(new.state) as s (metric, value);
          if pg_column_size(new.state) > {_MOST_BYTES} then
            new.state := '{{}}';
            new.state_times := '{{}}';
          end if;
          return new;
        end
    """,
    comment="Trigger: makes large values of a state null, or forgets the whole of it if that does "
    "not help.",
    metadata=Base.metadata,
)

Function(
    "refuse_large_shadow",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        begin
          raise exception 'desired_state or reported_state of device % is larger than 1 MB',
              new.device_id
            using errcode = 'check_violation', table = tg_table_name,
                  detail = format('Expected at most {STATE_BYTES} bytes of jsonb each, found %s '
                                  'and %s.', {_SIZE.format("desired_state")},
                                  {_SIZE.format("reported_state")}),
                  hint = 'Keep documents elsewhere, and their address in the shadow.';
        end
    """,
    comment="Trigger: refuses a shadow of a device that is larger than 1 MB.",
    metadata=Base.metadata,
)


def bounded_state(table: str) -> Trigger:
    """A trigger by which ``state`` takes at most 8 MB, and more than 1 MB of small values only."""
    return Trigger(
        f"{table}_is_bounded",
        timing="before",
        events="insert or update of state",
        when=f"{_SIZE.format('state')} > {STATE_BYTES}",
        function="bound_device_state()",
    )


def bounded_shadow(table: str) -> Trigger:
    """A trigger that refuses a desired or reported state of more than 1 MB."""
    return Trigger(
        f"{table}_has_a_small_shadow",
        timing="before",
        events="insert or update of desired_state, reported_state",
        when=f"{_SIZE.format('desired_state')} > {STATE_BYTES}"
        f" OR {_SIZE.format('reported_state')} > {STATE_BYTES}",
        function="refuse_large_shadow()",
    )
