"""shared functions

Revision 0001, after none; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_schema("timeseries")
    op.revoke("schema public", {"PUBLIC": "usage"})
    op.create_function(
        "check_status_transition", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  step text := old.status || ' > ' || new.status;\n"
            "begin\n"
            "  if step = any (tg_argv) then\n"
            "    return new;\n"
            "  end if;\n"
            "  raise exception '% cannot go from % to %', tg_table_name, old.status, new.status\n"
            "    using errcode = 'check_violation', table = tg_table_name, column = 'status',\n"
            "          hint = format('Allowed from %s: %s.', old.status,\n"
            "            coalesce((select string_agg(split_part(allowed, ' > ', 2), ', ')\n"
            "                        from unnest(tg_argv) as allowed\n"
            "                       where split_part(allowed, ' > ', 1) = old.status), 'nothing'));\n"
            "end"
        ),
        comment="Trigger: rejects status transitions that are not in its arguments.",
    )
    op.create_function(
        "current_tenant", returns="uuid", language="sql", volatility="stable", parallel="safe",
        body="RETURN nullif(current_setting('app.tenant_id', true), '')::uuid",
        comment="The tenant of the current transaction, or NULL. Nothing else reads the setting.",
        grants={"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "execute"},
    )
    op.create_function(
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
            "    perform pg_notify(tg_argv[0], one::text) from unnest(changed_tenants) as one;\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: NOTIFY the given channel with each tenant whose rows changed in the given columns.",
    )
    op.create_function(
        "reject_system_row_change", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if pg_has_role(current_user, 'fleet_app', 'usage')\n"
            "     and not pg_has_role(current_user, 'fleet_operator', 'usage') then\n"
            "    raise exception 'a system row of % cannot be changed by a tenant (%)',\n"
            "        tg_table_name, lower(tg_op)\n"
            "      using errcode = 'insufficient_privilege', table = tg_table_name,\n"
            "            hint = 'Create a row of your own; only operators change system rows.';\n"
            "  end if;\n"
            "  if tg_op = 'DELETE' then\n"
            "    return old;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: rejects changes by tenants to rows that its condition selects.",
    )
    op.create_function(
        "set_updated_at", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  new.updated_at := now();\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: sets updated_at to the time of the transaction.",
    )
    op.create_function(
        "uuid7", returns="uuid", language="sql", parallel="safe",
        body="RETURN (overlay(lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 4096000)::bigint), 15, '0')"
            " placing '7' FROM 13 FOR 0) || right(gen_random_uuid()::text, 17))::uuid",
        comment="A new time-ordered id, UUID version 7, on every supported server.",
        grants={"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "execute"},
    )
    op.grant("schema public", {"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "usage"})
    op.grant("schema timeseries", {"fleet_ingest, fleet_operator, fleet_operator_read": "usage"})


def downgrade() -> None:
    op.revoke("schema timeseries", {"fleet_ingest, fleet_operator, fleet_operator_read": "usage"})
    op.revoke("schema public", {"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "usage"})
    op.drop_function("uuid7")
    op.drop_function("set_updated_at")
    op.drop_function("reject_system_row_change")
    op.drop_function("notify_tenants")
    op.drop_function("current_tenant")
    op.drop_function("check_status_transition")
    op.grant("schema public", {"PUBLIC": "usage"})
    op.drop_schema("timeseries")
