"""What functions in PL/pgSQL have in common."""

from __future__ import annotations

PLPGSQL_SETTINGS = {"search_path": "pg_catalog, pg_temp"}
"""The search_path of functions with a text body. It contains none of our schemas, so that no role
can create an object that the function would use instead of ours."""

QUEUE_IS_FULL = "pg_notification_queue_usage() > 0.5"
"""Whether notifications are left out. In a full queue every transaction with one fails, in all
databases of the cluster, and any login can fill it: who listens has to look by itself at times."""

OWN_ROW_ONLY = """if new.tenant_id is distinct from public.current_tenant() then
            raise exception 'new row violates check option for view "%"', tg_table_name
              using errcode = 'with_check_option_violation';
          end if;"""
"""Refuses a row of another tenant as a check option does. Without it the unique key would come
first, and whether the row is skipped or refused would tell whether the other tenant has it."""
