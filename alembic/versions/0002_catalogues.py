"""catalogues

Revision 0002, after 0001; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "account_tiers",
        sa.Column("tier_id", sa.Text(), nullable=False, comment="Short name such as growth."),
        sa.Column("support", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False,
            comment="Support level, availability, response time in hours."),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("limits", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Limit name to number."),
        sa.Column("features", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Feature name to true or false."),
        sa.Column("monthly_price_cents", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("annual_price_cents", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("stripe_price_id", sa.Text(), nullable=True, comment="Monthly price at Stripe."),
        sa.Column("stripe_annual_price_id", sa.Text(), nullable=True, comment="Annual price at Stripe."),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False,
            comment="False: no longer sold; existing subscriptions continue."),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(features) = 'object'", name=op.f("ck_account_tiers_features_object")),
        sa.CheckConstraint("jsonb_typeof(limits) = 'object'", name=op.f("ck_account_tiers_limits_object")),
        sa.CheckConstraint("jsonb_typeof(support) = 'object'", name=op.f("ck_account_tiers_support_object")),
        sa.CheckConstraint("tier_id <> ''", name=op.f("ck_account_tiers_tier_id_not_empty")),
        sa.CheckConstraint("monthly_price_cents >= 0 AND annual_price_cents >= 0",
            name=op.f("ck_account_tiers_prices")),
        sa.PrimaryKeyConstraint("tier_id", name=op.f("pk_account_tiers")),
        comment="Tiers that a tenant can have as a whole.",
    )
    op.create_trigger("set_updated_at", "account_tiers", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "account_tiers",
        {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "device_plans",
        sa.Column("plan_id", sa.Text(), nullable=False, comment="Short name such as premium."),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("limits", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Limit name to number."),
        sa.Column("features", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"), nullable=False, comment="Feature name to true or false."),
        sa.Column("monthly_price_cents", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("annual_price_cents", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("stripe_price_id", sa.Text(), nullable=True, comment="Monthly price at Stripe."),
        sa.Column("stripe_annual_price_id", sa.Text(), nullable=True, comment="Annual price at Stripe."),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False,
            comment="False: no longer sold; existing subscriptions continue."),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("jsonb_typeof(features) = 'object'", name=op.f("ck_device_plans_features_object")),
        sa.CheckConstraint("jsonb_typeof(limits) = 'object'", name=op.f("ck_device_plans_limits_object")),
        sa.CheckConstraint("plan_id <> ''", name=op.f("ck_device_plans_plan_id_not_empty")),
        sa.CheckConstraint("monthly_price_cents >= 0 AND annual_price_cents >= 0", name=op.f("ck_device_plans_prices")),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_device_plans")),
        comment="Plans that a single device can have.",
    )
    op.create_trigger("set_updated_at", "device_plans", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "device_plans",
        {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "permissions",
        sa.Column("action", sa.Text(), nullable=False, comment="Dotted name such as devices.read."),
        sa.Column("category", sa.Text(), nullable=False, comment="Heading under which it is listed."),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action ~ '^[a-z][a-z0-9_-]*([.][a-z0-9_-]+)*$'", name=op.f("ck_permissions_action")),
        sa.CheckConstraint("category <> ''", name=op.f("ck_permissions_category_not_empty")),
        sa.PrimaryKeyConstraint("action", name=op.f("pk_permissions")),
        comment="Catalogue of all actions that can be permitted.",
    )
    op.create_trigger("set_updated_at", "permissions", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "permissions", {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "role_templates",
        sa.Column("name", sa.Text(), nullable=False, comment="Name of the copied role; 'owner' must exist."),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("scope", sa.Text(), server_default="org", nullable=False,
            comment="Meant for the whole organization or for single projects."),
        sa.Column("sort_order", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_role_templates_name_not_empty")),
        sa.CheckConstraint("scope IN ('org', 'project')", name=op.f("ck_role_templates_scope")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_role_templates")),
        comment="Built-in roles; each tenant has its own copy in roles.",
    )
    op.create_trigger("set_updated_at", "role_templates", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "role_templates",
        {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "units_of_measure",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="Identifies the unit in the reference data."),
        sa.Column("symbol", sa.Text(), nullable=False, comment="Shown after a value; not unique."),
        sa.Column("category", sa.Text(), nullable=False, comment="Heading such as Temperature or Pressure."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("category <> ''", name=op.f("ck_units_of_measure_category_not_empty")),
        sa.CheckConstraint("name <> ''", name=op.f("ck_units_of_measure_name_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_units_of_measure")),
        sa.UniqueConstraint("name", name=op.f("uq_units_of_measure_name")),
        comment="Catalogue of units of measure.",
    )
    op.create_index(op.f("ix_units_of_measure_category"), "units_of_measure", ["category"], unique=False)
    op.create_trigger(
        "set_updated_at", "units_of_measure", "before", "update", level="row", function="set_updated_at()",
    )
    op.grant(
        "units_of_measure",
        {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "role_template_permissions",
        sa.Column("template", sa.Text(), nullable=False, comment="role_templates.name"),
        sa.Column("action", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["action"], ["permissions.action"], name=op.f("fk_role_template_permissions_action"),
            ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["template"], ["role_templates.name"],
            name=op.f("fk_role_template_permissions_template"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("template", "action", name=op.f("pk_role_template_permissions")),
        comment="Permissions of the built-in roles.",
    )
    op.create_index(op.f("ix_role_template_permissions_action"), "role_template_permissions", ["action"], unique=False)
    op.grant(
        "role_template_permissions",
        {"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )


def downgrade() -> None:
    op.drop_table("role_template_permissions")
    op.drop_table("units_of_measure")
    op.drop_table("role_templates")
    op.drop_table("permissions")
    op.drop_table("device_plans")
    op.drop_table("account_tiers")
