"""keep workers of all tenants going

Revision 0083, after 0082; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0083"
down_revision = "0082"


# accept delete public.oncall_layers: layers that end before the year 1, or begin after 9999, never apply
# accept ban-drop-constraint: each is added again below, stricter
def upgrade() -> None:
    op.revoke("endpoints", {"fleet_app": "insert, update"})
    op.revoke("jobs", {"fleet_app": "insert"})
    op.revoke("notification_jobs", {"fleet_app": "insert, update"})
    op.remove_constraint("jobs", "ck_jobs_max_attempts")
    op.remove_constraint("notification_jobs", "ck_notification_jobs_attempts")
    op.remove_constraint("notification_jobs", "ck_notification_jobs_taken")
    # Rows from before would fail each later UPDATE, or stop the workers as they did. Nobody writes
    # more of them until the CHECKs are there.
    op.execute(
        r"""DO $do$
declare
  of_session text := current_setting('role');
  first constant timestamptz := '0001-01-02 00:00+00';
  last constant timestamptz := '9999-12-30 00:00+00';
  numbers constant jsonpath := 'strict $.** ? (@.type() == "number" && (exists(@.double())) is unknown)';
  levels constant jsonpath := 'strict $.**{101 to last}';
  one record;
  row_of record;
  fits boolean;
begin
  lock table public.endpoints, public.oncall_layers in share row exclusive mode;
  perform set_config('role', 'fleet_operator', true);
  for one in
    select * from (values
      ('jobs', 'params', 1048576, $$status = case when finished_at is null then 'cancelled' else status end,
         finished_at = coalesce(finished_at, now()), error = 'the upgrade found params that no worker can read',
         params = '{}'$$),
      ('jobs', 'progress', 1048576, 'progress = null'),
      ('jobs', 'result', 1048576, 'result = null'),
      ('notification_jobs', 'payload', 65536, $$status = case when finished_at is null then 'canceled' else status end,
         finished_at = coalesce(finished_at, now()), locked_until = null,
         last_error = 'the upgrade found a payload that no worker can read',
         payload = '{}'$$),
      ('endpoints', 'options', 65536, $$options = '{}', enabled = false$$)
    ) as v (relation, document, most, mended)
  loop
    -- Some of these documents fail whoever looks at them, but no small one does.
    for row_of in execute format(
      'select tenant_id, id from public.%1$I where case when %2$I is null then false'
      ' when pg_column_size(%2$I) > 200 then true'
      ' when jsonb_path_exists(%2$I, $1) then true when jsonb_path_exists(%2$I, $2) then true'
      ' else length(%2$I::text) > $3 end', one.relation, one.document) using numbers, levels, one.most
    loop
      begin
        execute format(
          'select case when jsonb_path_exists(%2$I, $1) then false when jsonb_path_exists(%2$I, $2) then false'
          ' else length(%2$I::text) <= $3 end from public.%1$I where tenant_id = $4 and id = $5',
          one.relation, one.document)
          into fits using numbers, levels, one.most, row_of.tenant_id, row_of.id;
      exception when program_limit_exceeded or statement_too_complex or internal_error then
        fits := false;
      end;
      if not fits then
        execute format('update public.%I set %s where tenant_id = $1 and id = $2', one.relation, one.mended)
          using row_of.tenant_id, row_of.id;
      end if;
    end loop;
  end loop;
  update public.jobs
     set attempts = least(attempts, 1000), max_attempts = least(max_attempts, 1000),
         run_at = greatest(first, least(run_at, last))
   where max_attempts > 1000 or not (run_at between first and last);
  update public.jobs
     set created_at = greatest(first, least(created_at, last)),
         started_at = case when started_at is not null then now() end,
         finished_at = case when finished_at is not null then now() end
   where not (created_at between first and last) or not (started_at between first and last)
      or not (finished_at between first and last);
  update public.notification_jobs
     set attempts = greatest(least(attempts, max_attempts, 1000), case status when 'processing' then 1 else 0 end),
         max_attempts = least(max_attempts, 1000), next_run_at = greatest(first, least(next_run_at, last))
   where max_attempts > 1000 or attempts > max_attempts or status = 'processing' and attempts = 0
      or not (next_run_at between first and last);
  update public.endpoints
     set url = left(url, 65536), enabled = enabled and length(url) <= 65536,
         created_at = greatest(first, least(created_at, last))
   where length(url) > 65536 or not (created_at between first and last) or not (updated_at between first and last);
  -- Those that never apply could overlap once their start is another.
  delete from public.oncall_layers where ends_at <= first or starts_at > last;
  update public.oncall_layers set starts_at = first where starts_at < first;
  perform set_config('role', of_session, true);
