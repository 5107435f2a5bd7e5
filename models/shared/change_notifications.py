"""NOTIFY: listeners are told which tenant's rows changed, once per statement, only on change."""

from __future__ import annotations

from ddl import Function, Trigger
from models.shared.base import Base
from models.shared.functions import PLPGSQL_SETTINGS

MOST_NAMED = 200
"""A statement about more tenants says ``*``: a payload holds 8,000 bytes."""

# One function for all tables: the columns that count are an argument, so the query is put
# together. Transition tables have the names that the triggers below give them.
Function(
    "notify_tenants",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          changed text := 'select distinct tenant_id from new_rows';
          told uuid[];
        begin
          if tg_op = 'DELETE' then
            changed := 'select distinct tenant_id from old_rows';
          elsif tg_op = 'UPDATE' then
            changed := format('select distinct tenant_id from (select tenant_id, %1$s from new_rows'
              ' except all select tenant_id, %1$s from old_rows) as different', tg_argv[1]);
          end if;
          execute format('select array_agg(tenant_id) from (%s limit {MOST_NAMED + 1}) as named',
            changed) into told;
          if cardinality(told) > {MOST_NAMED} then
            perform pg_notify(tg_argv[0], '*');
          else
            perform pg_notify(tg_argv[0], one::text) from unnest(told) as one;
          end if;
          return null;
        end
    """,
    comment="Trigger: NOTIFY a channel of each tenant whose rows differ in the given columns.",
    metadata=Base.metadata,
)


def change_notifications(channel: str, columns: str) -> tuple[Trigger, Trigger, Trigger]:
    """The triggers that tell ``channel`` of rows made, deleted, or changed in ``columns``."""
    call = f"notify_tenants('{channel}', '{columns}')"
    return (
        Trigger(
            f"notify_{channel}_of_insert",
            timing="after",
            events="insert",
            function=call,
            level="statement",
            new_table="new_rows",
        ),
        Trigger(
            f"notify_{channel}_of_update",
            timing="after",
            events="update",
            function=call,
            level="statement",
            old_table="old_rows",
            new_table="new_rows",
        ),
        Trigger(
            f"notify_{channel}_of_delete",
            timing="after",
            events="delete",
            function=call,
            level="statement",
            old_table="old_rows",
        ),
    )
