"""incidents

Revision 0022, after 0021; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_function(
        "keep_incident", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if tg_op = 'INSERT' then\n"
            "    -- Sessions wait for each other here, so that numbers are unique and without gaps.\n"
            "    perform from public.tenants where tenant_id = new.tenant_id for no key update;\n"
            "    new.number := (select coalesce(max(number), 0) + 1 from public.incidents\n"
            "                    where tenant_id = new.tenant_id);\n"
            "  elsif new.status is distinct from old.status then\n"
            "    if new.status <> 'open' then\n"
            "      new.acknowledged_at := coalesce(new.acknowledged_at, now());\n"
            "    end if;\n"
            "    if new.status = 'resolved' then\n"
            "      new.resolved_at := coalesce(new.resolved_at, now());\n"
            "    end if;\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: sets the number of a new incident, and the times of its status transitions.",
    )
    op.create_function(
        "record_check",
        "endpoint uuid, due_at timestamptz, passed boolean, code integer DEFAULT NULL, took_ms double precision"
            " DEFAULT NULL, problem text DEFAULT NULL",
        returns="text", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  tenant uuid := public.current_tenant();\n"
            "  failures integer;\n"
            "  threshold integer;\n"
            "  direct text;\n"
            "  health record;\n"
            "begin\n"
            "  insert into public.health_checks\n"
            "         (tenant_id, checked_at, endpoint_id, ok, status_code, response_ms, error)\n"
            "  values (tenant, due_at, endpoint, passed, code, took_ms, problem)\n"
            "  on conflict do nothing;\n"
            "  if not found then\n"
            "    return 'repeated';\n"
            "  end if;\n"
            "  select s.consecutive_failures into failures from public.endpoint_status s\n"
            "   where s.tenant_id = tenant and s.endpoint_id = endpoint for no key update;\n"
            "  if not found then\n"
            "    raise exception 'endpoint % does not exist in this tenant', endpoint\n"
            "      using errcode = 'foreign_key_violation';\n"
            "  end if;\n"
            "  select coalesce(p.failure_threshold, j.default_failure_threshold) into threshold\n"
            "    from public.endpoints e\n"
            "    join public.projects j on j.tenant_id = e.tenant_id and j.id = e.project_id\n"
            "    left join public.endpoint_alert_policies p\n"
            "      on p.tenant_id = e.tenant_id and p.endpoint_id = e.id\n"
            "   where e.tenant_id = tenant and e.id = endpoint;\n"
            "  failures := case when passed then 0 else failures + 1 end;\n"
            "  direct := case when passed then 'healthy' when failures >= threshold then 'down'\n"
            "                 else 'degraded' end;\n"
            "  select * into health from public.endpoint_health(tenant, endpoint, direct);\n"
            "  update public.endpoint_status s\n"
            "     set consecutive_failures = failures, direct_status = direct,\n"
            "         health_pct = health.health_pct, active_fallback_id = health.fallback,\n"
            "         mode = public.endpoint_mode(health.health_pct),\n"
            "         computed_status = case when health.health_pct >= 95 then 'healthy'\n"
            "                                when health.health_pct >= 40 then 'degraded'\n"
            "                                else 'down' end,\n"
            "         last_checked_at = greatest(s.last_checked_at, due_at), last_error = problem\n"
            "   where s.tenant_id = tenant and s.endpoint_id = endpoint;\n"
            "  if direct = 'down' then\n"
            "    insert into public.incidents (tenant_id, title, severity, endpoint_id, project_id)\n"
            "    select tenant, e.name || ' is down', 'high', e.id, e.project_id\n"
            "      from public.endpoints e where e.tenant_id = tenant and e.id = endpoint\n"
            "    on conflict do nothing;\n"
            "  elsif passed then\n"
            "    update public.incidents set status = 'resolved', resolution = 'a check passed again'\n"
            "     where tenant_id = tenant and endpoint_id = endpoint and status <> 'resolved';\n"
            "  end if;\n"
            "  return direct;\n"
            "end"
        ),
        comment="Records the result of a check for the current tenant. Returns repeated if it was recorded before,"
            " else healthy, degraded or down. Failures up to the threshold open an incident; a check that passes"
            " resolves it.",
        grants={"fleet_app": "execute"},
    )
    op.create_function(
        "record_incident_event", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.incident_events (tenant_id, incident_id, kind, actor, note)\n"
            "  values (new.tenant_id, new.id, case tg_op when 'INSERT' then 'opened' else new.status end,\n"
            "          case new.status when 'acknowledged' then new.acknowledged_by\n"
            "                          when 'resolved' then new.resolved_by end,\n"
            "          case new.status when 'resolved' then new.resolution end);\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: records status transitions of an incident in its timeline.",
    )

    op.create_table(
        "incidents",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False,
            comment="Number for people: 1, 2, 3 in each tenant, without gaps."),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), server_default="medium", nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("endpoint_id", sa.Uuid(), nullable=True, comment="NULL: no endpoint, or it was deleted."),
        sa.Column("opened_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("acknowledged_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Set by the database, as resolved_at is."),
        sa.Column("acknowledged_by", sa.Uuid(), nullable=True),
        sa.Column("resolved_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Uuid(), nullable=True, comment="NULL: resolved automatically."),
        sa.Column("failing_since", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Time of the first failed check, if known."),
        sa.Column("time_to_resolve", sa.Interval(), sa.Computed("resolved_at - opened_at", persisted=True),
            nullable=True),
        sa.Column("downtime", sa.Interval(),
            sa.Computed("resolved_at - COALESCE(failing_since, opened_at)", persisted=True), nullable=True),
        sa.Column("root_cause", sa.Text(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True, comment="How it was resolved."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'open') = (acknowledged_at IS NULL)", name=op.f("ck_incidents_acknowledged_at")),
        sa.CheckConstraint("(status = 'resolved') = (resolved_at IS NOT NULL)", name=op.f("ck_incidents_resolved_at")),
        sa.CheckConstraint("severity IN ('critical', 'high', 'medium', 'low')", name=op.f("ck_incidents_severity")),
        sa.CheckConstraint("status IN ('open', 'acknowledged', 'investigating', 'resolved')",
            name=op.f("ck_incidents_status")),
        sa.CheckConstraint("title <> ''", name=op.f("ck_incidents_title_not_empty")),
        sa.CheckConstraint("number > 0", name=op.f("ck_incidents_number")),
        sa.CheckConstraint("resolved_at >= opened_at", name=op.f("ck_incidents_opened_at")),
        sa.ForeignKeyConstraint(["tenant_id", "acknowledged_by"],
            ["tenant_members.tenant_id", "tenant_members.user_id"], name=op.f("fk_incidents_acknowledged_by"),
            ondelete="SET NULL (acknowledged_by)"),
        sa.ForeignKeyConstraint(["tenant_id", "endpoint_id"], ["endpoints.tenant_id", "endpoints.id"],
            name=op.f("fk_incidents_endpoint_id"), ondelete="SET NULL (endpoint_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.id"],
            name=op.f("fk_incidents_project_id"), ondelete="SET NULL (project_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "resolved_by"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_incidents_resolved_by"), ondelete="SET NULL (resolved_by)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_incidents_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_incidents")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_incidents_number")),
        comment="Problems found by checks or reported by people.",
    )
    op.create_index(op.f("ix_incidents_acknowledged_by"), "incidents", ["tenant_id", "acknowledged_by"], unique=False)
    op.create_index(op.f("ix_incidents_endpoint_id"), "incidents", ["tenant_id", "endpoint_id"], unique=False)
    op.create_index(op.f("ix_incidents_project_id"), "incidents", ["tenant_id", "project_id"], unique=False)
    op.create_index(op.f("ix_incidents_resolved_by"), "incidents", ["tenant_id", "resolved_by"], unique=False)
    op.create_index(
        op.f("ix_incidents_status_created_at"), "incidents", ["tenant_id", "status", "created_at"], unique=False,
    )
    op.create_index(
        "uq_incidents_endpoint_open", "incidents", ["tenant_id", "endpoint_id"], unique=True,
        postgresql_where=sa.text("status <> 'resolved'"),
    )
    op.create_trigger(
        "changed_incidents_are_in_the_timeline", "incidents", "after", "update of status", level="row",
        function="record_incident_event()", when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger(
        "incidents_are_kept", "incidents", "before", "insert or update", level="row", function="keep_incident()",
    )
    op.create_trigger(
        "incidents_status_transitions", "incidents", "before", "update of status", level="row",
        function="check_status_transition('open > acknowledged', 'open > investigating', 'open > resolved',"
            " 'acknowledged > investigating', 'acknowledged > resolved', 'investigating > resolved')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger(
        "new_incidents_are_in_the_timeline", "incidents", "after", "insert", level="row",
        function="record_incident_event()",
    )
    op.create_trigger(
        "notify_incidents_of_delete", "incidents", "after", "delete", level="statement",
        function="notify_tenants('incidents', 'status, severity, title')", old_table="old_rows",
    )
    op.create_trigger(
        "notify_incidents_of_insert", "incidents", "after", "insert", level="statement",
        function="notify_tenants('incidents', 'status, severity, title')", new_table="new_rows",
    )
    op.create_trigger(
        "notify_incidents_of_update", "incidents", "after", "update", level="statement",
        function="notify_tenants('incidents', 'status, severity, title')", old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger("set_updated_at", "incidents", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "incidents", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "insert (acknowledged_at, acknowledged_by, created_at, endpoint_id, failing_since, id,"
                " opened_at, project_id, resolution, resolved_at, resolved_by, root_cause, severity, status,"
                " tenant_id, title, updated_at), select, update (acknowledged_at, acknowledged_by, created_at,"
                " endpoint_id, failing_since, id, opened_at, project_id, resolution, resolved_at, resolved_by,"
                " root_cause, severity, status, tenant_id, title, updated_at)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "incident_events",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="opened, the new status, note, or attachment."),
        sa.Column("actor", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the entry outlives the account. NULL: the platform."),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("attachment", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="Name, type, size, and location in the object store."),
        sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(kind = 'attachment') = (attachment IS NOT NULL)",
            name=op.f("ck_incident_events_attached")),
        sa.CheckConstraint("jsonb_typeof(attachment) = 'object'", name=op.f("ck_incident_events_attachment_object")),
        sa.CheckConstraint("kind IN ('opened', 'acknowledged', 'investigating', 'resolved', 'note', 'attachment')",
            name=op.f("ck_incident_events_kind")),
        sa.ForeignKeyConstraint(["tenant_id", "incident_id"], ["incidents.tenant_id", "incidents.id"],
            name=op.f("fk_incident_events_incident_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_incident_events_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_incident_events")),
        comment="Timelines of incidents.",
    )
    op.create_index(
        op.f("ix_incident_events_incident_id_at"), "incident_events", ["tenant_id", "incident_id", "at"], unique=False,
    )
    op.set_row_level_security(
        "incident_events", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "insert, select",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "incident_links",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("from_id", sa.Uuid(), nullable=False),
        sa.Column("to_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("type IN ('duplicate', 'caused_by', 'blocks', 'parent')",
            name=op.f("ck_incident_links_type")),
        sa.CheckConstraint("from_id <> to_id", name=op.f("ck_incident_links_not_itself")),
        sa.ForeignKeyConstraint(["tenant_id", "from_id"], ["incidents.tenant_id", "incidents.id"],
            name=op.f("fk_incident_links_from_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "to_id"], ["incidents.tenant_id", "incidents.id"],
            name=op.f("fk_incident_links_to_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_incident_links_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "from_id", "to_id", "type", name=op.f("pk_incident_links")),
        comment="Relations between incidents.",
    )
    op.create_index(op.f("ix_incident_links_to_id"), "incident_links", ["tenant_id", "to_id"], unique=False)
    op.set_row_level_security(
        "incident_links", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "incident_postmortems",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="Markdown."),
        sa.Column("generated_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="When the draft was generated; NULL: written by a person."),
        sa.Column("author", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("body <> ''", name=op.f("ck_incident_postmortems_body_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "author"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_incident_postmortems_author"), ondelete="SET NULL (author)"),
        sa.ForeignKeyConstraint(["tenant_id", "incident_id"], ["incidents.tenant_id", "incidents.id"],
            name=op.f("fk_incident_postmortems_incident_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_incident_postmortems_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "incident_id", name=op.f("pk_incident_postmortems")),
        comment="Postmortems of incidents.",
    )
    op.create_index(
        op.f("ix_incident_postmortems_author"), "incident_postmortems", ["tenant_id", "author"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "incident_postmortems", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "incident_postmortems", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("incident_postmortems")
    op.drop_table("incident_links")
    op.drop_table("incident_events")
    op.drop_table("incidents")
    op.drop_function("record_incident_event")
    op.drop_function(
        "record_check",
        "endpoint uuid, due_at timestamptz, passed boolean, code integer, took_ms double precision, problem text",
    )
    op.drop_function("keep_incident")