end $do$"""
    )
    op.add_constraint(
        "endpoints", "ck_endpoints_options_readable",
        "CHECK (NOT jsonb_path_exists(options, 'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is unknown)')"
            " AND NOT jsonb_path_exists(options, 'strict $.**{101 to last}') AND length(CAST(options AS text)) <="
            " 65536) NOT VALID",
    )
    op.add_constraint("endpoints", "ck_endpoints_url_bounded", "CHECK (length(url) <= 65536) NOT VALID")
    op.add_constraint("jobs", "ck_jobs_max_attempts", "CHECK (max_attempts BETWEEN 1 AND 1000) NOT VALID")
    op.add_constraint(
        "jobs", "ck_jobs_params_readable",
        "CHECK (NOT jsonb_path_exists(params, 'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is unknown)') AND"
            " NOT jsonb_path_exists(params, 'strict $.**{101 to last}') AND length(CAST(params AS text)) <= 1048576)"
            " NOT VALID",
    )
    op.add_constraint(
        "jobs", "ck_jobs_run_at_readable",
        "CHECK (run_at >= timestamptz '0001-01-02 00:00+00' AND run_at < '9999-12-31 00:00+00') NOT VALID",
    )
    op.add_constraint(
        "notification_jobs", "ck_notification_jobs_attempts",
        "CHECK (attempts BETWEEN 0 AND max_attempts AND max_attempts BETWEEN 1 AND 1000) NOT VALID",
    )
    op.add_constraint(
        "notification_jobs", "ck_notification_jobs_next_run_at_readable",
        "CHECK (next_run_at >= timestamptz '0001-01-02 00:00+00' AND next_run_at < '9999-12-31 00:00+00') NOT VALID",
    )
    op.add_constraint(
        "notification_jobs", "ck_notification_jobs_payload_readable",
        "CHECK (NOT jsonb_path_exists(payload, 'strict $.** ? (@.type() == \"number\" && (exists(@.double())) is unknown)')"
            " AND NOT jsonb_path_exists(payload, 'strict $.**{101 to last}') AND length(CAST(payload AS text)) <="
            " 65536) NOT VALID",
    )
    op.add_constraint(
        "notification_jobs", "ck_notification_jobs_taken",
        "CHECK (CASE WHEN status = 'processing' THEN attempts > 0 AND worker IS NOT NULL AND locked_until IS NOT NULL"
            " ELSE locked_until IS NULL END) NOT VALID",
    )
    op.add_constraint(
        "oncall_layers", "ck_oncall_layers_starts_at_readable",
        "CHECK (starts_at >= timestamptz '0001-01-02 00:00+00' AND starts_at < '9999-12-31 00:00+00') NOT VALID",
    )
    op.replace_function(
        "finish_notification_job",
        "job uuid, worker text, delivered boolean, error text DEFAULT NULL, duration_ms double precision DEFAULT NULL,"
            " tenant uuid DEFAULT current_tenant()",
        returns="text", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH done AS (\n"
            "    UPDATE notification_jobs AS j\n"
            "       SET status = o.status,\n"
            "           locked_until = NULL,\n"
            "           last_error = finish_notification_job.error,\n"
            "           finished_at = CASE WHEN o.status <> 'pending' THEN now() END,\n"
            "           next_run_at = CASE WHEN o.status <> 'pending' THEN j.next_run_at\n"
            "             ELSE now() + make_interval(\n"
            "               secs => least(3600, 30 * 2 ^ (least(j.attempts, 20) - 1))\n"
            "                       * (1 + random() / 4)) END\n"
            "      FROM (SELECT h.tenant_id, h.id,\n"
            "                   CASE WHEN finish_notification_job.delivered THEN 'completed'\n"
            "                        WHEN h.attempts >= h.max_attempts THEN 'failed'\n"
            "                        ELSE 'pending' END AS status\n"
            "              FROM notification_jobs AS h\n"
            "             WHERE h.tenant_id = finish_notification_job.tenant\n"
            "               AND h.id = finish_notification_job.job) AS o\n"
            "     WHERE j.tenant_id = o.tenant_id AND j.id = o.id\n"
            "       AND j.status = 'processing' AND j.worker = finish_notification_job.worker\n"
            "    RETURNING j.tenant_id, j.id, j.channel_id, j.alert_id, j.incident_id, j.event,\n"
            "              j.attempts, j.status\n"
            "  ), logged AS (\n"
            "    INSERT INTO timeseries.notification_log\n"
            "           (tenant_id, ts, id, channel_id, job_id, alert_id, incident_id, event, attempt,\n"
            "            success, error, duration_ms)\n"
            "    SELECT d.tenant_id, now(), uuid7(), d.channel_id, d.id, d.alert_id, d.incident_id,\n"
            "           d.event, d.attempts, finish_notification_job.delivered,\n"
            "           finish_notification_job.error, finish_notification_job.duration_ms\n"
            "      FROM done AS d\n"
            "  )\n"
            "  SELECT d.status FROM done AS d;\n"
            "END"
        ),
        comment="Ends an attempt and logs it; returns completed, pending (retried later) or failed (no attempts left),"
            " or NULL if the worker no longer holds the job.",
    )
    op.replace_function(
        "raise_alert",
        "fingerprint text, alert_type text, severity integer, summary text, device_id text DEFAULT NULL, site_id uuid"
            " DEFAULT NULL, rule_id uuid DEFAULT NULL, details jsonb DEFAULT '{}', confidence double precision"
            " DEFAULT 1, endpoint_id uuid DEFAULT NULL, tag_id bigint DEFAULT NULL, project_id uuid DEFAULT NULL,"
            " tenant uuid DEFAULT current_tenant()",
        returns="TABLE(alert_id bigint, is_new boolean, times bigint)", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  INSERT INTO fleet_alert AS a\n"
            "         (tenant_id, fingerprint, alert_type, severity, summary, details, confidence,\n"
            "          device_id, site_id, rule_id, endpoint_id, tag_id, escalation_policy_id,\n"
            "          next_escalation_at)\n"
            "  SELECT raise_alert.tenant, raise_alert.fingerprint, raise_alert.alert_type,\n"
            "         raise_alert.severity, raise_alert.summary, raise_alert.details,\n"
            "         raise_alert.confidence, raise_alert.device_id, place.site_id, raise_alert.rule_id,\n"
            "         raise_alert.endpoint_id, raise_alert.tag_id, policy.id,\n"
            "         now() + make_interval(mins => first.delay_minutes)\n"
            "    FROM (SELECT coalesce(raise_alert.site_id, (\n"
            "            SELECT d.site_id FROM device_registry AS d\n"
            "             WHERE d.tenant_id = raise_alert.tenant\n"
            "               AND d.device_id = raise_alert.device_id)) AS site_id) AS place\n"
            "    LEFT JOIN LATERAL (\n"
            "      SELECT p.id\n"
            "        FROM escalation_policies AS p\n"
            "        LEFT JOIN alert_rules AS r\n"
            "          ON r.tenant_id = p.tenant_id AND r.rule_id = raise_alert.rule_id\n"
            "         AND r.escalation_policy_id = p.id\n"
            "       WHERE p.tenant_id = raise_alert.tenant AND (p.is_default OR r.rule_id IS NOT NULL)\n"
            "       ORDER BY r.rule_id IS NULL\n"
            "       LIMIT 1) AS policy ON true\n"
            "    LEFT JOIN escalation_levels AS first\n"
            "      ON first.tenant_id = raise_alert.tenant AND first.policy_id = policy.id\n"
            "     AND first.level = 1\n"
            "   WHERE NOT under_maintenance(\n"
            "           device_id => raise_alert.device_id, site_id => place.site_id,\n"
            "           endpoint_id => raise_alert.endpoint_id, project_id => raise_alert.project_id,\n"
            "           tenant => raise_alert.tenant)\n"
            "      ON CONFLICT (tenant_id, fingerprint) WHERE status <> 'closed' DO UPDATE\n"
            "     SET trigger_count = least(a.trigger_count, 9223372036854775806) + 1,\n"
            "         last_triggered_at = greatest(a.last_triggered_at, excluded.last_triggered_at),\n"
            "         severity = greatest(a.severity, excluded.severity),\n"
            "         confidence = excluded.confidence,\n"
            "         summary = excluded.summary,\n"
            "         details = excluded.details\n"
            "  RETURNING a.id, a.trigger_count = 1, a.trigger_count;\n"
            "END"
        ),
        comment="Opens an alert, or increments the counter of the one with that fingerprint that is not closed;"
            " returns no row if a maintenance window covers it. project_id: that of endpoint_id.",
    )
    op.replace_function(
        "route_alert",
        "alert bigint, event text, occurrence integer DEFAULT 0, project uuid DEFAULT NULL, tenant uuid DEFAULT"
            " current_tenant()",
        returns="TABLE(job_id uuid, channel_id uuid)", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH matching AS (\n"
            "    SELECT DISTINCT ON (r.channel_id) r.channel_id, r.id, a.severity,\n"
            "           left(a.summary, 4096) AS summary\n"
            "      FROM fleet_alert AS a\n"
            "      JOIN notification_routing_rules AS r ON r.tenant_id = a.tenant_id AND r.is_enabled\n"
            "      JOIN notification_channels AS c\n"
            "        ON c.tenant_id = r.tenant_id AND c.id = r.channel_id AND c.is_enabled\n"
            "     WHERE a.tenant_id = route_alert.tenant AND a.id = route_alert.alert\n"
            "       AND (a.silenced_until IS NULL OR a.silenced_until <= now())\n"
            "       AND route_alert.event = ANY (r.deliver_on)\n"
            "       AND a.severity >= coalesce(r.min_severity, 1)\n"
            "       AND (r.alert_types = '{}' OR a.alert_type = ANY (r.alert_types))\n"
            "       AND (r.site_id IS NULL OR r.site_id = a.site_id)\n"
            "       AND (r.project_id IS NULL OR r.project_id = route_alert.project)\n"
            "       AND (r.device_prefixes = '{}' OR EXISTS (\n"
            "             SELECT FROM unnest(r.device_prefixes) AS p(prefix)\n"
            "              WHERE starts_with(a.device_id, p.prefix)))\n"
            "       AND (r.device_tag IS NULL OR EXISTS (\n"
            "             SELECT FROM device_tags AS t\n"
            "              WHERE t.tenant_id = a.tenant_id AND t.device_id = a.device_id\n"
            "                AND t.tag = r.device_tag\n"
            "                AND (r.device_tag_value IS NULL OR r.device_tag_value = t.value)))\n"
            "       AND NOT EXISTS (\n"
            "             SELECT\n"
            "               FROM notification_jobs AS j\n"
            "               JOIN fleet_alert AS b ON b.tenant_id = j.tenant_id AND b.id = j.alert_id\n"
            "              WHERE j.tenant_id = r.tenant_id AND j.rule_id = r.id\n"
            "                AND j.event = route_alert.event AND b.fingerprint = a.fingerprint\n"
            "                AND j.created_at > now() - make_interval(mins => r.throttle_minutes))\n"
            "     ORDER BY r.channel_id, r.priority, r.id\n"
            "  )\n"
            "  INSERT INTO notification_jobs AS j\n"
            "         (tenant_id, channel_id, rule_id, alert_id, event, occurrence, payload)\n"
            "  SELECT route_alert.tenant, m.channel_id, m.id, route_alert.alert, route_alert.event,\n"
            "         route_alert.occurrence,\n"
            "         jsonb_build_object('severity', m.severity, 'summary', m.summary)\n"
            "    FROM matching AS m\n"
            "      ON CONFLICT DO NOTHING\n"
            "  RETURNING j.id, j.channel_id;\n"
            "END"
        ),
        comment="Queues the notifications of an alert according to the routing rules: once per channel, event and"
            " occurrence, and not while silenced or throttled. project: that of its endpoint.",
    )
    op.replace_function(
        "take_due_escalations", "wanted integer DEFAULT 100",
        returns="TABLE(tenant_id uuid, alert_id bigint, severity integer, summary text, level integer, channel_id"
            " uuid, oncall_schedule_id uuid)",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH due AS MATERIALIZED (\n"
            "    SELECT a.tenant_id, a.id, a.escalation_policy_id, a.escalation_level + 1 AS level\n"
            "      FROM fleet_alert AS a\n"
            "     WHERE a.status = 'open' AND a.next_escalation_at <= now()\n"
            "       AND (a.silenced_until IS NULL OR a.silenced_until <= now())\n"
            "     ORDER BY a.next_escalation_at\n"
            "     LIMIT take_due_escalations.wanted\n"
            "       FOR NO KEY UPDATE OF a SKIP LOCKED\n"
            "  ), moved AS (\n"
            "    UPDATE fleet_alert AS a\n"
            "       SET escalation_level = coalesce(l.level, a.escalation_level),\n"
            "           escalated_at = CASE WHEN l.level IS NULL THEN a.escalated_at ELSE now() END,\n"
            "           next_escalation_at = now() + make_interval(mins => n.delay_minutes)\n"
            "      FROM due AS d\n"
            "      LEFT JOIN escalation_levels AS l\n"
            "        ON l.tenant_id = d.tenant_id AND l.policy_id = d.escalation_policy_id\n"
            "       AND l.level = d.level\n"
            "      LEFT JOIN escalation_levels AS n\n"
            "        ON n.tenant_id = d.tenant_id AND n.policy_id = d.escalation_policy_id\n"
            "       AND n.level = d.level + 1\n"
            "     WHERE a.tenant_id = d.tenant_id AND a.id = d.id\n"
            "    RETURNING a.tenant_id, a.id, a.severity, left(a.summary, 4096) AS summary, l.level,\n"
            "              l.channel_id, l.oncall_schedule_id\n"
            "  )\n"
            "  SELECT m.tenant_id, m.id, m.severity, m.summary, m.level, m.channel_id,\n"
            "         m.oncall_schedule_id\n"
            "    FROM moved AS m\n"
            "   WHERE m.level IS NOT NULL\n"
            "   ORDER BY m.severity DESC, m.id;\n"
            "END"
        ),
        comment="Moves due alerts to their next level and returns them, each to one caller only: those of all tenants"
            " to fleet_operator, those of the current tenant to fleet_app.",
    )
    op.grant(
        "endpoints",
        {
            "fleet_app": "insert (auth_type, enabled, expected_status, id, interval_seconds, name, options,"
                " project_id, service_type, tenant_id, timeout_seconds, url), update (auth_type, enabled,"
                " expected_status, id, interval_seconds, name, options, project_id, service_type, tenant_id,"
                " timeout_seconds, url)",
        },
    )
    op.grant("jobs", {"fleet_app": "insert (created_by, id, max_attempts, params, run_at, tenant_id, type)"})
    op.grant(
        "notification_jobs",
        {
            "fleet_app": "insert (alert_id, channel_id, event, expires_at, id, incident_id, max_attempts, next_run_at,"
                " occurrence, payload, rule_id, tenant_id, user_id), update (attempts, expires_at, finished_at,"
                " last_error, locked_until, max_attempts, next_run_at, status, worker)",
        },
    )
    op.replace_function(
        "session_tenants", "of_jti uuid, of_hash text",
        returns="TABLE(tenant_id uuid, slug text, name text, is_owner boolean)", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    select t.tenant_id, t.slug, left(t.name, 1024), m.is_owner\n"
            "      from public.tenant_members m join public.tenants t on t.tenant_id = m.tenant_id\n"
            "     where m.user_id = public.session_holder(of_jti, of_hash)\n"
            "       and m.status = 'active' and t.status = 'active'\n"
            "     order by t.slug;\n"
            "end"
        ),
        comment="The tenants that the holder of a session may enter.",
    )
    op.replace_function(
        "take_account_mail", "most integer DEFAULT 100",
        returns="TABLE(email text, display_name text, purpose text, token text, expires_at timestamptz)",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    with asked as materialized (\n"
            "      select t.id, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')\n"
            "               as made\n"
            "        from public.password_reset_tokens t\n"
            "       where t.token_hash is null and t.expires_at > now()\n"
            "       order by t.created_at limit most for update skip locked\n"
            "    )\n"
            "    update public.password_reset_tokens t\n"
            "       set token_hash = encode(sha256(convert_to(a.made, 'UTF8')), 'hex'),\n"
            "           expires_at = now() + interval '1 hour'\n"
            "      from asked a, public.users u\n"
            "     where t.id = a.id and u.id = t.user_id\n"
            "    returning coalesce(t.email, u.email), left(u.display_name, 1024), t.purpose, a.made,\n"
            "              t.expires_at;\n"
            "end"
        ),
        comment="Links to mail: address, name, purpose (reset, verify), and a new token for each. Send them, then"
            " commit: the database has hashes only. Not mailed within an hour, a link lapses.",
    )


def downgrade() -> None:
    op.replace_function(
        "take_account_mail", "most integer DEFAULT 100",
        returns="TABLE(email text, display_name text, purpose text, token text, expires_at timestamp with time zone)",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    with asked as materialized (\n"
            "      select t.id, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')\n"
            "               as made\n"
            "        from public.password_reset_tokens t\n"
            "       where t.token_hash is null and t.expires_at > now()\n"
            "       order by t.created_at limit most for update skip locked\n"
            "    )\n"
            "    update public.password_reset_tokens t\n"
            "       set token_hash = encode(sha256(convert_to(a.made, 'UTF8')), 'hex'),\n"
            "           expires_at = now() + interval '1 hour'\n"
            "      from asked a, public.users u\n"
            "     where t.id = a.id and u.id = t.user_id\n"
            "    returning coalesce(t.email, u.email), u.display_name, t.purpose, a.made, t.expires_at;\n"
            "end"
        ),
        comment="Links to mail: address, name, purpose (reset, verify), and a new token for each. Send them, then"
            " commit: the database has hashes only. Not mailed within an hour, a link lapses.",
    )
    op.replace_function(
        "session_tenants", "of_jti uuid, of_hash text",
        returns="TABLE(tenant_id uuid, slug text, name text, is_owner boolean)", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    select t.tenant_id, t.slug, t.name, m.is_owner\n"
            "      from public.tenant_members m join public.tenants t on t.tenant_id = m.tenant_id\n"
            "     where m.user_id = public.session_holder(of_jti, of_hash)\n"
            "       and m.status = 'active' and t.status = 'active'\n"
            "     order by t.slug;\n"
            "end"
        ),
        comment="The tenants that the holder of a session may enter.",
    )
    op.revoke(
        "notification_jobs",
        {
            "fleet_app": "insert (alert_id, channel_id, event, expires_at, id, incident_id, max_attempts, next_run_at,"
                " occurrence, payload, rule_id, tenant_id, user_id), update (attempts, expires_at, finished_at,"
                " last_error, locked_until, max_attempts, next_run_at, status, worker)",
        },
    )
    op.revoke("jobs", {"fleet_app": "insert (created_by, id, max_attempts, params, run_at, tenant_id, type)"})
    op.revoke(
        "endpoints",
        {
            "fleet_app": "insert (auth_type, enabled, expected_status, id, interval_seconds, name, options,"
                " project_id, service_type, tenant_id, timeout_seconds, url), update (auth_type, enabled,"
                " expected_status, id, interval_seconds, name, options, project_id, service_type, tenant_id,"
                " timeout_seconds, url)",
        },
    )
    op.replace_function(
        "take_due_escalations", "wanted integer DEFAULT 100",
        returns="TABLE(tenant_id uuid, alert_id bigint, severity integer, summary text, level integer, channel_id"
            " uuid, oncall_schedule_id uuid)",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            " WITH due AS MATERIALIZED (\n"
            "          SELECT a.tenant_id,\n"
            "             a.id,\n"
            "             a.escalation_policy_id,\n"
            "             (a.escalation_level + 1) AS level\n"
            "            FROM public.fleet_alert a\n"
            "           WHERE ((a.status = 'open'::text) AND (a.next_escalation_at <= now()) AND ((a.silenced_until IS"
            " NULL) OR (a.silenced_until <= now())))\n"
            "           ORDER BY a.next_escalation_at\n"
            "          LIMIT take_due_escalations.wanted\n"
            "          FOR NO KEY UPDATE OF a SKIP LOCKED\n"
            "         ), moved AS (\n"
            "          UPDATE public.fleet_alert a SET escalation_level = COALESCE(l.level, a.escalation_level),"
            " escalated_at =\n"
            "                 CASE\n"
            "                     WHEN (l.level IS NULL) THEN a.escalated_at\n"
            "                     ELSE now()\n"
            "                 END, next_escalation_at = (now() + make_interval(mins => n.delay_minutes))\n"
            "            FROM ((due d\n"
            "              LEFT JOIN public.escalation_levels l ON (((l.tenant_id = d.tenant_id) AND (l.policy_id ="
            " d.escalation_policy_id) AND (l.level = d.level))))\n"
            "              LEFT JOIN public.escalation_levels n ON (((n.tenant_id = d.tenant_id) AND (n.policy_id ="
            " d.escalation_policy_id) AND (n.level = (d.level + 1)))))\n"
            "           WHERE ((a.tenant_id = d.tenant_id) AND (a.id = d.id))\n"
            "           RETURNING a.tenant_id,\n"
            "             a.id,\n"
            "             a.severity,\n"
            "             a.summary,\n"
            "             l.level,\n"
            "             l.channel_id,\n"
            "             l.oncall_schedule_id\n"
            "         )\n"
            "  SELECT m.tenant_id,\n"
            "     m.id,\n"
            "     m.severity,\n"
            "     m.summary,\n"
            "     m.level,\n"
            "     m.channel_id,\n"
            "     m.oncall_schedule_id\n"
            "    FROM moved m\n"
            "   WHERE (m.level IS NOT NULL)\n"
            "   ORDER BY m.severity DESC, m.id;\n"
            "END"
        ),
        comment="Moves due alerts to their next level and returns them, each to one caller only: those of all tenants"
            " to fleet_operator, those of the current tenant to fleet_app.",
    )
    op.replace_function(
        "route_alert",
        "alert bigint, event text, occurrence integer DEFAULT 0, project uuid DEFAULT NULL::uuid, tenant uuid DEFAULT"
            " public.current_tenant()",
        returns="TABLE(job_id uuid, channel_id uuid)", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            " WITH matching AS (\n"
            "          SELECT DISTINCT ON (r.channel_id) r.channel_id,\n"
            "             r.id,\n"
            "             a.severity,\n"
            "             a.summary\n"
            "            FROM ((public.fleet_alert a\n"
            "              JOIN public.notification_routing_rules r ON (((r.tenant_id = a.tenant_id) AND"
            " r.is_enabled)))\n"
            "              JOIN public.notification_channels c ON (((c.tenant_id = r.tenant_id) AND (c.id ="
            " r.channel_id) AND c.is_enabled)))\n"
            "           WHERE ((a.tenant_id = route_alert.tenant) AND (a.id = route_alert.alert) AND"
            " ((a.silenced_until IS NULL) OR (a.silenced_until <= now())) AND (route_alert.event = ANY (r.deliver_on))"
            " AND (a.severity >= COALESCE(r.min_severity, 1)) AND ((r.alert_types = '{}'::text[]) OR (a.alert_type ="
            " ANY (r.alert_types))) AND ((r.site_id IS NULL) OR (r.site_id = a.site_id)) AND ((r.project_id IS NULL)"
            " OR (r.project_id = route_alert.project)) AND ((r.device_prefixes = '{}'::text[]) OR (EXISTS ( SELECT\n"
            "                    FROM unnest(r.device_prefixes) p(prefix)\n"
            "                   WHERE starts_with(a.device_id, p.prefix)))) AND ((r.device_tag IS NULL) OR (EXISTS ("
            " SELECT\n"
            "                    FROM public.device_tags t\n"
            "                   WHERE ((t.tenant_id = a.tenant_id) AND (t.device_id = a.device_id) AND (t.tag ="
            " r.device_tag) AND ((r.device_tag_value IS NULL) OR (r.device_tag_value = t.value)))))) AND (NOT (EXISTS"
            " ( SELECT\n"
            "                    FROM (public.notification_jobs j_1\n"
            "                      JOIN public.fleet_alert b ON (((b.tenant_id = j_1.tenant_id) AND (b.id ="
            " j_1.alert_id))))\n"
            "                   WHERE ((j_1.tenant_id = r.tenant_id) AND (j_1.rule_id = r.id) AND (j_1.event ="
            " route_alert.event) AND (b.fingerprint = a.fingerprint) AND (j_1.created_at > (now() - make_interval(mins"
            " => r.throttle_minutes))))))))\n"
            "           ORDER BY r.channel_id, r.priority, r.id\n"
            "         )\n"
            "  INSERT INTO public.notification_jobs AS j (tenant_id, channel_id, rule_id, alert_id, event, occurrence,"
            " payload)  SELECT route_alert.tenant AS tenant,\n"
            "             m.channel_id,\n"
            "             m.id,\n"
            "             route_alert.alert AS alert,\n"
            "             route_alert.event AS event,\n"
            "             route_alert.occurrence AS occurrence,\n"
            "             jsonb_build_object('severity', m.severity, 'summary', m.summary) AS jsonb_build_object\n"
            "            FROM matching m ON CONFLICT DO NOTHING\n"
            "   RETURNING j.id,\n"
            "     j.channel_id;\n"
            "END"
        ),
        comment="Queues the notifications of an alert according to the routing rules: once per channel, event and"
            " occurrence, and not while silenced or throttled. project: that of its endpoint.",
    )
    op.replace_function(
        "raise_alert",
        "fingerprint text, alert_type text, severity integer, summary text, device_id text DEFAULT NULL::text, site_id"
            " uuid DEFAULT NULL::uuid, rule_id uuid DEFAULT NULL::uuid, details jsonb DEFAULT '{}'::jsonb, confidence"
            " double precision DEFAULT 1, endpoint_id uuid DEFAULT NULL::uuid, tag_id bigint DEFAULT NULL::bigint,"
            " project_id uuid DEFAULT NULL::uuid, tenant uuid DEFAULT public.current_tenant()",
        returns="TABLE(alert_id bigint, is_new boolean, times bigint)", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            " INSERT INTO public.fleet_alert AS a (tenant_id, fingerprint, alert_type, severity, summary, details,"
            " confidence, device_id, site_id, rule_id, endpoint_id, tag_id, escalation_policy_id, next_escalation_at) "
            " SELECT raise_alert.tenant AS tenant,\n"
            "             raise_alert.fingerprint AS fingerprint,\n"
            "             raise_alert.alert_type AS alert_type,\n"
            "             raise_alert.severity AS severity,\n"
            "             raise_alert.summary AS summary,\n"
            "             raise_alert.details AS details,\n"
            "             raise_alert.confidence AS confidence,\n"
            "             raise_alert.device_id AS device_id,\n"
            "             place.site_id,\n"
            "             raise_alert.rule_id AS rule_id,\n"
            "             raise_alert.endpoint_id AS endpoint_id,\n"
            "             raise_alert.tag_id AS tag_id,\n"
            "             policy.id,\n"
            "             (now() + make_interval(mins => first.delay_minutes))\n"
            "            FROM ((( SELECT COALESCE(raise_alert.site_id, ( SELECT d.site_id\n"
            "                            FROM public.device_registry d\n"
            "                           WHERE ((d.tenant_id = raise_alert.tenant) AND (d.device_id ="
            " raise_alert.device_id)))) AS site_id) place\n"
            "              LEFT JOIN LATERAL ( SELECT p.id\n"
            "                    FROM (public.escalation_policies p\n"
            "                      LEFT JOIN public.alert_rules r ON (((r.tenant_id = p.tenant_id) AND (r.rule_id ="
            " raise_alert.rule_id) AND (r.escalation_policy_id = p.id))))\n"
            "                   WHERE ((p.tenant_id = raise_alert.tenant) AND (p.is_default OR (r.rule_id IS NOT"
            " NULL)))\n"
            "                   ORDER BY (r.rule_id IS NULL)\n"
            "                  LIMIT 1) policy ON (true))\n"
            "              LEFT JOIN public.escalation_levels first ON (((first.tenant_id = raise_alert.tenant) AND"
            " (first.policy_id = policy.id) AND (first.level = 1))))\n"
            "           WHERE (NOT public.under_maintenance(device_id => raise_alert.device_id, site_id =>"
            " place.site_id, endpoint_id => raise_alert.endpoint_id, project_id => raise_alert.project_id, tenant =>"
            " raise_alert.tenant)) ON CONFLICT(tenant_id, fingerprint)\n"
            "   WHERE (status <> 'closed'::text) DO UPDATE SET trigger_count = (a.trigger_count + 1),"
            " last_triggered_at = GREATEST(a.last_triggered_at, excluded.last_triggered_at), severity ="
            " GREATEST(a.severity, excluded.severity), confidence = excluded.confidence, summary = excluded.summary,"
            " details = excluded.details\n"
            "   RETURNING a.id,\n"
            "     (a.trigger_count = 1),\n"
            "     a.trigger_count;\n"
            "END"
        ),
        comment="Opens an alert, or increments the counter of the one with that fingerprint that is not closed;"
            " returns no row if a maintenance window covers it. project_id: that of endpoint_id.",
    )
    op.replace_function(
        "finish_notification_job",
        "job uuid, worker text, delivered boolean, error text DEFAULT NULL::text, duration_ms double precision DEFAULT"
            " NULL::double precision, tenant uuid DEFAULT public.current_tenant()",
        returns="text", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            " WITH done AS (\n"
            "          UPDATE public.notification_jobs j SET status = o.status, locked_until = NULL::timestamp with"
            " time zone, last_error = finish_notification_job.error, finished_at =\n"
            "                 CASE\n"
            "                     WHEN (o.status <> 'pending'::text) THEN now()\n"
            "                     ELSE NULL::timestamp with time zone\n"
            "                 END, next_run_at =\n"
            "                 CASE\n"
            "                     WHEN (o.status <> 'pending'::text) THEN j.next_run_at\n"
            "                     ELSE (now() + make_interval(secs => (LEAST((3600)::double precision, ((30)::double"
            " precision * ((2)::double precision ^ ((j.attempts - 1))::double precision))) * ((1)::double precision +"
            " (random() / (4)::double precision)))))\n"
            "                 END\n"
            "            FROM ( SELECT h.tenant_id,\n"
            "                     h.id,\n"
            "                         CASE\n"
            "                             WHEN finish_notification_job.delivered THEN 'completed'::text\n"
            "                             WHEN (h.attempts >= h.max_attempts) THEN 'failed'::text\n"
            "                             ELSE 'pending'::text\n"
            "                         END AS status\n"
            "                    FROM public.notification_jobs h\n"
            "                   WHERE ((h.tenant_id = finish_notification_job.tenant) AND (h.id ="
            " finish_notification_job.job))) o\n"
            "           WHERE ((j.tenant_id = o.tenant_id) AND (j.id = o.id) AND (j.status = 'processing'::text) AND"
            " (j.worker = finish_notification_job.worker))\n"
            "           RETURNING j.tenant_id,\n"
            "             j.id,\n"
            "             j.channel_id,\n"
            "             j.alert_id,\n"
            "             j.incident_id,\n"
            "             j.event,\n"
            "             j.attempts,\n"
            "             j.status\n"
            "         ), logged AS (\n"
            "          INSERT INTO timeseries.notification_log (tenant_id, ts, id, channel_id, job_id, alert_id,"
            " incident_id, event, attempt, success, error, duration_ms)  SELECT d_1.tenant_id,\n"
            "                     now() AS now,\n"
            "                     public.uuid7() AS uuid7,\n"
            "                     d_1.channel_id,\n"
            "                     d_1.id,\n"
            "                     d_1.alert_id,\n"
            "                     d_1.incident_id,\n"
            "                     d_1.event,\n"
            "                     d_1.attempts,\n"
            "                     finish_notification_job.delivered AS delivered,\n"
            "                     finish_notification_job.error AS error,\n"
            "                     finish_notification_job.duration_ms AS duration_ms\n"
            "                    FROM done d_1\n"
            "         )\n"
            "  SELECT d.status\n"
            "    FROM done d;\n"
            "END"
        ),
        comment="Ends an attempt and logs it; returns completed, pending (retried later) or failed (no attempts left),"
            " or NULL if the worker no longer holds the job.",
    )
    op.remove_constraint("oncall_layers", "ck_oncall_layers_starts_at_readable")
    op.remove_constraint("notification_jobs", "ck_notification_jobs_taken")
    op.remove_constraint("notification_jobs", "ck_notification_jobs_payload_readable")
    op.remove_constraint("notification_jobs", "ck_notification_jobs_next_run_at_readable")
    op.remove_constraint("notification_jobs", "ck_notification_jobs_attempts")
    op.remove_constraint("jobs", "ck_jobs_run_at_readable")
    op.remove_constraint("jobs", "ck_jobs_params_readable")
    op.remove_constraint("jobs", "ck_jobs_max_attempts")
    op.remove_constraint("endpoints", "ck_endpoints_url_bounded")
    op.remove_constraint("endpoints", "ck_endpoints_options_readable")
    op.add_constraint(
        "notification_jobs", "ck_notification_jobs_taken",
        (
            "CHECK (\n"
            "CASE\n"
            "    WHEN (status = 'processing'::text) THEN ((worker IS NOT NULL) AND (locked_until IS NOT NULL))\n"
            "    ELSE (locked_until IS NULL)\n"
            "END)"
        ),
    )
    op.add_constraint(
        "notification_jobs", "ck_notification_jobs_attempts", "CHECK (((attempts >= 0) AND (max_attempts > 0)))",
    )
    op.add_constraint("jobs", "ck_jobs_max_attempts", "CHECK ((max_attempts > 0))")
    op.grant("notification_jobs", {"fleet_app": "insert, update"})
    op.grant("jobs", {"fleet_app": "insert"})
    op.grant("endpoints", {"fleet_app": "insert, update"})
