"""Change notifications: NOTIFY with the tenants whose rows changed, once per statement."""

from __future__ import annotations

from ddl import Function, Trigger, sql
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS, QUEUE_IS_FULL

MAX_NOTIFIED_TENANTS = 200
"""For more tenants than this, one notification with the payload ``*`` is sent."""

# One function serves all tables: the relevant columns are an argument, so the query is dynamic. The
# triggers below give the transition tables their names.
Function(
    "notify_tenants",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          changed text := 'select distinct tenant_id from new_rows';
          changed_tenants uuid[];
        begin
          if {QUEUE_IS_FULL} then
            return null;
          end if;
          if tg_op = 'DELETE' then
            changed := 'select distinct tenant_id from old_rows';
          elsif tg_op = 'UPDATE' then
            changed := format('select distinct tenant_id from (select tenant_id, %1$s from new_rows'
              ' except all select tenant_id, %1$s from old_rows) as different', tg_argv[1]);
          end if;
          execute format('select array_agg(tenant_id) from (%s limit {MAX_NOTIFIED_TENANTS + 1})'
            ' as named', changed) into changed_tenants;
          if cardinality(changed_tenants) > {MAX_NOTIFIED_TENANTS} then
            perform pg_notify(tg_argv[0], '*');
          else
            perform pg_notify(tg_argv[0], public.tenant_pseudonym(one))
               from unnest(changed_tenants) as one;
          end if;
          return null;
        end
    """,
    comment="Trigger: NOTIFY the given channel with the pseudonym of each tenant whose rows "
    "changed in the given columns.",
    metadata=Base.metadata,
)


def change_notifications(channel: str, columns: str) -> tuple[Trigger, Trigger, Trigger]:
    """Triggers that notify ``channel`` of rows inserted, deleted, or changed in ``columns``."""
    listed = ", ".join(sql.ident(sql.unquoted(one)) for one in sql.split_list(columns))
    call = f"notify_tenants({sql.literal(channel)}, {sql.literal(listed)})"
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
