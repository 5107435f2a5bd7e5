"""notifications

Revision 0025, after 0024; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "notification_log",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("ts", sa.TIMESTAMP(timezone=True), nullable=False, comment="When it was sent."),
        sa.Column("id", sa.Uuid(), nullable=False, comment="Assigned by the sender, one for each attempt."),
        sa.Column("channel_id", sa.Uuid(), nullable=False, comment="The notification channel."),
        sa.Column("job_id", sa.Uuid(), nullable=True, comment="The notification job."),
        sa.Column("alert_id", sa.BigInteger(), nullable=True, comment="The alert it was about, if any."),
        sa.Column("incident_id", sa.Uuid(), nullable=True, comment="The incident it was about, if any."),
        sa.Column("event", sa.Text(), nullable=True, comment="Event of the alert or incident, e.g. opened."),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="Counts from 1."),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True, comment="Error message of the receiver."),
        sa.Column("duration_ms", sa.Double(), nullable=True),
        sa.CheckConstraint("attempt > 0", name=op.f("ck_notification_log_attempt")),
        sa.PrimaryKeyConstraint("tenant_id", "ts", "id", name=op.f("pk_notification_log")),
        schema="timeseries",
        comment="Attempts to deliver notifications.",
    )
    op.create_index(
        op.f("ix_notification_log_channel_id_alert_id"), "notification_log",
        ["tenant_id", "channel_id", "alert_id", sa.literal_column("ts DESC")], unique=False, schema="timeseries",
    )
    op.create_hypertable("notification_log", time_column="ts", chunk_interval="7 days", schema="timeseries")
    op.create_columnstore(
        "notification_log", segmentby="tenant_id", orderby="ts DESC,id", after="7 days", schema="timeseries",
    )
    op.create_retention_policy("notification_log", drop_after="90 days", schema="timeseries")
    op.create_view(
        "notification_log",
        (
            "SELECT tenant_id, ts, id, channel_id, job_id, alert_id, incident_id, event, attempt, success, error,"
            " duration_ms\n"
            "  FROM timeseries.notification_log\n"
            " WHERE tenant_id = (SELECT current_tenant())"
        ),
        check_option="cascaded", comment="Attempts to deliver notifications. Only rows of the current tenant.",
        grants={"fleet_app": "select"},
    )
    op.grant(
        "notification_log",
        {"fleet_ingest": "insert", "fleet_operator": "insert, select", "fleet_operator_read": "select"},
        schema="timeseries",
    )

    op.create_table(
        "message_routes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("topic_filter", sa.Text(), nullable=False, comment="May contain the MQTT wildcards + and #."),
        sa.Column("topic_pattern", sa.Text(),
            sa.Computed(
                "'^' || regexp_replace(replace(regexp_replace(topic_filter, '([.^$*()\\[\\]{}|?\\\\])', '\\\\\\1', 'g'), '+',"
                    " '[^/]*'), '(^|/)#$', CASE WHEN topic_filter = '#' THEN '.*' ELSE '(/.*)?' END) || '$'",
                persisted=True,
            ), nullable=False, comment="topic_filter as a regular expression."),
        sa.Column("payload_filter", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Only messages that contain this (operator @>); NULL: all."),
        sa.Column("destination_type", sa.Text(), nullable=False),
        sa.Column("destination_config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Address and similar settings; no secrets."),
        sa.Column("secret_ref", sa.Text(), nullable=True, comment="Name of its credentials in the secret store."),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("destination_type IN ('webhook', 'mqtt_republish', 'postgresql')",
            name=op.f("ck_message_routes_destination_type")),
        sa.CheckConstraint("jsonb_typeof(destination_config) = 'object'",
            name=op.f("ck_message_routes_destination_config_object")),
        sa.CheckConstraint("jsonb_typeof(payload_filter) = 'object'",
            name=op.f("ck_message_routes_payload_filter_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_message_routes_name_not_empty")),
        sa.CheckConstraint("secret_ref <> ''", name=op.f("ck_message_routes_secret_ref_not_empty")),
        sa.CheckConstraint("topic_filter ~ '^(([^/+#]*|\\+)/)*([^/+#]*|\\+|#)$' AND length(topic_filter) BETWEEN 1 AND 1024",
            name=op.f("ck_message_routes_topic_filter")),
        sa.CheckConstraint(
            "NOT jsonb_path_exists(destination_config, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
                " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(destination_config, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)",
            name=op.f("ck_message_routes_destination_config_without_secrets")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_message_routes_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_message_routes")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_message_routes_name")),
        comment="Rules that forward messages to other systems.",
    )
    op.create_index(
        "ix_message_routes_enabled", "message_routes", ["tenant_id"], unique=False,
        postgresql_where=sa.text("is_enabled"),
    )
    op.create_trigger("set_updated_at", "message_routes", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "message_routes", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "dead_letter_messages",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("route_id", sa.Uuid(), nullable=True, comment="NULL after the route was deleted."),
        sa.Column("original_topic", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False,
            comment="The message; any JSON except null."),
        sa.Column("destination_type", sa.Text(), nullable=False, comment="That of the route at the time."),
        sa.Column("destination_config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="That of the route at the time."),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("status", sa.Text(), server_default="failed", nullable=False),
        sa.Column("replayed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'replayed') = (replayed_at IS NOT NULL)",
            name=op.f("ck_dead_letter_messages_replayed_at")),
        sa.CheckConstraint("destination_type IN ('webhook', 'mqtt_republish', 'postgresql')",
            name=op.f("ck_dead_letter_messages_destination_type")),
        sa.CheckConstraint("jsonb_typeof(destination_config) = 'object'",
            name=op.f("ck_dead_letter_messages_destination_config_object")),
        sa.CheckConstraint("jsonb_typeof(payload) <> 'null'", name=op.f("ck_dead_letter_messages_payload_value")),
        sa.CheckConstraint("original_topic <> ''", name=op.f("ck_dead_letter_messages_original_topic_not_empty")),
        sa.CheckConstraint("status IN ('failed', 'replayed', 'discarded')",
            name=op.f("ck_dead_letter_messages_status")),
        sa.CheckConstraint(
            "NOT jsonb_path_exists(destination_config, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
                " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(destination_config, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)",
            name=op.f("ck_dead_letter_messages_destination_config_without_secrets")),
        sa.CheckConstraint("attempts > 0", name=op.f("ck_dead_letter_messages_attempts")),
        sa.ForeignKeyConstraint(["tenant_id", "route_id"], ["message_routes.tenant_id", "message_routes.id"],
            name=op.f("fk_dead_letter_messages_route_id"), ondelete="SET NULL (route_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_dead_letter_messages_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_dead_letter_messages")),
        comment="Messages that a route could not deliver.",
    )
    op.create_index(op.f("ix_dead_letter_messages_created_at"), "dead_letter_messages", ["created_at"], unique=False)
    op.create_index(
        op.f("ix_dead_letter_messages_route_id"), "dead_letter_messages", ["tenant_id", "route_id"], unique=False,
    )
    op.create_index(
        op.f("ix_dead_letter_messages_status"), "dead_letter_messages",
        ["tenant_id", "status", sa.literal_column("created_at DESC")], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "dead_letter_messages", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "dead_letter_messages", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "notification_jobs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("rule_id", sa.Uuid(), nullable=True, comment="The routing rule that queued it."),
        sa.Column("alert_id", sa.BigInteger(), nullable=True, comment="The alert it is about;"),
        sa.Column("incident_id", sa.Uuid(), nullable=True, comment="or the incident (incidents.id)."),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Distinguishes repeated notifications: the level of an escalation, the number of a reminder."),
        sa.Column("user_id", sa.Uuid(), nullable=True,
            comment="The only recipient, e.g. the person on call; NULL: all the channel reaches."),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Data for the message."),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False,
            comment="failed: no attempts left; can be set to pending again. canceled: no longer needed, or not"
                " delivered before expires_at."),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default=sa.text("5"), nullable=False),
        sa.Column("next_run_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now() + interval '1 day'"),
            nullable=False, comment="Not delivered after this."),
        sa.Column("worker", sa.Text(), nullable=True, comment="The worker that holds it,"),
        sa.Column("locked_until", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="until this moment; then another worker can take it."),
        sa.Column("finished_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Error message of the receiver."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status IN ('completed', 'failed', 'canceled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_notification_jobs_finished_at")),
        sa.CheckConstraint(
            "CASE WHEN status = 'processing' THEN worker IS NOT NULL AND locked_until IS NOT NULL ELSE locked_until IS"
                " NULL END", name=op.f("ck_notification_jobs_taken")),
        sa.CheckConstraint("event IN ('opened', 'acknowledged', 'escalated', 'closed')",
            name=op.f("ck_notification_jobs_event")),
        sa.CheckConstraint("jsonb_typeof(payload) = 'object'", name=op.f("ck_notification_jobs_payload_object")),
        sa.CheckConstraint("status IN ('pending', 'processing', 'completed', 'failed', 'canceled')",
            name=op.f("ck_notification_jobs_status")),
        sa.CheckConstraint("worker <> ''", name=op.f("ck_notification_jobs_worker_not_empty")),
        sa.CheckConstraint("attempts >= 0 AND max_attempts > 0", name=op.f("ck_notification_jobs_attempts")),
        sa.CheckConstraint("num_nonnulls(alert_id, incident_id) = 1", name=op.f("ck_notification_jobs_one_source")),
        sa.CheckConstraint("occurrence >= 0", name=op.f("ck_notification_jobs_occurrence")),
        sa.ForeignKeyConstraint(["tenant_id", "alert_id"], ["fleet_alert.tenant_id", "fleet_alert.id"],
            name=op.f("fk_notification_jobs_alert_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "channel_id"],
            ["notification_channels.tenant_id", "notification_channels.id"],
            name=op.f("fk_notification_jobs_channel_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "incident_id"], ["incidents.tenant_id", "incidents.id"],
            name=op.f("fk_notification_jobs_incident_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "rule_id"],
            ["notification_routing_rules.tenant_id", "notification_routing_rules.id"],
            name=op.f("fk_notification_jobs_rule_id"), ondelete="SET NULL (rule_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_notification_jobs_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_notification_jobs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_notification_jobs")),
        sa.UniqueConstraint("tenant_id", "alert_id", "incident_id", "channel_id", "event", "occurrence", "user_id",
            name="uq_notification_jobs_once", postgresql_nulls_not_distinct=True),
        comment="Notifications to deliver; the unique key prevents duplicates.",
    )
    op.create_index(
        op.f("ix_notification_jobs_channel_id"), "notification_jobs", ["tenant_id", "channel_id"], unique=False,
    )
    op.create_index(
        op.f("ix_notification_jobs_incident_id"), "notification_jobs", ["tenant_id", "incident_id"], unique=False,
    )
    op.create_index(
        op.f("ix_notification_jobs_next_run_at"), "notification_jobs", ["next_run_at"], unique=False,
        postgresql_where=sa.text("status IN ('pending', 'processing')"),
    )
    op.create_index(
        op.f("ix_notification_jobs_rule_id"), "notification_jobs",
        ["tenant_id", "rule_id", sa.literal_column("created_at DESC")], unique=False,
    )
    op.create_index(
        op.f("ix_notification_jobs_status"), "notification_jobs",
        ["tenant_id", "status", sa.literal_column("created_at DESC")], unique=False,
    )
    op.create_index(op.f("ix_notification_jobs_user_id"), "notification_jobs", ["tenant_id", "user_id"], unique=False)
    op.create_function(
        "announce_notification_jobs", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    perform pg_notify('notification_jobs', n.tenant_id::text)\n"
            "       from (select distinct tenant_id from new_rows where status = 'pending') as n;\n"
            "  else\n"
            "    perform pg_notify('notification_jobs', c.tenant_id::text)\n"
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
    op.create_trigger(
        "announce_changed", "notification_jobs", "after", "update", level="statement",
        function="announce_notification_jobs()", old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger(
        "announce_new", "notification_jobs", "after", "insert", level="statement",
        function="announce_notification_jobs()", new_table="new_rows",
    )
    op.create_trigger(
        "set_updated_at", "notification_jobs", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "notification_jobs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "insert, select, update",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )
    op.create_function(
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
            "               secs => least(3600, 30 * 2 ^ (j.attempts - 1)) * (1 + random() / 4)) END\n"
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
        grants={"fleet_operator": "execute"},
    )
    op.create_function(
        "route_alert",
        "alert bigint, event text, occurrence integer DEFAULT 0, project uuid DEFAULT NULL, tenant uuid DEFAULT"
            " current_tenant()",
        returns="TABLE(job_id uuid, channel_id uuid)", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH matching AS (\n"
            "    SELECT DISTINCT ON (r.channel_id) r.channel_id, r.id, a.severity, a.summary\n"
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
        grants={"fleet_app, fleet_operator": "execute"},
    )
    op.create_function(
        "take_notification_jobs", "worker text, wanted integer DEFAULT 10, lease interval DEFAULT '00:05:00'",
        returns="TABLE(tenant_id uuid, job_id uuid, channel_id uuid, alert_id bigint, incident_id uuid, event text,"
            " user_id uuid, payload jsonb, attempt integer)",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH due AS MATERIALIZED (\n"
            "    SELECT j.tenant_id, j.id\n"
            "      FROM notification_jobs AS j\n"
            "      JOIN notification_channels AS c ON c.tenant_id = j.tenant_id AND c.id = j.channel_id\n"
            "     WHERE j.status IN ('pending', 'processing') AND j.next_run_at <= now()\n"
            "       AND (j.status = 'pending' OR j.locked_until <= now())\n"
            "       AND (c.is_enabled OR j.expires_at <= now())\n"
            "     ORDER BY j.next_run_at\n"
            "     LIMIT take_notification_jobs.wanted\n"
            "       FOR NO KEY UPDATE OF j SKIP LOCKED\n"
            "  ), judged AS (\n"
            "    SELECT j.tenant_id, j.id,\n"
            "           CASE WHEN j.expires_at <= now() THEN 'canceled'\n"
            "                WHEN j.attempts >= j.max_attempts THEN 'failed'\n"
            "                ELSE 'processing' END AS status\n"
            "      FROM due AS d\n"
            "      JOIN notification_jobs AS j ON j.tenant_id = d.tenant_id AND j.id = d.id\n"
            "  ), taken AS (\n"
            "    UPDATE notification_jobs AS j\n"
            "       SET status = d.status,\n"
            "           attempts = j.attempts + CASE d.status WHEN 'processing' THEN 1 ELSE 0 END,\n"
            "           worker = CASE d.status WHEN 'processing' THEN take_notification_jobs.worker END,\n"
            "           locked_until = CASE d.status\n"
            "             WHEN 'processing' THEN now() + take_notification_jobs.lease END,\n"
            "           finished_at = CASE WHEN d.status <> 'processing' THEN now() END,\n"
            "           last_error = CASE d.status WHEN 'canceled' THEN 'not delivered in time'\n"
            "             WHEN 'failed' THEN coalesce(j.last_error, 'the worker fell silent')\n"
            "             ELSE j.last_error END\n"
            "      FROM judged AS d\n"
            "     WHERE j.tenant_id = d.tenant_id AND j.id = d.id\n"
            "    RETURNING j.tenant_id, j.id, j.status, j.channel_id, j.alert_id, j.incident_id, j.event,\n"
            "              j.user_id, j.payload, j.attempts\n"
            "  )\n"
            "  SELECT t.tenant_id, t.id, t.channel_id, t.alert_id, t.incident_id, t.event, t.user_id,\n"
            "         t.payload, t.attempts\n"
            "    FROM taken AS t\n"
            "   WHERE t.status = 'processing';\n"
            "END"
        ),
        comment="Returns jobs that are due, each to one caller only until its lease ends: those of all tenants to"
            " fleet_operator, those of the current tenant to fleet_app.",
        grants={"fleet_app, fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function("take_notification_jobs", "worker text, wanted integer, lease interval")
    op.drop_function("route_alert", "alert bigint, event text, occurrence integer, project uuid, tenant uuid")
    op.drop_function(
        "finish_notification_job",
        "job uuid, worker text, delivered boolean, error text, duration_ms double precision, tenant uuid",
    )
    op.drop_trigger("announce_new", "notification_jobs")
    op.drop_trigger("announce_changed", "notification_jobs")
    op.drop_function("announce_notification_jobs")
    op.drop_table("notification_jobs")
    op.drop_table("dead_letter_messages")
    op.drop_table("message_routes")
    op.drop_view("notification_log")
    op.drop_hypertable("notification_log", schema="timeseries")
    op.drop_table("notification_log", schema="timeseries")
