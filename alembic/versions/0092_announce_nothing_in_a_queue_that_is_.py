"""announce nothing in a queue that is half full

Revision 0092, after 0091; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0092"
down_revision = "0091"


def upgrade() -> None:
    op.replace_function(
        "notify_own_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if public.current_tenant() is not null and not pg_notification_queue_usage() > 0.5 then\n"
            "    perform pg_notify('telemetry', public.tenant_pseudonym(public.current_tenant()));\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY telemetry for the tenant of the transaction, if one is set.",
    )
    op.replace_function(
        "notify_tenants", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  changed text := 'select distinct tenant_id from new_rows';\n"
            "  changed_tenants uuid[];\n"
            "begin\n"
            "  if pg_notification_queue_usage() > 0.5 then\n"
            "    return null;\n"
            "  end if;\n"
            "  if tg_op = 'DELETE' then\n"
            "    changed := 'select distinct tenant_id from old_rows';\n"
            "  elsif tg_op = 'UPDATE' then\n"
            "    changed := format('select distinct tenant_id from (select tenant_id, %1$s from new_rows'\n"
            "      ' except all select tenant_id, %1$s from old_rows) as different', tg_argv[1]);\n"
            "  end if;\n"
            "  execute format('select array_agg(tenant_id) from (%s limit 201)'\n"
            "    ' as named', changed) into changed_tenants;\n"
            "  if cardinality(changed_tenants) > 200 then\n"
            "    perform pg_notify(tg_argv[0], '*');\n"
            "  else\n"
            "    perform pg_notify(tg_argv[0], public.tenant_pseudonym(one))\n"
            "       from unnest(changed_tenants) as one;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY the given channel with the pseudonym of each tenant whose rows changed in the given"
            " columns.",
    )
    op.replace_function(
        "announce_alerts", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if pg_notification_queue_usage() > 0.5 then\n"
            "    return null;\n"
            "  elsif tg_op = 'INSERT' then\n"
            "    perform pg_notify('fleet_alert', public.tenant_pseudonym(n.tenant_id))\n"
            "       from (select distinct tenant_id from new_rows) as n;\n"
            "  else\n"
            "    perform pg_notify('fleet_alert', public.tenant_pseudonym(c.tenant_id))\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where (n.status, n.severity, n.escalation_level, n.silenced_until) is distinct from"
            " (o.status, o.severity, o.escalation_level, o.silenced_until)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY fleet_alert once per statement and tenant whose alerts changed.",
    )
    op.replace_function(
        "announce_notification_jobs", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if pg_notification_queue_usage() > 0.5 then\n"
            "    return null;\n"
            "  elsif tg_op = 'INSERT' then\n"
            "    perform pg_notify('notification_jobs', public.tenant_pseudonym(n.tenant_id))\n"
            "       from (select distinct tenant_id from new_rows where status = 'pending') as n;\n"
            "  else\n"
            "    perform pg_notify('notification_jobs', public.tenant_pseudonym(c.tenant_id))\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where n.status = 'pending'\n"
            "                and (n.status, n.next_run_at) is distinct from (o.status, o.next_run_at)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY notification_jobs once per statement and tenant with new or rescheduled pending jobs.",
    )
    op.replace_function(
        "notify_telemetry", "tenants uuid[]", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  named uuid[] := array(\n"
            "    select distinct t from unnest(tenants) t where t is not null\n"
            "     limit 201);\n"
            "begin\n"
            "  if pg_notification_queue_usage() > 0.5 then\n"
            "    return;\n"
            "  elsif cardinality(named) > 200 then\n"
            "    perform pg_notify('telemetry', '*');\n"
            "  else\n"
            "    perform pg_notify('telemetry', public.tenant_pseudonym(t)) from unnest(named) t;\n"
            "  end if;\n"
            "end"
        ),
        comment="NOTIFY telemetry at commit, once for each tenant; * for more than 200.",
    )


def downgrade() -> None:
    op.replace_function(
        "notify_telemetry", "tenants uuid[]", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  named uuid[] := array(\n"
            "    select distinct t from unnest(tenants) t where t is not null\n"
            "     limit 201);\n"
            "begin\n"
            "  if cardinality(named) > 200 then\n"
            "    perform pg_notify('telemetry', '*');\n"
            "  else\n"
            "    perform pg_notify('telemetry', public.tenant_pseudonym(t)) from unnest(named) t;\n"
            "  end if;\n"
            "end"
        ),
        comment="NOTIFY telemetry at commit, once for each tenant; * for more than 200.",
    )
    op.replace_function(
        "announce_notification_jobs", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('notification_jobs', public.tenant_pseudonym(n.tenant_id))\n"
            "       from (select distinct tenant_id from new_rows where status = 'pending') as n;\n"
            "  else\n"
            "    perform pg_notify('notification_jobs', public.tenant_pseudonym(c.tenant_id))\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where n.status = 'pending'\n"
            "                and (n.status, n.next_run_at) is distinct from (o.status, o.next_run_at)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY notification_jobs once per statement and tenant with new or rescheduled pending jobs.",
    )
    op.replace_function(
        "announce_alerts", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('fleet_alert', public.tenant_pseudonym(n.tenant_id))\n"
            "       from (select distinct tenant_id from new_rows) as n;\n"
            "  else\n"
            "    perform pg_notify('fleet_alert', public.tenant_pseudonym(c.tenant_id))\n"
            "       from (select distinct n.tenant_id\n"
            "               from new_rows n\n"
            "               join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id\n"
            "              where (n.status, n.severity, n.escalation_level, n.silenced_until) is distinct from"
            " (o.status, o.severity, o.escalation_level, o.silenced_until)) as c;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY fleet_alert once per statement and tenant whose alerts changed.",
    )
    op.replace_function(
        "notify_tenants", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  changed text := 'select distinct tenant_id from new_rows';\n"
            "  changed_tenants uuid[];\n"
            "begin\n"
            "  if tg_op = 'DELETE' then\n"
            "    changed := 'select distinct tenant_id from old_rows';\n"
            "  elsif tg_op = 'UPDATE' then\n"
            "    changed := format('select distinct tenant_id from (select tenant_id, %1$s from new_rows'\n"
            "      ' except all select tenant_id, %1$s from old_rows) as different', tg_argv[1]);\n"
            "  end if;\n"
            "  execute format('select array_agg(tenant_id) from (%s limit 201)'\n"
            "    ' as named', changed) into changed_tenants;\n"
            "  if cardinality(changed_tenants) > 200 then\n"
            "    perform pg_notify(tg_argv[0], '*');\n"
            "  else\n"
            "    perform pg_notify(tg_argv[0], public.tenant_pseudonym(one))\n"
            "       from unnest(changed_tenants) as one;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY the given channel with the pseudonym of each tenant whose rows changed in the given"
            " columns.",
    )
    op.replace_function(
        "notify_own_telemetry", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if public.current_tenant() is not null then\n"
            "    perform pg_notify('telemetry', public.tenant_pseudonym(public.current_tenant()));\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY telemetry for the tenant of the transaction, if one is set.",
    )
