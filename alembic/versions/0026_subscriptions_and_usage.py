"""subscriptions and usage

Revision 0026, after 0025; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_function(
        "audit_subscription", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  insert into public.subscription_audit\n"
            "         (tenant_id, subscription_id, event_type, actor_id, previous_state, new_state)\n"
            "  values (new.tenant_id, new.subscription_id,\n"
            "          case when tg_op = 'INSERT' then 'created'\n"
            "               when old.status is distinct from new.status then new.status\n"
            "               else 'changed' end,\n"
            "          session_user, case tg_op when 'UPDATE' then to_jsonb(old) end, to_jsonb(new));\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: records every change of a subscription, with the row before and after.",
    )

    op.create_table(
        "stripe_events",
        sa.Column("event_id", sa.Text(), nullable=False, comment="Identifier at Stripe."),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("received_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("processed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("payload_summary", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="The fields that were needed; no card data."),
        sa.CheckConstraint("event_id <> ''", name=op.f("ck_stripe_events_event_id_not_empty")),
        sa.CheckConstraint("event_type <> ''", name=op.f("ck_stripe_events_event_type_not_empty")),
        sa.CheckConstraint("jsonb_typeof(payload_summary) = 'object'",
            name=op.f("ck_stripe_events_payload_summary_object")),
        sa.CheckConstraint("processed_at >= received_at", name=op.f("ck_stripe_events_processed_at")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_stripe_events")),
        comment="Events received from Stripe.",
    )
    op.create_index(
        op.f("ix_stripe_events_event_type_received_at"), "stripe_events", ["event_type", "received_at"], unique=False,
    )
    op.create_function(
        "receive_stripe_event", "event text, kind text, summary jsonb DEFAULT NULL", returns="boolean", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  INSERT INTO stripe_events (event_id, event_type, payload_summary)\n"
            "  VALUES (event, kind, summary) ON CONFLICT DO NOTHING\n"
            "  RETURNING true;\n"
            "END"
        ),
        comment="Records an event; returns true if it is new, NULL if it was received before. Process a new event in"
            " the same transaction, so that it is done exactly once.",
        grants={"fleet_operator": "execute"},
    )
    op.grant("stripe_events", {"fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"})

    op.create_table(
        "subscription_audit",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=True,
            comment="No foreign key: the history outlives the subscription."),
        sa.Column("event_type", sa.Text(), nullable=False, comment="created, changed, or the new status."),
        sa.Column("event_timestamp", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor_type", sa.Text(), server_default="system", nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=True,
            comment="The database login, or the user or system that it acted for."),
        sa.Column("previous_state", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="The row before."),
        sa.Column("new_state", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="The row after."),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True,
            comment="E.g. the event of Stripe."),
        sa.Column("ip_address", postgresql.INET(), nullable=True),
        sa.CheckConstraint("actor_type IN ('user', 'operator', 'stripe', 'system')",
            name=op.f("ck_subscription_audit_actor_type")),
        sa.CheckConstraint("event_type <> ''", name=op.f("ck_subscription_audit_event_type_not_empty")),
        sa.CheckConstraint("jsonb_typeof(details) = 'object'", name=op.f("ck_subscription_audit_details_object")),
        sa.CheckConstraint("jsonb_typeof(new_state) = 'object'", name=op.f("ck_subscription_audit_new_state_object")),
        sa.CheckConstraint("jsonb_typeof(previous_state) = 'object'",
            name=op.f("ck_subscription_audit_previous_state_object")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_subscription_audit_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_subscription_audit")),
        comment="Changes of subscriptions.",
    )
    op.create_index(
        op.f("ix_subscription_audit_subscription_id"), "subscription_audit",
        ["tenant_id", "subscription_id", sa.literal_column("event_timestamp DESC")], unique=False,
    )
    op.create_index(
        op.f("ix_subscription_audit_tenant_id"), "subscription_audit",
        ["tenant_id", sa.literal_column("event_timestamp DESC")], unique=False,
    )
    op.set_row_level_security(
        "subscription_audit", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "usage_counters",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False, comment="E.g. api_requests."),
        sa.Column("period", sa.Date(), nullable=False, comment="First day of the month, UTC."),
        sa.Column("used", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("usage_limit", sa.BigInteger(), nullable=True, comment="NULL: unlimited."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("metric <> ''", name=op.f("ck_usage_counters_metric_not_empty")),
        sa.CheckConstraint("extract(day FROM period) = 1", name=op.f("ck_usage_counters_period")),
        sa.CheckConstraint("usage_limit >= 0", name=op.f("ck_usage_counters_usage_limit")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_usage_counters_used")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_usage_counters_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "metric", "period", name=op.f("pk_usage_counters")),
        comment="Usage of tenants by month.",
    )
    op.create_function(
        "count_usage", "of_tenant uuid, what text, amount bigint DEFAULT 1, most bigint DEFAULT NULL", returns="bigint",
        language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  INSERT INTO usage_counters AS u (tenant_id, metric, period, used, usage_limit)\n"
            "  SELECT of_tenant, what, date_trunc('month', now() AT TIME ZONE 'UTC')::date,\n"
            "         amount, most\n"
            "   WHERE most IS NULL OR amount <= most\n"
            "  ON CONFLICT (tenant_id, metric, period)\n"
            "  DO UPDATE SET used = u.used + excluded.used\n"
            "   WHERE u.usage_limit IS NULL OR u.used + excluded.used <= u.usage_limit\n"
            "  RETURNING u.used;\n"
            "END"
        ),
        comment="Adds to a tenant's counter of this month; returns the new count, or NULL if it would exceed the"
            " limit. most sets the limit of a new counter.",
        grants={"fleet_operator": "execute"},
    )
    op.create_trigger("set_updated_at", "usage_counters", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "usage_counters", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "subscriptions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="Whether it applies to the tenant or to one device."),
        sa.Column("device_id", sa.Text(), nullable=True,
            comment="A device that was ever billed cannot be deleted, only decommissioned."),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("tier_id", sa.Text(), nullable=True),
        sa.Column("parent_subscription_id", sa.Uuid(), nullable=True,
            comment="The subscription that this add-on belongs to, and ends with."),
        sa.Column("status", sa.Text(), server_default="active", nullable=False,
            comment="grace: unpaid, service continues; suspended: unpaid, service stopped."),
        sa.Column("term_start", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("term_end", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("grace_end", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="Until when service continues after a missed payment."),
        sa.Column("stripe_subscription_id", sa.Text(), nullable=True),
        sa.Column("stripe_price_id", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.TIMESTAMP(timezone=True), nullable=True,
            comment="When cancellation was requested; the status changes at the end of the term."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "CASE scope WHEN 'device' THEN device_id IS NOT NULL AND plan_id IS NOT NULL AND tier_id IS NULL ELSE"
                " device_id IS NULL AND plan_id IS NULL AND tier_id IS NOT NULL END",
            name=op.f("ck_subscriptions_scope_matches")),
        sa.CheckConstraint("scope IN ('tenant', 'device')", name=op.f("ck_subscriptions_scope")),
        sa.CheckConstraint("status <> 'cancelled' OR cancelled_at IS NOT NULL",
            name=op.f("ck_subscriptions_cancelled_at")),
        sa.CheckConstraint("status IN ('trial', 'active', 'grace', 'suspended', 'expired', 'cancelled')",
            name=op.f("ck_subscriptions_status")),
        sa.CheckConstraint("grace_end >= term_end", name=op.f("ck_subscriptions_grace")),
        sa.CheckConstraint("parent_subscription_id <> subscription_id", name=op.f("ck_subscriptions_parent")),
        sa.CheckConstraint("term_end > term_start", name=op.f("ck_subscriptions_term")),
        sa.ForeignKeyConstraint(["plan_id"], ["device_plans.plan_id"], name=op.f("fk_subscriptions_plan_id")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_subscriptions_device_id")),
        sa.ForeignKeyConstraint(["tenant_id", "parent_subscription_id"],
            ["subscriptions.tenant_id", "subscriptions.subscription_id"],
            name=op.f("fk_subscriptions_parent_subscription_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_subscriptions_tenant_id")),
        sa.ForeignKeyConstraint(["tier_id"], ["account_tiers.tier_id"], name=op.f("fk_subscriptions_tier_id")),
        sa.PrimaryKeyConstraint("tenant_id", "subscription_id", name=op.f("pk_subscriptions")),
        comment="Subscriptions of tenants; at most one current plan per device.",
    )
    op.create_index(op.f("ix_subscriptions_device_id"), "subscriptions", ["tenant_id", "device_id"], unique=False)
    op.create_index(
        op.f("ix_subscriptions_parent_subscription_id"), "subscriptions", ["tenant_id", "parent_subscription_id"],
        unique=False,
    )
    op.create_index(op.f("ix_subscriptions_plan_id"), "subscriptions", ["plan_id"], unique=False)
    op.create_index(op.f("ix_subscriptions_status"), "subscriptions", ["tenant_id", "status"], unique=False)
    op.create_index(
        op.f("ix_subscriptions_stripe_subscription_id"), "subscriptions", ["stripe_subscription_id"], unique=False,
        postgresql_where=sa.text("stripe_subscription_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_subscriptions_tier_id"), "subscriptions", ["tier_id"], unique=False)
    op.create_index(
        "uq_subscriptions_device_id_live", "subscriptions", ["tenant_id", "device_id"], unique=True,
        postgresql_where=sa.text("status NOT IN ('expired', 'cancelled') AND parent_subscription_id IS NULL"),
    )
    op.create_index(
        "uq_subscriptions_tenant_live", "subscriptions", ["tenant_id"], unique=True,
        postgresql_where=sa.text(
            "scope = 'tenant' AND status NOT IN ('expired', 'cancelled') AND parent_subscription_id IS NULL",
        ),
    )
    op.create_trigger(
        "changed_subscriptions_are_audited", "subscriptions", "after", "update", level="row",
        function="audit_subscription()", when="old.* IS DISTINCT FROM new.*",
    )
    op.create_trigger(
        "new_subscriptions_are_audited", "subscriptions", "after", "insert", level="row",
        function="audit_subscription()",
    )
    op.create_trigger("set_updated_at", "subscriptions", "before", "update", level="row", function="set_updated_at()")
    op.create_trigger(
        "subscriptions_status_transitions", "subscriptions", "before", "update of status", level="row",
        function="check_status_transition('trial > active', 'trial > expired', 'trial > cancelled', 'active > grace',"
            " 'active > suspended', 'active > expired', 'active > cancelled', 'grace > active', 'grace > suspended',"
            " 'grace > expired', 'grace > cancelled', 'suspended > active', 'suspended > expired', 'suspended >"
            " cancelled', 'expired > active')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.set_row_level_security(
        "subscriptions", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "subscription_notifications",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("notification_type", sa.Text(), nullable=False),
        sa.Column("scheduled_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("sent_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("channel", sa.Text(), server_default="email", nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)",
            name=op.f("ck_subscription_notifications_sent_at")),
        sa.CheckConstraint("channel IN ('email', 'webhook')", name=op.f("ck_subscription_notifications_channel")),
        sa.CheckConstraint("notification_type IN ('renewal', 'trial_ending', 'payment_failed', 'grace', 'suspended', 'expired')",
            name=op.f("ck_subscription_notifications_notification_type")),
        sa.CheckConstraint("status IN ('pending', 'sent', 'failed', 'cancelled')",
            name=op.f("ck_subscription_notifications_status")),
        sa.ForeignKeyConstraint(["tenant_id", "subscription_id"],
            ["subscriptions.tenant_id", "subscriptions.subscription_id"],
            name=op.f("fk_subscription_notifications_subscription_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_subscription_notifications_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_subscription_notifications")),
        comment="Messages about subscriptions to tenants.",
    )
    op.create_index(
        op.f("ix_subscription_notifications_scheduled_at"), "subscription_notifications", ["scheduled_at"],
        unique=False, postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "uq_subscription_notifications_once", "subscription_notifications",
        ["tenant_id", "subscription_id", "notification_type", "scheduled_at"], unique=True,
    )
    op.create_trigger(
        "set_updated_at", "subscription_notifications", "before", "update", level="row", function="set_updated_at()",
    )
    op.create_trigger(
        "subscription_notifications_status_transitions", "subscription_notifications", "before", "update of status",
        level="row",
        function="check_status_transition('pending > sent', 'pending > failed', 'pending > cancelled', 'failed >"
            " pending', 'failed > cancelled')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.set_row_level_security(
        "subscription_notifications", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )

    op.create_table(
        "subscription_tier_allocations",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("slot_limit", sa.Integer(), nullable=False),
        sa.Column("slots_used", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Changed only by take_slot() and free_slot()."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("slot_limit >= 0", name=op.f("ck_subscription_tier_allocations_slot_limit")),
        sa.CheckConstraint("slots_used BETWEEN 0 AND slot_limit",
            name=op.f("ck_subscription_tier_allocations_slots_used")),
        sa.ForeignKeyConstraint(["plan_id"], ["device_plans.plan_id"],
            name=op.f("fk_subscription_tier_allocations_plan_id")),
        sa.ForeignKeyConstraint(["tenant_id", "subscription_id"],
            ["subscriptions.tenant_id", "subscriptions.subscription_id"],
            name=op.f("fk_subscription_tier_allocations_subscription_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"],
            name=op.f("fk_subscription_tier_allocations_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "subscription_id", "plan_id",
            name=op.f("pk_subscription_tier_allocations")),
        comment="Slots for devices in subscriptions, by plan.",
    )
    op.create_index(
        op.f("ix_subscription_tier_allocations_plan_id"), "subscription_tier_allocations", ["plan_id"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "subscription_tier_allocations", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "subscription_tier_allocations", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator_read": "select", "fleet_operator": "delete, insert, select, update"},
    )
    op.create_function(
        "free_slot", "of_tenant uuid, subscription uuid, plan text", returns="integer", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE subscription_tier_allocations SET slots_used = slots_used - 1\n"
            "   WHERE tenant_id = of_tenant AND subscription_id = subscription AND plan_id = plan\n"
            "     AND slots_used > 0\n"
            "  RETURNING slot_limit - slots_used;\n"
            "END"
        ),
        comment="Frees one slot; returns how many are left, or NULL if none was taken.",
        grants={"fleet_operator": "execute"},
    )
    op.create_function(
        "take_slot", "of_tenant uuid, subscription uuid, plan text", returns="integer", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  UPDATE subscription_tier_allocations SET slots_used = slots_used + 1\n"
            "   WHERE tenant_id = of_tenant AND subscription_id = subscription AND plan_id = plan\n"
            "     AND slots_used < slot_limit\n"
            "  RETURNING slot_limit - slots_used;\n"
            "END"
        ),
        comment="Takes one slot; returns how many are left, or NULL if none was free.",
        grants={"fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function("take_slot", "of_tenant uuid, subscription uuid, plan text")
    op.drop_function("free_slot", "of_tenant uuid, subscription uuid, plan text")
    op.drop_table("subscription_tier_allocations")
    op.drop_table("subscription_notifications")
    op.drop_table("subscriptions")
    op.drop_function("count_usage", "of_tenant uuid, what text, amount bigint, most bigint")
    op.drop_table("usage_counters")
    op.drop_table("subscription_audit")
    op.drop_function("receive_stripe_event", "event text, kind text, summary jsonb")
    op.drop_table("stripe_events")
    op.drop_function("audit_subscription")
