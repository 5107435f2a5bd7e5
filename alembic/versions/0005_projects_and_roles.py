"""projects and roles

Revision 0005, after 0004; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("color", sa.Text(), nullable=True, comment="#rrggbb"),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False,
            comment="Labels, chosen freely."),
        sa.Column("priority", sa.Text(), server_default="medium", nullable=False),
        sa.Column("default_interval_seconds", sa.Integer(), server_default=sa.text("30"), nullable=False,
            comment="Interval of new endpoints."),
        sa.Column("default_failure_threshold", sa.Integer(), server_default=sa.text("3"), nullable=False,
            comment="Consecutive failures that open an incident."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("color ~ '^#[0-9a-f]{6}$'", name=op.f("ck_projects_color")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_projects_name_not_empty")),
        sa.CheckConstraint("priority IN ('high', 'medium', 'low')", name=op.f("ck_projects_priority")),
        sa.CheckConstraint("default_failure_threshold BETWEEN 1 AND 10", name=op.f("ck_projects_failure_threshold")),
        sa.CheckConstraint("default_interval_seconds BETWEEN 10 AND 3600", name=op.f("ck_projects_interval")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_projects_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_projects")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_projects_name")),
        comment="Groups of endpoints, with common defaults and permissions.",
    )
    op.create_trigger("set_updated_at", "projects", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "projects", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "roles",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("scope", sa.Text(), server_default="org", nullable=False,
            comment="Meant for the whole organization or for single projects."),
        sa.Column("is_system", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Copied from role_templates; tenants cannot change it."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_roles_name_not_empty")),
        sa.CheckConstraint("scope IN ('org', 'project')", name=op.f("ck_roles_scope")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_roles_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_roles")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_roles_name")),
        comment="Roles of tenants: copies of built-in roles, and their own.",
    )
    op.create_trigger("set_updated_at", "roles", "before", "update", level="row", function="set_updated_at()")
    op.create_trigger(
        "system_roles_stay", "roles", "before", "update or delete", level="row", function="reject_system_row_change()",
        when="old.is_system",
    )
    op.set_row_level_security(
        "roles", enable=True, force=True,
        policies={
            "auth_access": "FOR SELECT TO fleet_auth USING (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert (created_at, description, id, name, scope, tenant_id, updated_at), select,"
                " update (created_at, description, id, name, scope, tenant_id, updated_at)",
            "fleet_auth, fleet_operator_read": "select",
            "fleet_operator": "delete, insert, select, update",
        },
    )

    op.create_table(
        "invitations",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False, comment="Address to which the invitation was sent."),
        sa.Column("role_id", sa.Uuid(), nullable=True,
            comment="Role assigned on acceptance. NULL: the role was deleted, so it cannot be accepted."),
        sa.Column("project_ids", sa.ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False,
            comment="Projects to which the role is limited; empty: all. The rows of user_roles, written on acceptance,"
                " have the foreign keys."),
        sa.Column("token_hash", sa.Text(), nullable=False,
            comment="Hash of the token in the link; unique over all tenants, since it is looked up before the tenant"
                " is known."),
        sa.Column("invited_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the invitation outlives the account."),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("position('@' in email) > 1", name=op.f("ck_invitations_email")),
        sa.CheckConstraint("accepted_at IS NULL OR revoked_at IS NULL", name=op.f("ck_invitations_outcome")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_invitations_expires_at")),
        sa.ForeignKeyConstraint(["tenant_id", "role_id"], ["roles.tenant_id", "roles.id"],
            name=op.f("fk_invitations_role_id"), ondelete="SET NULL (role_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_invitations_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
        comment="Invitations to join a tenant.",
    )
    op.create_index(op.f("ix_invitations_role_id"), "invitations", ["tenant_id", "role_id"], unique=False)
    op.create_index(
        "uq_invitations_email_open", "invitations", ["tenant_id", sa.literal_column("lower(email)")], unique=True,
        postgresql_where=sa.text("accepted_at IS NULL AND revoked_at IS NULL"),
    )
    op.create_trigger("set_updated_at", "invitations", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "invitations", enable=True, force=True,
        policies={
            "auth_access": "FOR ALL TO fleet_auth USING (true) WITH CHECK (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select (accepted_at, created_at, email, expires_at, id, invited_by,"
                " project_ids, revoked_at, role_id, tenant_id, updated_at), update (expires_at, project_ids,"
                " revoked_at, role_id)",
            "fleet_auth": "select, update (accepted_at)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select (accepted_at, created_at, email, expires_at, id, invited_by, project_ids,"
                " revoked_at, role_id, tenant_id, updated_at)",
        },
    )

    op.create_table(
        "role_permissions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["action"], ["permissions.action"], name=op.f("fk_role_permissions_action"),
            ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "role_id"], ["roles.tenant_id", "roles.id"],
            name=op.f("fk_role_permissions_role_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_role_permissions_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "role_id", "action", name=op.f("pk_role_permissions")),
        comment="Permissions of roles.",
    )
    op.create_index(op.f("ix_role_permissions_action"), "role_permissions", ["action"], unique=False)
    op.create_function(
        "reject_system_permission_change", returns="trigger", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  changed record;\n"
            "begin\n"
            "  if tg_op = 'DELETE' then\n"
            "    changed := old;\n"
            "  else\n"
            "    changed := new;\n"
            "  end if;\n"
            "  if pg_has_role(current_user, 'fleet_app', 'usage')\n"
            "     and not pg_has_role(current_user, 'fleet_operator', 'usage')\n"
            "     and exists (select from public.roles\n"
            "                  where tenant_id = changed.tenant_id and id = changed.role_id and is_system)\n"
            "  then\n"
            "    raise exception 'the permissions of system role % cannot be changed by a tenant',\n"
            "        changed.role_id\n"
            "      using errcode = 'insufficient_privilege', table = tg_table_name,\n"
            "            hint = 'Create a role of your own with the permissions that you need.';\n"
            "  end if;\n"
            "  return changed;\n"
            "end"
        ),
        comment="Trigger: rejects changes by tenants to the permissions of system roles.",
    )
    op.create_trigger(
        "system_permissions_stay", "role_permissions", "before", "insert or update or delete", level="row",
        function="reject_system_permission_change()",
    )
    op.set_row_level_security(
        "role_permissions", enable=True, force=True,
        policies={
            "auth_access": "FOR SELECT TO fleet_auth USING (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select",
            "fleet_auth, fleet_operator_read": "select",
            "fleet_operator": "delete, insert, select, update",
        },
    )

    op.create_table(
        "user_permissions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("feature", sa.Text(), nullable=False, comment="Dotted name such as connectivity.tags."),
        sa.Column("can_create", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("can_read", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("can_update", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("can_delete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("feature <> ''", name=op.f("ck_user_permissions_feature_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_user_permissions_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_user_permissions_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "feature", name=op.f("pk_user_permissions")),
        comment="Permissions per member and feature; a row overrides those of the roles.",
    )
    op.create_trigger(
        "set_updated_at", "user_permissions", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "user_permissions", enable=True, force=True,
        policies={
            "auth_access": "FOR SELECT TO fleet_auth USING (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app, fleet_operator": "delete, insert, select, update",
            "fleet_auth, fleet_operator_read": "select",
        },
    )

    op.create_table(
        "user_roles",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True, comment="NULL: in the whole tenant."),
        sa.Column("assigned_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, since operators are not members."),
        sa.Column("assigned_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.id"],
            name=op.f("fk_user_roles_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "role_id"], ["roles.tenant_id", "roles.id"],
            name=op.f("fk_user_roles_role_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_user_roles_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_user_roles_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_user_roles")),
        sa.UniqueConstraint("tenant_id", "user_id", "role_id", "project_id",
            name=op.f("uq_user_roles_user_id_role_id_project_id"), postgresql_nulls_not_distinct=True),
        comment="Roles of members; inserted and deleted, never updated.",
    )
    op.create_index(op.f("ix_user_roles_project_id"), "user_roles", ["tenant_id", "project_id"], unique=False)
    op.create_index(op.f("ix_user_roles_role_id"), "user_roles", ["tenant_id", "role_id"], unique=False)
    op.set_row_level_security(
        "user_roles", enable=True, force=True,
        policies={
            "auth_access": "FOR ALL TO fleet_auth USING (true) WITH CHECK (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select",
            "fleet_auth": "insert, select",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )


def downgrade() -> None:
    op.drop_table("user_roles")
    op.drop_table("user_permissions")
    op.drop_trigger("system_permissions_stay", "role_permissions")
    op.drop_function("reject_system_permission_change")
    op.drop_table("role_permissions")
    op.drop_table("invitations")
    op.drop_table("roles")
    op.drop_table("projects")
