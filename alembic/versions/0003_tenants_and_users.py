"""tenants and users

Revision 0003, after 0002; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "operator_audit_log",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False,
            comment="The person, as named by the identity provider; may have no row in users."),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("tenant_filter", sa.Uuid(), nullable=True,
            comment="The tenant accessed, NULL for all; no foreign key, it outlives the tenant."),
        sa.Column("resource_type", sa.Text(), nullable=True),
        sa.Column("resource_id", sa.Text(), nullable=True),
        sa.Column("ip_address", postgresql.INET(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True, comment="Reason given by the operator."),
        sa.Column("rls_bypassed", sa.Boolean(), server_default=sa.text("true"), nullable=False,
            comment="True: rows of every tenant were visible."),
        sa.Column("login", sa.Text(), server_default=sa.text("session_user"), nullable=False,
            comment="Database login of the session."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action <> ''", name=op.f("ck_operator_audit_log_action_not_empty")),
        sa.CheckConstraint("user_id <> ''", name=op.f("ck_operator_audit_log_user_id_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_audit_log")),
        comment="Accesses of operators across tenants.",
    )
    op.create_index(
        op.f("ix_operator_audit_log_action_created_at"), "operator_audit_log", ["action", "created_at"], unique=False,
    )
    op.create_index(op.f("ix_operator_audit_log_created_at"), "operator_audit_log", ["created_at"], unique=False)
    op.create_index(
        op.f("ix_operator_audit_log_tenant_filter_created_at"), "operator_audit_log", ["tenant_filter", "created_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_operator_audit_log_user_id_created_at"), "operator_audit_log", ["user_id", "created_at"], unique=False,
    )
    op.grant(
        "operator_audit_log",
        {
            "fleet_operator, fleet_operator_read": "insert (action, id, ip_address, reason, resource_id,"
                " resource_type, rls_bypassed, tenant_filter, user_agent, user_id), select",
        },
    )

    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False, comment="Unique, ignoring case."),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False,
            comment="False: cannot sign in anywhere."),
        sa.Column("is_system", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Acts for the platform; cannot be deleted or made an ordinary account."),
        sa.Column("email_verified_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("position('@' in email) > 1", name=op.f("ck_users_email")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        comment="Accounts. Tenants see only id, display_name and email of their members; fleet_auth sees everything.",
    )
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_function(
        "reject_system_user_change", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  raise exception 'user % acts for the platform: it cannot be deleted, '\n"
            "      'deactivated or made an ordinary account', old.email\n"
            "    using errcode = 'insufficient_privilege', table = tg_table_name;\n"
            "end"
        ),
        comment="Trigger: rejects every change that its condition selects.",
    )
    op.create_trigger("set_updated_at", "users", "before", "update", level="row", function="set_updated_at()")
    op.create_trigger(
        "system_user_stays", "users", "before", "delete", level="row", function="reject_system_user_change()",
        when="old.is_system",
    )
    op.create_trigger(
        "system_user_stays_one", "users", "before", "update of id, is_system, is_active", level="row",
        function="reject_system_user_change()",
        when="old.is_system AND (new.id <> old.id OR NOT new.is_system OR NOT new.is_active)",
    )
    op.set_row_level_security(
        "users", enable=True, force=True,
        policies={
            "auth_access": "FOR ALL TO fleet_auth USING (true) WITH CHECK (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
        },
        grants={
            "fleet_app": "select (display_name, email, id)",
            "fleet_auth": "insert (display_name, email, email_verified_at, id, is_active), select, update"
                " (display_name, email, email_verified_at, is_active)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False, comment="Name of the tenant in URLs."),
        sa.Column("name", sa.Text(), nullable=False, comment="Display name."),
        sa.Column("status", sa.Text(), server_default="active", nullable=False,
            comment="suspended: no sign-in; deleted: its rows are being removed."),
        sa.Column("account_tier_id", sa.Text(), nullable=True, comment="Limits and features of the tenant as a whole."),
        sa.Column("legal_name", sa.Text(), nullable=True, comment="Name on contracts and invoices."),
        sa.Column("contact_name", sa.Text(), nullable=True),
        sa.Column("contact_email", sa.Text(), nullable=True),
        sa.Column("billing_email", sa.Text(), nullable=True, comment="Address for invoices."),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("industry", sa.Text(), nullable=True),
        sa.Column("company_size", sa.Text(), nullable=True, comment="Range of employees, as text."),
        sa.Column("address_line1", sa.Text(), nullable=True),
        sa.Column("address_line2", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("state_province", sa.Text(), nullable=True),
        sa.Column("postal_code", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True, comment="ISO 3166-1 alpha-2, upper case."),
        sa.Column("data_residency_region", sa.Text(), nullable=True,
            comment="Region in which the data must stay by contract; set by operators."),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True, comment="Billing account at Stripe."),
        sa.Column("metadata", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Notes of the operators."),
        sa.Column("builtins", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False,
            comment="Keys of all built-in rows ever copied, so that sync_tenant() does not restore rows that the"
                " tenant deleted."),
        sa.Column("deleted_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="When the tenant asked to be deleted; its rows may still exist."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'deleted') = (deleted_at IS NOT NULL)", name=op.f("ck_tenants_deleted_at")),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name=op.f("ck_tenants_country")),
        sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name=op.f("ck_tenants_metadata_object")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_tenants_name_not_empty")),
        sa.CheckConstraint("slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_tenants_slug")),
        sa.CheckConstraint("status IN ('active', 'suspended', 'deleted')", name=op.f("ck_tenants_status")),
        sa.CheckConstraint("tenant_id <> '00000000-0000-0000-0000-000000000000' OR status = 'active'",
            name=op.f("ck_tenants_platform_is_active")),
        sa.ForeignKeyConstraint(["account_tier_id"], ["account_tiers.tier_id"],
            name=op.f("fk_tenants_account_tier_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenants_slug")),
        sa.UniqueConstraint("stripe_customer_id", name=op.f("uq_tenants_stripe_customer_id")),
        comment="Customers of the platform, and the platform itself as the tenant with the zero UUID.",
    )
    op.create_index(op.f("ix_tenants_account_tier_id"), "tenants", ["account_tier_id"], unique=False)
    op.create_trigger("set_updated_at", "tenants", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "tenants", enable=True, force=True,
        policies={
            "auth_access": "FOR SELECT TO fleet_auth USING (true)",
            "ingest_access": "FOR SELECT TO fleet_ingest USING (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "own_profile": "FOR UPDATE TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
            "own_row": "FOR SELECT TO fleet_app USING (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "select, update (address_line1, address_line2, billing_email, city, company_size,"
                " contact_email, contact_name, country, industry, legal_name, name, phone, postal_code,"
                " state_province)",
            "fleet_auth": "select (name, slug, status, tenant_id)",
            "fleet_ingest": "select (slug, status, tenant_id)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )

    op.create_table(
        "tenant_members",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="invited", nullable=False,
            comment="invited: not yet accepted, so not yet visible to the tenant; disabled: no access."),
        sa.Column("is_owner", sa.Boolean(), server_default=sa.text("false"), nullable=False,
            comment="Has all permissions; a tenant always has an active owner."),
        sa.Column("joined_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="When the invitation was accepted."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("NOT is_owner OR status <> 'invited'", name=op.f("ck_tenant_members_owner_has_joined")),
        sa.CheckConstraint("status IN ('invited', 'active', 'disabled')", name=op.f("ck_tenant_members_status")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_tenant_members_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tenant_members_user_id")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_tenant_members")),
        comment="Accounts that belong to a tenant.",
    )
    op.create_index(op.f("ix_tenant_members_user_id"), "tenant_members", ["user_id"], unique=False)
    op.create_function(
        "keep_an_owner", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  state text;\n"
            "begin\n"
            "  if old.tenant_id = '00000000-0000-0000-0000-000000000000' then\n"
            "    return null;\n"
            "  end if;\n"
            "  select status into state from public.tenants\n"
            "    where tenant_id = old.tenant_id for no key update;\n"
            "  if not found and pg_has_role(current_user, 'fleet_operator', 'usage') then\n"
            "    return null;  -- an operator sees every tenant, so this one was deleted\n"
            "  end if;\n"
            "  if state = 'deleted' or exists (\n"
            "       select from public.tenant_members\n"
            "        where tenant_id = old.tenant_id and is_owner and status = 'active') then\n"
            "    return null;\n"
            "  end if;\n"
            "  raise exception 'tenant % would be left without an active owner', old.tenant_id\n"
            "    using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,\n"
            "          constraint = tg_name,\n"
            "          hint = 'Make another active member an owner first, in the same transaction.';\n"
            "end"
        ),
        comment="Trigger: rejects changes that leave a tenant without an active owner.",
    )
    op.create_trigger("set_updated_at", "tenant_members", "before", "update", level="row", function="set_updated_at()")
    op.create_trigger(
        "tenant_keeps_an_owner", "tenant_members", "after", "update or delete", level="row", function="keep_an_owner()",
        when="old.is_owner AND old.status = 'active'", constraint=True, deferrable=True, initially_deferred=True,
    )
    op.set_row_level_security(
        "tenant_members", enable=True, force=True,
        policies={
            "auth_accept": "FOR UPDATE TO fleet_auth USING (status = 'invited') WITH CHECK (true)",
            "auth_join": "FOR INSERT TO fleet_auth WITH CHECK (true)",
            "auth_read": "FOR SELECT TO fleet_auth USING (true)",
            "invited_accept_themselves": "AS RESTRICTIVE FOR UPDATE TO fleet_app USING (status <> 'invited') WITH"
                " CHECK (status <> 'invited')",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, select, update (is_owner, status)",
            "fleet_auth": "insert (joined_at, status, tenant_id, user_id), select, update (joined_at, status)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select",
        },
    )
    op.create_policy(
        "fellow_members", "users", to="fleet_app", command="select",
        using="EXISTS (SELECT FROM tenant_members m WHERE m.tenant_id = (SELECT current_tenant()) AND m.user_id ="
            " users.id AND m.status <> 'invited')",
    )

    op.create_table(
        "tenant_settings",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="Dotted name."),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="Any JSON except null."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(value) <> 'null'", name=op.f("ck_tenant_settings_value_value")),
        sa.CheckConstraint("key <> ''", name=op.f("ck_tenant_settings_key_not_empty")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_tenant_settings_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_tenant_settings")),
        comment="Settings of tenants; a new tenant receives copies of those of the platform tenant.",
    )
    op.create_trigger("set_updated_at", "tenant_settings", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "tenant_settings", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_view(
        "organizations",
        (
            "SELECT t.tenant_id AS id, t.slug, t.name, t.status,\n"
            "       coalesce((SELECT jsonb_object_agg(s.key, s.value) FROM tenant_settings s\n"
            "                  WHERE s.tenant_id = t.tenant_id), '{}'::jsonb) AS settings,\n"
            "       coalesce(a.limits, '{}'::jsonb) AS limits,\n"
            "       t.created_at, t.updated_at\n"
            "  FROM tenants t LEFT JOIN account_tiers a ON a.tier_id = t.account_tier_id"
        ),
        security_invoker=True, comment="Tenants under the name that service monitoring uses for them.",
        grants={"fleet_app, fleet_operator, fleet_operator_read": "select"},
    )

    op.create_table(
        "user_preferences",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True, comment="Name within this tenant."),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False, comment="IANA name."),
        sa.Column("notification_prefs", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Channel to the settings of the member for it."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(notification_prefs) = 'object'",
            name=op.f("ck_user_preferences_notification_prefs_object")),
        sa.ForeignKeyConstraint(["tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_user_preferences_user_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_user_preferences_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_user_preferences")),
        comment="Preferences of a member within a tenant.",
    )
    op.create_trigger(
        "set_updated_at", "user_preferences", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "user_preferences", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("user_preferences")
    op.drop_view("organizations")
    op.drop_table("tenant_settings")
    op.drop_policy("fellow_members", "users")
    op.drop_trigger("tenant_keeps_an_owner", "tenant_members")
    op.drop_function("keep_an_owner")
    op.drop_table("tenant_members")
    op.drop_table("tenants")
    op.drop_trigger("system_user_stays_one", "users")
    op.drop_trigger("system_user_stays", "users")
    op.drop_function("reject_system_user_change")
    op.drop_table("users")
    op.drop_table("operator_audit_log")
