"""endpoints

Revision 0020, after 0019; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_function(
        "endpoint_mode", "health_pct double precision", returns="text", language="sql", volatility="immutable",
        parallel="safe",
        body=(
            "RETURN CASE WHEN health_pct >= 95 THEN 'optimal' WHEN health_pct >= 60 THEN 'degraded'\n"
            "            WHEN health_pct >= 40 THEN 'critical' ELSE 'down' END"
        ),
        comment="The mode that corresponds to a health of 0 to 100.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "execute"},
    )
    op.create_function(
        "give_endpoint_status", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.endpoint_status (tenant_id, endpoint_id)\n"
            "  values (new.tenant_id, new.id);\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: creates the status of a new endpoint.",
    )

    op.create_table(
        "endpoints",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False, comment="Without credentials."),
        sa.Column("service_type", sa.Text(), server_default="http", nullable=False),
        sa.Column("interval_seconds", sa.Integer(), server_default=sa.text("60"), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), server_default=sa.text("30"), nullable=False,
            comment="Shorter than the interval, so that checks never overlap."),
        sa.Column("expected_status", sa.Integer(), server_default=sa.text("200"), nullable=True,
            comment="HTTP status; NULL: any."),
        sa.Column("auth_type", sa.Text(), server_default="none", nullable=False,
            comment="How the credentials in endpoint_credentials are sent."),
        sa.Column("options", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Method, headers, query; no secrets."),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("auth_type IN ('none', 'basic', 'bearer', 'api_key', 'oauth', 'headers')",
            name=op.f("ck_endpoints_auth_type")),
        sa.CheckConstraint("jsonb_typeof(options) = 'object'", name=op.f("ck_endpoints_options_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_endpoints_name_not_empty")),
        sa.CheckConstraint(
            "service_type IN ('http', 'graphql', 'grpc', 'websocket', 'postgresql', 'mysql', 'redis', 'elasticsearch',"
                " 'custom')", name=op.f("ck_endpoints_service_type")),
        sa.CheckConstraint("url !~ '://[^/?#@]*:[^/?#@]+@'", name=op.f("ck_endpoints_url_without_password")),
        sa.CheckConstraint("url <> ''", name=op.f("ck_endpoints_url_not_empty")),
        sa.CheckConstraint(
            "NOT jsonb_path_exists(options, '$.** ? (@.type() == \"object\").keyvalue() ? (@.key like_regex"
                " \"passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key|integration_?key|webhook_?url|community\" flag \"i\" && !(@.key like_regex \"_ref$\"))'::jsonpath) AND NOT jsonb_path_exists(options, '$.** ? (@ like_regex \"://[^/?#@]*:[^/?#@]+@\")'::jsonpath)",
            name=op.f("ck_endpoints_options_without_secrets")),
        sa.CheckConstraint("interval_seconds BETWEEN 10 AND 3600", name=op.f("ck_endpoints_check_interval")),
        sa.CheckConstraint("timeout_seconds > 0 AND timeout_seconds < interval_seconds",
            name=op.f("ck_endpoints_timeout")),
        sa.ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.id"],
            name=op.f("fk_endpoints_project_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_endpoints_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("tenant_id", "project_id", "name", name=op.f("uq_endpoints_project_id_name")),
        comment="Services that are checked at intervals.",
    )
    op.create_trigger(
        "endpoints_have_a_status", "endpoints", "after", "insert", level="row", function="give_endpoint_status()",
    )
    op.create_trigger(
        "notify_endpoints_of_delete", "endpoints", "after", "delete", level="statement",
        function="notify_tenants('endpoints', 'url, service_type, interval_seconds, timeout_seconds, enabled')",
        old_table="old_rows",
    )
    op.create_trigger(
        "notify_endpoints_of_insert", "endpoints", "after", "insert", level="statement",
        function="notify_tenants('endpoints', 'url, service_type, interval_seconds, timeout_seconds, enabled')",
        new_table="new_rows",
    )
    op.create_trigger(
        "notify_endpoints_of_update", "endpoints", "after", "update", level="statement",
        function="notify_tenants('endpoints', 'url, service_type, interval_seconds, timeout_seconds, enabled')",
        old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "endpoints", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "endpoints", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "dependency_suggestions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("depends_on_id", sa.Uuid(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False, comment="0 to 1."),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it was suggested."),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("(now() + '30 days'::interval)"),
            nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status IN ('approved', 'rejected')) = (decided_at IS NOT NULL)",
            name=op.f("ck_dependency_suggestions_decided_at")),
        sa.CheckConstraint("reason <> ''", name=op.f("ck_dependency_suggestions_reason_not_empty")),
        sa.CheckConstraint("status IN ('pending', 'approved', 'rejected', 'expired')",
            name=op.f("ck_dependency_suggestions_status")),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name=op.f("ck_dependency_suggestions_confidence")),
        sa.CheckConstraint("endpoint_id <> depends_on_id", name=op.f("ck_dependency_suggestions_not_itself")),
        sa.ForeignKeyConstraint(["tenant_id", "decided_by"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_dependency_suggestions_decided_by"), ondelete="SET NULL (decided_by)"),
        sa.ForeignKeyConstraint(["tenant_id", "depends_on_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_dependency_suggestions_depends_on_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_dependency_suggestions_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_dependency_suggestions_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_dependency_suggestions")),
        comment="Suggested dependencies.",
    )
    op.create_index(
        op.f("ix_dependency_suggestions_decided_by"), "dependency_suggestions", ["tenant_id", "decided_by"],
        unique=False,
    )
    op.create_index(
        op.f("ix_dependency_suggestions_depends_on_id"), "dependency_suggestions", ["tenant_id", "depends_on_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_dependency_suggestions_endpoint_id"), "dependency_suggestions", ["tenant_id", "endpoint_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_dependency_suggestions_expires_at"), "dependency_suggestions", ["expires_at"], unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "uq_dependency_suggestions_pending", "dependency_suggestions", ["tenant_id", "endpoint_id", "depends_on_id"],
        unique=True, postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_trigger(
        "dependency_suggestions_status_transitions", "dependency_suggestions", "before", "update of status",
        level="row",
        function="check_status_transition('pending > approved', 'pending > rejected', 'pending > expired')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger(
        "set_updated_at", "dependency_suggestions", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "dependency_suggestions", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "endpoint_alert_policies",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("failure_threshold", sa.Integer(), server_default=sa.text("3"), nullable=False,
            comment="Consecutive failures that open an incident."),
        sa.Column("first_failure_warning", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("recovery_notification", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("repeat_interval_minutes", sa.Integer(), nullable=True, comment="NULL: reported once."),
        sa.Column("cooldown_minutes", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Time after a recovery in which nothing is reported."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cooldown_minutes >= 0", name=op.f("ck_endpoint_alert_policies_cooldown")),
        sa.CheckConstraint("failure_threshold BETWEEN 1 AND 100",
            name=op.f("ck_endpoint_alert_policies_failure_threshold")),
        sa.CheckConstraint("repeat_interval_minutes > 0", name=op.f("ck_endpoint_alert_policies_repeat_interval")),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_alert_policies_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_endpoint_alert_policies_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_id", name=op.f("pk_endpoint_alert_policies")),
        comment="When failures of endpoints are reported.",
    )
    op.create_trigger(
        "set_updated_at", "endpoint_alert_policies", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "endpoint_alert_policies", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "endpoint_certificates",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=True),
        sa.Column("fingerprint_sha256", sa.Text(), nullable=False, comment="Lower-case hex."),
        sa.Column("not_before", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("not_after", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_alerted_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Alerts are sent 30, 14 and 7 days before it expires, then daily."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("fingerprint_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_endpoint_certificates_fingerprint_sha256")),
        sa.CheckConstraint("not_after > not_before", name=op.f("ck_endpoint_certificates_validity")),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_certificates_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_endpoint_certificates_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_id", name=op.f("pk_endpoint_certificates")),
        comment="TLS certificates of endpoints.",
    )
    op.create_index(op.f("ix_endpoint_certificates_not_after"), "endpoint_certificates", ["not_after"], unique=False)
    op.create_trigger(
        "set_updated_at", "endpoint_certificates", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "endpoint_certificates", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "endpoint_credentials",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("header_name", sa.Text(), nullable=True, comment="Header that carries an API key."),
        sa.Column("secret_ref", sa.Text(), nullable=False),
        sa.Column("rotated_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("secret_ref <> ''", name=op.f("ck_endpoint_credentials_secret_ref_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_credentials_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_endpoint_credentials_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_id", name=op.f("pk_endpoint_credentials")),
        comment="References to the credentials of endpoints.",
    )
    op.create_trigger(
        "set_updated_at", "endpoint_credentials", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "endpoint_credentials", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "endpoint_dependencies",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("depends_on_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), server_default="primary", nullable=False,
            comment="What the other endpoint is used for."),
        sa.Column("criticality", sa.Text(), server_default="medium", nullable=False),
        sa.Column("weight", sa.Double(), server_default=sa.text("1"), nullable=False,
            comment="Weight in the health of endpoint_id."),
        sa.Column("fallback_for", sa.Uuid(), nullable=True,
            comment="The dependency that it replaces; NULL: the endpoint itself."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("criticality IN ('critical', 'high', 'medium', 'low')",
            name=op.f("ck_endpoint_dependencies_criticality")),
        sa.CheckConstraint("role = 'fallback' OR fallback_for IS NULL", name=op.f("ck_endpoint_dependencies_fallback")),
        sa.CheckConstraint("role IN ('primary', 'cache', 'search', 'fallback', 'optional')",
            name=op.f("ck_endpoint_dependencies_role")),
        sa.CheckConstraint("endpoint_id <> depends_on_id", name=op.f("ck_endpoint_dependencies_not_itself")),
        sa.CheckConstraint("weight > 0 AND weight <= 100", name=op.f("ck_endpoint_dependencies_weight")),
        sa.ForeignKeyConstraint(["tenant_id", "depends_on_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_dependencies_depends_on_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_dependencies_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "fallback_for"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_dependencies_fallback_for"), ondelete="SET NULL (fallback_for)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_endpoint_dependencies_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_id", "depends_on_id", name=op.f("pk_endpoint_dependencies")),
        comment="Dependencies between endpoints.",
    )
    op.create_index(
        op.f("ix_endpoint_dependencies_depends_on_id"), "endpoint_dependencies", ["tenant_id", "depends_on_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_endpoint_dependencies_fallback_for"), "endpoint_dependencies", ["tenant_id", "fallback_for"],
        unique=False,
    )
    op.create_function(
        "reject_dependency_cycle", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  perform from public.tenants where tenant_id = new.tenant_id for no key update;\n"
            "  if exists (\n"
            "    with recursive reached (id) as (\n"
            "      select new.depends_on_id\n"
            "      union\n"
            "      select d.depends_on_id from reached r\n"
            "        join public.endpoint_dependencies d\n"
            "          on d.tenant_id = new.tenant_id and d.endpoint_id = r.id)\n"
            "    select from reached where id = new.endpoint_id)\n"
            "  then\n"
            "    raise exception 'endpoint % would depend on itself through %',\n"
            "        new.endpoint_id, new.depends_on_id\n"
            "      using errcode = 'check_violation', table = tg_table_name,\n"
            "            hint = 'Remove the dependency in the other direction first.';\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: rejects cycles of dependencies between endpoints.",
    )
    op.create_trigger(
        "dependencies_form_no_cycle", "endpoint_dependencies", "after",
        "insert or update of endpoint_id, depends_on_id", level="row", function="reject_dependency_cycle()",
    )
    op.create_trigger(
        "set_updated_at", "endpoint_dependencies", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "endpoint_dependencies", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_function(
        "approve_suggestion", "suggestion uuid, by_user uuid", returns="boolean", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH approved AS (\n"
            "    UPDATE dependency_suggestions\n"
            "       SET status = 'approved', decided_by = by_user, decided_at = now()\n"
            "     WHERE tenant_id = current_tenant() AND id = suggestion AND status = 'pending'\n"
            "       AND expires_at > now()\n"
            "    RETURNING tenant_id, endpoint_id, depends_on_id\n"
            "  ), made AS (\n"
            "    INSERT INTO endpoint_dependencies (tenant_id, endpoint_id, depends_on_id)\n"
            "    SELECT tenant_id, endpoint_id, depends_on_id FROM approved\n"
            "    ON CONFLICT DO NOTHING\n"
            "  )\n"
            "  SELECT true FROM approved;\n"
            "END"
        ),
        comment="Approves a suggestion and creates the dependency; NULL if it is no longer pending.",
        grants={"fleet_app": "execute"},
    )

    op.create_table(
        "endpoint_status",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("direct_status", sa.Text(), server_default="unknown", nullable=False, comment="From its own checks."),
        sa.Column("computed_status", sa.Text(), server_default="unknown", nullable=False,
            comment="Including its dependencies."),
        sa.Column("mode", sa.Text(), server_default="optimal", nullable=False,
            comment="From health_pct: 95 and more, 60, 40, less."),
        sa.Column("health_pct", sa.Double(), server_default=sa.text("100"), nullable=False),
        sa.Column("consecutive_failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_checked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_check_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("checked_by", sa.Text(), nullable=True, comment="Worker that took the latest check."),
        sa.Column("active_fallback_id", sa.Uuid(), nullable=True, comment="The fallback currently in use."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("computed_status IN ('healthy', 'degraded', 'down', 'unknown')",
            name=op.f("ck_endpoint_status_computed_status")),
        sa.CheckConstraint("direct_status IN ('healthy', 'degraded', 'down', 'unknown')",
            name=op.f("ck_endpoint_status_direct_status")),
        sa.CheckConstraint("mode IN ('optimal', 'degraded', 'critical', 'down')", name=op.f("ck_endpoint_status_mode")),
        sa.CheckConstraint("consecutive_failures >= 0", name=op.f("ck_endpoint_status_consecutive_failures")),
        sa.CheckConstraint("health_pct BETWEEN 0 AND 100", name=op.f("ck_endpoint_status_health_pct")),
        sa.ForeignKeyConstraint(["tenant_id", "active_fallback_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_status_active_fallback_id"), ondelete="SET NULL (active_fallback_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_endpoint_status_endpoint_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_endpoint_status_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_id", name=op.f("pk_endpoint_status")),
        comment="Current status of endpoints.",
    )
    op.create_index(
        op.f("ix_endpoint_status_active_fallback_id"), "endpoint_status", ["tenant_id", "active_fallback_id"],
        unique=False,
    )
    op.create_index(op.f("ix_endpoint_status_next_check_at"), "endpoint_status", ["next_check_at"], unique=False)
    op.create_trigger(
        "notify_endpoint_status_of_delete", "endpoint_status", "after", "delete", level="statement",
        function="notify_tenants('endpoint_status', 'direct_status, computed_status, mode')", old_table="old_rows",
    )
    op.create_trigger(
        "notify_endpoint_status_of_insert", "endpoint_status", "after", "insert", level="statement",
        function="notify_tenants('endpoint_status', 'direct_status, computed_status, mode')", new_table="new_rows",
    )
    op.create_trigger(
        "notify_endpoint_status_of_update", "endpoint_status", "after", "update", level="statement",
        function="notify_tenants('endpoint_status', 'direct_status, computed_status, mode')", old_table="old_rows",
        new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "endpoint_status", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "endpoint_status", enable=True, force=True,
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
        "endpoint_health", "of_tenant uuid, endpoint uuid, direct text",
        returns="TABLE(health_pct double precision, fallback uuid)", language="sql", volatility="stable",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH needed AS (\n"
            "    SELECT coalesce(sum(d.weight * s.health_pct) / nullif(sum(d.weight), 0), 100) AS pct\n"
            "      FROM endpoint_dependencies d\n"
            "      JOIN endpoint_status s\n"
            "        ON s.tenant_id = d.tenant_id AND s.endpoint_id = d.depends_on_id\n"
            "     WHERE d.tenant_id = of_tenant AND d.endpoint_id = endpoint\n"
            "       AND d.role NOT IN ('fallback', 'optional')\n"
            "  ), standing_in AS (\n"
            "    SELECT d.depends_on_id AS id\n"
            "      FROM endpoint_dependencies d\n"
            "      JOIN endpoint_status s\n"
            "        ON s.tenant_id = d.tenant_id AND s.endpoint_id = d.depends_on_id\n"
            "     WHERE d.tenant_id = of_tenant AND d.endpoint_id = endpoint\n"
            "       AND d.role = 'fallback' AND s.direct_status = 'healthy'\n"
            "     ORDER BY d.weight DESC, d.depends_on_id LIMIT 1\n"
            "  )\n"
            "  SELECT CASE direct\n"
            "           WHEN 'down' THEN CASE WHEN f.id IS NULL THEN 0 ELSE 80 END\n"
            "           WHEN 'degraded' THEN least(needed.pct, 75)\n"
            "           ELSE needed.pct END,\n"
            "         CASE direct WHEN 'down' THEN f.id END\n"
            "    FROM needed LEFT JOIN standing_in f ON true;\n"
            "END"
        ),
        comment="Health from 0 to 100 of an endpoint with this direct status, weighted by its dependencies; 80 if it"
            " is down and has a working fallback.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "execute"},
    )
    op.create_function(
        "take_due_checks", "worker text, most integer DEFAULT 100", returns="SETOF endpoints", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH due AS (\n"
            "    SELECT s.tenant_id, s.endpoint_id, e.interval_seconds\n"
            "      FROM endpoint_status s\n"
            "      JOIN endpoints e ON e.tenant_id = s.tenant_id AND e.id = s.endpoint_id\n"
            "     WHERE s.next_check_at <= now() AND e.enabled\n"
            "     ORDER BY s.next_check_at LIMIT most\n"
            "       FOR NO KEY UPDATE OF s SKIP LOCKED\n"
            "  ), taken AS (\n"
            "    UPDATE endpoint_status s\n"
            "       SET next_check_at = now() + make_interval(secs => due.interval_seconds),\n"
            "           checked_by = worker\n"
            "      FROM due\n"
            "     WHERE s.tenant_id = due.tenant_id AND s.endpoint_id = due.endpoint_id\n"
            "    RETURNING s.tenant_id, s.endpoint_id\n"
            "  )\n"
            "  SELECT e.* FROM endpoints e\n"
            "    JOIN taken ON taken.tenant_id = e.tenant_id AND taken.endpoint_id = e.id;\n"
            "END"
        ),
        comment="Returns endpoints whose check is due, each to one worker only, and schedules their next check one"
            " interval later, whether or not this one is recorded.",
        grants={"fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function("take_due_checks", "worker text, most integer")
    op.drop_function("endpoint_health", "of_tenant uuid, endpoint uuid, direct text")
    op.drop_table("endpoint_status")
    op.drop_function("approve_suggestion", "suggestion uuid, by_user uuid")
    op.drop_trigger("dependencies_form_no_cycle", "endpoint_dependencies")
    op.drop_function("reject_dependency_cycle")
    op.drop_table("endpoint_dependencies")
    op.drop_table("endpoint_credentials")
    op.drop_table("endpoint_certificates")
    op.drop_table("endpoint_alert_policies")
    op.drop_table("dependency_suggestions")
    op.drop_table("endpoints")
    op.drop_function("give_endpoint_status")
    op.drop_function("endpoint_mode", "health_pct double precision")
