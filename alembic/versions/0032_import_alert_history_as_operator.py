"""import alert history as operator

Revision 0032, after 0031; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.alter_column(
        "fleet_alert", "acknowledged_at", existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Set by the database, as closed_at is; an operator who imports history gives both.",
        existing_comment="Set by the database, as closed_at is.", existing_nullable=True,
    )
    # accept require-concurrent-index-creation: alerts are few, and raised a few times a second at most
    op.create_index(
        op.f("ix_fleet_alert_closed_at"), "fleet_alert", ["tenant_id", "closed_at"], unique=False,
        postgresql_where=sa.text("closed_at IS NOT NULL"),
    )
    op.replace_function(
        "keep_alert_status", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  imports boolean := pg_has_role(current_user, 'fleet_operator', 'usage');\n"
            "  given boolean := imports;\n"
            "  kept jsonb;\n"
            "  left_over jsonb;\n"
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    if not imports or new.status = 'open' then\n"
            "      if new.status <> 'open' then\n"
            "        raise exception 'a new alert has status open, not %', new.status\n"
            "          using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "                constraint = tg_name, column = 'status',\n"
            "                hint = 'Only fleet_operator imports alerts that are over.';\n"
            "      end if;\n"
            "      new.acknowledged_at := null;\n"
            "      new.closed_at := null;\n"
            "      return new;\n"
            "    end if;\n"
            "    new.next_escalation_at := null;\n"
            "  elsif new.status <> old.status then\n"
            "    if (old.status, new.status) not in\n"
            "       (('open', 'acknowledged'), ('open', 'closed'), ('acknowledged', 'closed')) then\n"
            "      raise exception 'alert % cannot go from % to %', old.id, old.status, new.status\n"
            "        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "              constraint = tg_name, column = 'status',\n"
            "              hint = 'Allowed: open to acknowledged or closed, acknowledged to closed.';\n"
            "    end if;\n"
            "    given := imports and (new.acknowledged_at, new.closed_at)\n"
            "                         is distinct from (old.acknowledged_at, old.closed_at);\n"
            "    if not given and new.status = 'acknowledged' then\n"
            "      new.acknowledged_at := now();\n"
            "      new.closed_at := null;\n"
            "    elsif not given then\n"
            "      new.acknowledged_at := old.acknowledged_at;\n"
            "      new.closed_at := now();\n"
            "    end if;\n"
            "    new.next_escalation_at := null;\n"
            "  else\n"
            "    new.acknowledged_at := old.acknowledged_at;\n"
            "    new.closed_at := old.closed_at;\n"
            "    if old.status = 'closed' then\n"
            "      -- References may become NULL; everything else must stay as it was.\n"
            "      kept := to_jsonb(old);\n"
            "      left_over := to_jsonb(new);\n"
            "      if left_over - array['device_id', 'site_id', 'endpoint_id', 'tag_id', 'rule_id', 'acknowledged_by',"
            " 'closed_by', 'escalation_policy_id', 'updated_at'] <> kept - array['device_id', 'site_id',"
            " 'endpoint_id', 'tag_id', 'rule_id', 'acknowledged_by', 'closed_by', 'escalation_policy_id',"
            " 'updated_at']\n"
            "         or not jsonb_strip_nulls(left_over - 'details' - 'updated_at') <@ kept then\n"
            "        raise exception 'alert % is closed and can no longer be changed', old.id\n"
            "          using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "                constraint = tg_name, hint = 'Add a note in alert_events instead.';\n"
            "      end if;\n"
            "    end if;\n"
            "    return new;\n"
            "  end if;\n"
            "  if given and not coalesce(\n"
            "       case new.status\n"
            "         when 'acknowledged'\n"
            "         then new.acknowledged_at between new.created_at and now() and new.closed_at is null\n"
            "         else coalesce(new.acknowledged_at, new.created_at) >= new.created_at\n"
            "          and new.closed_at between coalesce(new.acknowledged_at, new.created_at) and now()\n"
            "       end, false) then\n"
            "    raise exception 'alert % is % with created_at %, acknowledged_at %, closed_at %',\n"
            "        new.fingerprint, new.status, new.created_at,\n"
            "        coalesce(new.acknowledged_at::text, 'NULL'), coalesce(new.closed_at::text, 'NULL')\n"
            "      using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "            constraint = tg_name, hint = 'Expected created_at <= acknowledged_at'\n"
            "              || case new.status when 'acknowledged' then ' <= now(), and closed_at NULL.'\n"
            "                   else ' (or NULL) <= closed_at <= now().' end;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: allows only open, acknowledged, closed in that order, and sets the times; operators import"
            " alerts that are over, with their own times.",
    )
    op.replace_function(
        "record_alert_event", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  step record;\n"
            "begin\n"
            "  for step in\n"
            "    select e.event, e.actor_id, e.at\n"
            "      from (values (1, 'opened', null::uuid, new.created_at),\n"
            "                   (2, 'acknowledged', new.acknowledged_by, new.acknowledged_at),\n"
            "                   (3, 'closed', new.closed_by, new.closed_at)) as e(n, event, actor_id, at)\n"
            "     where case tg_op when 'INSERT' then e.at is not null\n"
            "                      else new.status <> old.status and e.event = new.status end\n"
            "     order by e.n\n"
            "  loop\n"
            "    if step.at = now() then\n"
            "      insert into public.alert_events (tenant_id, alert_id, event, actor_id)\n"
            "      values (new.tenant_id, new.id, step.event, step.actor_id);\n"
            "    else\n"
            "      insert into public.alert_events (tenant_id, alert_id, event, actor_id, at)\n"
            "      values (new.tenant_id, new.id, step.event, step.actor_id, step.at);\n"
            "    end if;\n"
            "  end loop;\n"
            "  if tg_op = 'INSERT' then\n"
            "    return null;\n"
            "  end if;\n"
            "  if new.escalation_level <> old.escalation_level then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, details)\n"
            "    values (new.tenant_id, new.id, 'escalated',\n"
            "            jsonb_build_object('level', new.escalation_level));\n"
            "  end if;\n"
            "  if new.silenced_until is distinct from old.silenced_until then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, details)\n"
            "    values (new.tenant_id, new.id, 'silenced',\n"
            "            jsonb_build_object('until', new.silenced_until));\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: records changes of an alert in alert_events.",
    )
    op.replace_function(
        "reject_manual_alert_event", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if pg_trigger_depth() < 2\n"
            "     and not (new.event in ('escalated', 'silenced')\n"
            "              and pg_has_role(current_user, 'fleet_operator', 'usage')) then\n"
            "    raise exception 'event % can only be written by the database', new.event\n"
            "      using errcode = 'insufficient_privilege', table = tg_table_name,\n"
            "            hint = 'Change the alert, and the event is recorded. Only notes can be inserted.';\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: rejects events other than notes that are inserted directly.",
    )
    op.grant("audit_events", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("device_connection_events", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("device_health_hourly", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("device_health_telemetry", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("health_checks", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("health_checks_daily", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("health_checks_hourly", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("notification_log", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("quarantine_counters_minute", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("quarantine_events", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("tag_values", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("tag_values_hourly", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("telemetry", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("telemetry_daily", {"fleet_operator, fleet_operator_read": "select"})
    op.grant("telemetry_hourly", {"fleet_operator, fleet_operator_read": "select"})


def downgrade() -> None:
    op.revoke("telemetry_hourly", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("telemetry_daily", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("telemetry", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("tag_values_hourly", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("tag_values", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("quarantine_events", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("quarantine_counters_minute", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("notification_log", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("health_checks_hourly", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("health_checks_daily", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("health_checks", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("device_health_telemetry", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("device_health_hourly", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("device_connection_events", {"fleet_operator, fleet_operator_read": "select"})
    op.revoke("audit_events", {"fleet_operator, fleet_operator_read": "select"})
    op.replace_function(
        "reject_manual_alert_event", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if pg_trigger_depth() < 2 then\n"
            "    raise exception 'event % can only be written by the database', new.event\n"
            "      using errcode = 'insufficient_privilege', table = tg_table_name,\n"
            "            hint = 'Change the alert, and the event is recorded. Only notes can be inserted.';\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: rejects events other than notes that are inserted directly.",
    )
    op.replace_function(
        "record_alert_event", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event)\n"
            "    values (new.tenant_id, new.id, 'opened');\n"
            "    return null;\n"
            "  end if;\n"
            "  if new.status <> old.status then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, actor_id)\n"
            "    values (new.tenant_id, new.id, new.status,\n"
            "            case new.status when 'closed' then new.closed_by else new.acknowledged_by end);\n"
            "  end if;\n"
            "  if new.escalation_level <> old.escalation_level then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, details)\n"
            "    values (new.tenant_id, new.id, 'escalated',\n"
            "            jsonb_build_object('level', new.escalation_level));\n"
            "  end if;\n"
            "  if new.silenced_until is distinct from old.silenced_until then\n"
            "    insert into public.alert_events (tenant_id, alert_id, event, details)\n"
            "    values (new.tenant_id, new.id, 'silenced',\n"
            "            jsonb_build_object('until', new.silenced_until));\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: records changes of an alert in alert_events.",
    )
    op.replace_function(
        "keep_alert_status", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  kept jsonb;\n"
            "  left_over jsonb;\n"
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    if new.status <> 'open' then\n"
            "      raise exception 'a new alert has status open, not %', new.status\n"
            "        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "              constraint = tg_name, column = 'status';\n"
            "    end if;\n"
            "    new.acknowledged_at := null;\n"
            "    new.closed_at := null;\n"
            "    return new;\n"
            "  end if;\n"
            "  new.acknowledged_at := old.acknowledged_at;\n"
            "  new.closed_at := old.closed_at;\n"
            "  if new.status <> old.status then\n"
            "    if (old.status, new.status) not in\n"
            "       (('open', 'acknowledged'), ('open', 'closed'), ('acknowledged', 'closed')) then\n"
            "      raise exception 'alert % cannot go from % to %', old.id, old.status, new.status\n"
            "        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "              constraint = tg_name, column = 'status',\n"
            "              hint = 'Allowed: open to acknowledged or closed, acknowledged to closed.';\n"
            "    end if;\n"
            "    if new.status = 'acknowledged' then\n"
            "      new.acknowledged_at := now();\n"
            "    else\n"
            "      new.closed_at := now();\n"
            "    end if;\n"
            "    new.next_escalation_at := null;\n"
            "  elsif old.status = 'closed' then\n"
            "    -- References may become NULL; everything else must stay as it was.\n"
            "    kept := to_jsonb(old);\n"
            "    left_over := to_jsonb(new);\n"
            "    if left_over - array['device_id', 'site_id', 'endpoint_id', 'tag_id', 'rule_id', 'acknowledged_by',"
            " 'closed_by', 'escalation_policy_id', 'updated_at'] <> kept - array['device_id', 'site_id',"
            " 'endpoint_id', 'tag_id', 'rule_id', 'acknowledged_by', 'closed_by', 'escalation_policy_id',"
            " 'updated_at']\n"
            "       or not jsonb_strip_nulls(left_over - 'details' - 'updated_at') <@ kept then\n"
            "      raise exception 'alert % is closed and can no longer be changed', old.id\n"
            "        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "              constraint = tg_name, hint = 'Add a note in alert_events instead.';\n"
            "    end if;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: allows only open, acknowledged, closed in that order, and sets the times.",
    )
    op.drop_index(
        op.f("ix_fleet_alert_closed_at"), table_name="fleet_alert", postgresql_where=sa.text("closed_at IS NOT NULL"),
    )
    op.alter_column(
        "fleet_alert", "acknowledged_at", existing_type=postgresql.TIMESTAMP(timezone=True),
        comment="Set by the database, as closed_at is.",
        existing_comment="Set by the database, as closed_at is; an operator who imports history gives both.",
        existing_nullable=True,
    )
