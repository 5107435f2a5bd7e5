"""dashboards

Revision 0031, after 0030; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.create_function(
        "reject_folder_cycle", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  parent uuid := new.parent_folder_id;\n"
            "  owner uuid;\n"
            "begin\n"
            "  perform from public.tenant_members\n"
            "    where tenant_id = new.tenant_id and user_id = new.user_id for no key update;\n"
            "  while parent is not null loop\n"
            "    if parent = new.id then\n"
            "      raise exception 'folder % of % cannot contain itself', new.id, tg_table_name\n"
            "        using errcode = 'check_violation', table = tg_table_name,\n"
            "              column = 'parent_folder_id', hint = 'Move its subfolders elsewhere first.';\n"
            "    end if;\n"
            "    execute format('select parent_folder_id from public.%I'\n"
            "      ' where tenant_id = $1 and id = $2', tg_table_name)\n"
            "      into parent using new.tenant_id, parent;\n"
            "  end loop;\n"
            "  execute format('select user_id from public.%I where tenant_id = $1 and id = $2',\n"
            "    tg_table_name) into owner using new.tenant_id, new.parent_folder_id;\n"
            "  if owner <> new.user_id then\n"
            "    raise exception 'folder % of % cannot be in a folder of another person', new.id,\n"
            "        tg_table_name\n"
            "      using errcode = 'check_violation', table = tg_table_name,\n"
            "            column = 'parent_folder_id', hint = 'Use a folder of the same person.';\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: rejects cycles of folders, and folders within those of another person.",
    )

    op.create_table(
        "chart_folders",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("parent_folder_id", sa.Uuid(), nullable=True,
            comment="Of the same person; NULL at the top. Deleting a folder deletes its subfolders."),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_chart_folders_name_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "parent_folder_id"], ["chart_folders.tenant_id", "chart_folders.id"],
            name=op.f("fk_chart_folders_parent_folder_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_chart_folders_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_chart_folders_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_chart_folders")),
        comment="Folders of charts.",
    )
    op.create_index(
        op.f("ix_chart_folders_parent_folder_id"), "chart_folders", ["tenant_id", "parent_folder_id"], unique=False,
    )
    op.create_index(op.f("ix_chart_folders_user_id"), "chart_folders", ["tenant_id", "user_id"], unique=False)
    op.create_trigger(
        "chart_folders_form_no_cycle", "chart_folders", "after", "insert or update of parent_folder_id, user_id",
        level="row", function="reject_folder_cycle()", when="new.parent_folder_id IS NOT NULL",
    )
    op.create_trigger("set_updated_at", "chart_folders", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "chart_folders", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "dashboard_folders",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("parent_folder_id", sa.Uuid(), nullable=True,
            comment="Of the same person; NULL at the top. Deleting a folder deletes its subfolders."),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_dashboard_folders_name_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "parent_folder_id"],
            ["dashboard_folders.tenant_id", "dashboard_folders.id"], name=op.f("fk_dashboard_folders_parent_folder_id"),
            ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_dashboard_folders_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_dashboard_folders_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_dashboard_folders")),
        comment="Folders of dashboards.",
    )
    op.create_index(
        op.f("ix_dashboard_folders_parent_folder_id"), "dashboard_folders", ["tenant_id", "parent_folder_id"],
        unique=False,
    )
    op.create_index(op.f("ix_dashboard_folders_user_id"), "dashboard_folders", ["tenant_id", "user_id"], unique=False)
    op.create_trigger(
        "dashboard_folders_form_no_cycle", "dashboard_folders", "after",
        "insert or update of parent_folder_id, user_id", level="row", function="reject_folder_cycle()",
        when="new.parent_folder_id IS NOT NULL",
    )
    op.create_trigger(
        "set_updated_at", "dashboard_folders", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "dashboard_folders", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "chart_configs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True, comment="NULL: belongs to the whole tenant."),
        sa.Column("folder_id", sa.Uuid(), nullable=True, comment="NULL: not in a folder."),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("chart_type", sa.Text(), server_default="line", nullable=False),
        sa.Column("time_mode", sa.Text(), server_default="rolling", nullable=False,
            comment="fixed: from time_from to time_to; rolling: the last time_duration_ms; shifted: like rolling, but"
                " ending time_offset_ms ago."),
        sa.Column("time_from", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("time_to", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("time_duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("time_offset_ms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("live_enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Updates automatically."),
        sa.Column("show_time_badge", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("options", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Series, axes, colours."),
        sa.Column("is_system_chart", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Created by the platform; tenants cannot change it."),
        sa.Column("is_shared", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Visible to others in the tenant."),
        sa.Column("is_deleted", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="In the trash; can be restored."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "CASE time_mode WHEN 'fixed' THEN time_from IS NOT NULL AND time_to IS NOT NULL ELSE time_duration_ms IS"
                " NOT NULL END", name=op.f("ck_chart_configs_time_given")),
        sa.CheckConstraint("chart_type <> ''", name=op.f("ck_chart_configs_chart_type_not_empty")),
        sa.CheckConstraint("jsonb_typeof(options) = 'object'", name=op.f("ck_chart_configs_options_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_chart_configs_name_not_empty")),
        sa.CheckConstraint("time_mode IN ('fixed', 'rolling', 'shifted')", name=op.f("ck_chart_configs_time_mode")),
        sa.CheckConstraint("time_duration_ms > 0", name=op.f("ck_chart_configs_time_duration")),
        sa.CheckConstraint("time_from < time_to", name=op.f("ck_chart_configs_time_range")),
        sa.CheckConstraint("user_id IS NOT NULL OR is_shared", name=op.f("ck_chart_configs_of_tenant_is_shared")),
        sa.ForeignKeyConstraint(["tenant_id", "folder_id"], ["chart_folders.tenant_id", "chart_folders.id"],
            name=op.f("fk_chart_configs_folder_id"), ondelete="SET NULL (folder_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_chart_configs_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_chart_configs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_chart_configs")),
        comment="Charts of one person or of the whole tenant.",
    )
    op.create_index(op.f("ix_chart_configs_folder_id"), "chart_configs", ["tenant_id", "folder_id"], unique=False)
    op.create_index(op.f("ix_chart_configs_user_id"), "chart_configs", ["tenant_id", "user_id"], unique=False)
    op.create_trigger("set_updated_at", "chart_configs", "before", "update", level="row", function="set_updated_at()")
    op.create_trigger(
        "system_charts_stay", "chart_configs", "before", "update or delete", level="row",
        function="reject_system_row_change()", when="old.is_system_chart",
    )
    op.set_row_level_security(
        "chart_configs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert (chart_type, created_at, description, folder_id, id, is_deleted, is_shared,"
                " live_enabled, name, options, show_time_badge, tenant_id, time_duration_ms, time_from, time_mode,"
                " time_offset_ms, time_to, updated_at, user_id), select, update (chart_type, created_at, description,"
                " folder_id, id, is_deleted, is_shared, live_enabled, name, options, show_time_badge, tenant_id,"
                " time_duration_ms, time_from, time_mode, time_offset_ms, time_to, updated_at, user_id)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "dashboard_configs",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True, comment="NULL: belongs to the whole tenant."),
        sa.Column("folder_id", sa.Uuid(), nullable=True, comment="NULL: not in a folder."),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("layout", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="E.g. columns and breakpoints."),
        sa.Column("options", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="E.g. time range and refresh interval."),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Shown first, to its owner or to the whole tenant."),
        sa.Column("is_shared", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Visible to others in the tenant."),
        sa.Column("is_deleted", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="In the trash; can be restored."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(layout) = 'object'", name=op.f("ck_dashboard_configs_layout_object")),
        sa.CheckConstraint("jsonb_typeof(options) = 'object'", name=op.f("ck_dashboard_configs_options_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_dashboard_configs_name_not_empty")),
        sa.CheckConstraint("user_id IS NOT NULL OR is_shared", name=op.f("ck_dashboard_configs_of_tenant_is_shared")),
        sa.ForeignKeyConstraint(["tenant_id", "folder_id"], ["dashboard_folders.tenant_id", "dashboard_folders.id"],
            name=op.f("fk_dashboard_configs_folder_id"), ondelete="SET NULL (folder_id)"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_dashboard_configs_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_dashboard_configs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_dashboard_configs")),
        comment="Dashboards of one person or of the whole tenant.",
    )
    op.create_index(
        op.f("ix_dashboard_configs_folder_id"), "dashboard_configs", ["tenant_id", "folder_id"], unique=False,
    )
    op.create_index(op.f("ix_dashboard_configs_user_id"), "dashboard_configs", ["tenant_id", "user_id"], unique=False)
    op.create_index(
        "uq_dashboard_configs_default", "dashboard_configs", ["tenant_id", "user_id"], unique=True,
        postgresql_nulls_not_distinct=True, postgresql_where=sa.text("is_default AND NOT is_deleted"),
    )
    op.create_trigger(
        "set_updated_at", "dashboard_configs", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "dashboard_configs", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "dashboard_widgets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("dashboard_id", sa.Uuid(), nullable=False),
        sa.Column("chart_id", sa.Uuid(), nullable=True, comment="The chart it shows, if any."),
        sa.Column("widget_type", sa.Text(), nullable=False, comment="Kind of widget, e.g. chart or gauge."),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("config", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Settings of the widget."),
        sa.Column("position", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{\"x\": 0, \"y\": 0, \"w\": 2, \"h\": 2}'::jsonb"), nullable=False,
            comment="x, y, w and h in grid cells."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(config) = 'object'", name=op.f("ck_dashboard_widgets_config_object")),
        sa.CheckConstraint("jsonb_typeof(position) = 'object'", name=op.f("ck_dashboard_widgets_position_object")),
        sa.CheckConstraint("widget_type <> ''", name=op.f("ck_dashboard_widgets_widget_type_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "chart_id"], ["chart_configs.tenant_id", "chart_configs.id"],
            name=op.f("fk_dashboard_widgets_chart_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "dashboard_id"], ["dashboard_configs.tenant_id", "dashboard_configs.id"],
            name=op.f("fk_dashboard_widgets_dashboard_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_dashboard_widgets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_dashboard_widgets")),
        comment="Widgets of dashboards.",
    )
    op.create_index(op.f("ix_dashboard_widgets_chart_id"), "dashboard_widgets", ["tenant_id", "chart_id"], unique=False)
    op.create_index(
        op.f("ix_dashboard_widgets_dashboard_id"), "dashboard_widgets", ["tenant_id", "dashboard_id"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "dashboard_widgets", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "dashboard_widgets", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("dashboard_widgets")
    op.drop_table("dashboard_configs")
    op.drop_table("chart_configs")
    op.drop_table("dashboard_folders")
    op.drop_table("chart_folders")
    op.drop_function("reject_folder_cycle")
