"""hide indexes over all tenants

Revision 0073, after 0072; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0073"
down_revision = "0072"


# accept require-concurrent-index-deletion: each is built anew below, in the same transaction
# accept ban-drop-constraint: the unique index below, of the same name, refuses the same rows
# accept require-concurrent-index-creation: unique keys must not be missing meanwhile; no time series


def upgrade() -> None:
    op.create_schema("across")
    op.remove_constraint("api_keys", "uq_api_keys_key_hash")
    op.remove_constraint("device_api_tokens", "uq_device_api_tokens_client_id")
    op.remove_constraint("device_certificates", "uq_device_certificates_fingerprint_sha256")
    op.remove_constraint("invitations", "uq_invitations_token_hash")
    op.remove_constraint("tenants", "uq_tenants_slug")
    op.remove_constraint("tenants", "uq_tenants_stripe_customer_id")
    op.remove_index("ix_alert_digest_settings_frequency", "alert_digest_settings")
    op.remove_index("ix_api_keys_created_by", "api_keys")
    op.remove_index("ix_carrier_integrations_due", "carrier_integrations")
    op.remove_index("ix_dead_letter_messages_created_at", "dead_letter_messages")
    op.remove_index("ix_dependency_suggestions_expires_at", "dependency_suggestions")
    op.remove_index("ix_device_certificates_not_after", "device_certificates")
    op.remove_index("ix_device_commands_expires_at", "device_commands")
    op.remove_index("ix_device_jobs_expires_at", "device_jobs")
    op.remove_index("ix_device_registry_provision_token_hash", "device_registry")
    op.remove_index("ix_device_registry_search_vector", "device_registry")
    op.remove_index("ix_device_sensors_unit_id", "device_sensors")
    op.remove_index("ix_eip_device_cache_last_seen_at", "eip_device_cache")
    op.remove_index("ix_eip_tag_cache_cached_at", "eip_tag_cache")
    op.remove_index("ix_endpoint_certificates_not_after", "endpoint_certificates")
    op.remove_index("ix_endpoint_status_next_check_at", "endpoint_status")
    op.remove_index("ix_export_jobs_expires_at", "export_jobs")
    op.remove_index("ix_fleet_alert_next_escalation_at", "fleet_alert")
    op.remove_index("ix_jobs_last_heartbeat_at", "jobs")
    op.remove_index("ix_jobs_type_run_at", "jobs")
    op.remove_index("ix_metric_catalog_unit_id", "metric_catalog")
    op.remove_index("ix_notification_jobs_next_run_at", "notification_jobs")
    op.remove_index("ix_rate_limits_window_start", "rate_limits")
    op.remove_index("ix_role_permissions_action", "role_permissions")
    op.remove_index("ix_subscription_notifications_scheduled_at", "subscription_notifications")
    op.remove_index("ix_subscription_tier_allocations_plan_id", "subscription_tier_allocations")
    op.remove_index("ix_subscriptions_plan_id", "subscriptions")
    op.remove_index("ix_subscriptions_stripe_subscription_id", "subscriptions")
    op.remove_index("ix_subscriptions_tier_id", "subscriptions")
    op.remove_index("ix_tag_metadata_poll_group_id", "tag_metadata")
    op.remove_index("ix_tag_metadata_unit_id", "tag_metadata")
    op.remove_index("ix_tenant_members_user_id", "tenant_members")
    op.remove_index("ix_tenants_account_tier_id", "tenants")
    op.create_function(
        "tenants", "tenant_id uuid", returns="boolean", language="plpgsql", volatility="immutable", parallel="safe",
        settings="search_path=pg_catalog, pg_temp", body="begin return true; end",
        comment="True for every tenant: the condition of indexes over the rows of all of them, and of the policies of"
            " roles that may use those.",
        grants={"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "execute"}, schema="across",
    )
    op.create_index(
        op.f("ix_alert_digest_settings_frequency"), "alert_digest_settings",
        ["frequency", sa.literal_column("last_sent_at NULLS FIRST")], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (frequency <> 'disabled')"),
    )
    op.create_index(
        op.f("ix_api_keys_created_by"), "api_keys", ["created_by"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        "ix_carrier_integrations_due", "carrier_integrations", ["last_sync_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (enabled AND sync_enabled)"),
    )
    op.create_index(
        op.f("ix_dead_letter_messages_created_at"), "dead_letter_messages", ["created_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_dependency_suggestions_expires_at"), "dependency_suggestions", ["expires_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'pending')"),
    )
    op.create_index(
        op.f("ix_device_certificates_not_after"), "device_certificates", ["not_after"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'active')"),
    )
    op.create_index(
        op.f("ix_device_commands_expires_at"), "device_commands", ["expires_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'queued')"),
    )
    op.create_index(
        op.f("ix_device_jobs_expires_at"), "device_jobs", ["expires_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'in_progress')"),
    )
    op.create_index(
        op.f("ix_device_registry_provision_token_hash"), "device_registry", ["provision_token_hash"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (provision_token_hash IS NOT NULL)"),
    )
    op.create_index(
        op.f("ix_device_registry_search_vector"), "device_registry", ["search_vector"], unique=False,
        postgresql_using="gin", postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_device_sensors_unit_id"), "device_sensors", ["unit_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_eip_device_cache_last_seen_at"), "eip_device_cache", ["last_seen_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_eip_tag_cache_cached_at"), "eip_tag_cache", ["cached_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_endpoint_certificates_not_after"), "endpoint_certificates", ["not_after"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_endpoint_status_next_check_at"), "endpoint_status", ["next_check_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_export_jobs_expires_at"), "export_jobs", ["expires_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_fleet_alert_next_escalation_at"), "fleet_alert", ["next_escalation_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'open' AND next_escalation_at IS NOT NULL)"),
    )
    op.create_index(
        op.f("ix_jobs_last_heartbeat_at"), "jobs", ["last_heartbeat_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'running')"),
    )
    op.create_index(
        op.f("ix_jobs_type_run_at"), "jobs", ["type", "run_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'queued')"),
    )
    op.create_index(
        op.f("ix_metric_catalog_unit_id"), "metric_catalog", ["unit_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_notification_jobs_next_run_at"), "notification_jobs", ["next_run_at"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status IN ('pending', 'processing'))"),
    )
    op.create_index(
        op.f("ix_rate_limits_window_start"), "rate_limits", ["window_start"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_role_permissions_action"), "role_permissions", ["action"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_subscription_notifications_scheduled_at"), "subscription_notifications", ["scheduled_at"],
        unique=False, postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'pending')"),
    )
    op.create_index(
        op.f("ix_subscription_tier_allocations_plan_id"), "subscription_tier_allocations", ["plan_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_subscriptions_plan_id"), "subscriptions", ["plan_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_subscriptions_stripe_subscription_id"), "subscriptions", ["stripe_subscription_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id) AND (stripe_subscription_id IS NOT NULL)"),
    )
    op.create_index(
        op.f("ix_subscriptions_tier_id"), "subscriptions", ["tier_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_tag_metadata_poll_group_id"), "tag_metadata", ["poll_group_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_tag_metadata_unit_id"), "tag_metadata", ["unit_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_tenant_members_user_id"), "tenant_members", ["user_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        op.f("ix_tenants_account_tier_id"), "tenants", ["account_tier_id"], unique=False,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        "uq_api_keys_key_hash", "api_keys", ["key_hash"], unique=True,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        "uq_device_api_tokens_client_id", "device_api_tokens", ["client_id"], unique=True,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        "uq_device_certificates_fingerprint_sha256", "device_certificates", ["fingerprint_sha256"], unique=True,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        "uq_invitations_token_hash", "invitations", ["token_hash"], unique=True,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        "uq_tenants_slug", "tenants", ["slug"], unique=True, postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.create_index(
        "uq_tenants_stripe_customer_id", "tenants", ["stripe_customer_id"], unique=True,
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.alter_policy(
        "operator_all", "alert_digest_settings", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "alert_digest_settings", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "by_functions", "api_keys", to="CURRENT_USER", command="all",
        using="(SELECT called_by_another()) AND across.tenants(tenant_id)", check="(SELECT called_by_another())",
    )
    op.alter_policy(
        "operator_all", "api_keys", to="fleet_operator", command="all", using="across.tenants(tenant_id)", check="true",
    )
    op.alter_policy(
        "operator_read", "api_keys", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "carrier_integrations", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "carrier_integrations", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "dead_letter_messages", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "dead_letter_messages", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "dependency_suggestions", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "dependency_suggestions", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "ingest_access", "device_api_tokens", to="fleet_ingest", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "device_api_tokens", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "device_api_tokens", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "device_certificates", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "device_certificates", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "device_commands", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "device_commands", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "device_jobs", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "device_jobs", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "ingest_access", "device_registry", to="fleet_ingest", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "device_registry", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "device_registry", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "ingest_access", "device_sensors", to="fleet_ingest", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_all", "device_sensors", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "device_sensors", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "eip_device_cache", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "eip_device_cache", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "eip_tag_cache", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "eip_tag_cache", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "endpoint_certificates", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "endpoint_certificates", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "endpoint_status", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "endpoint_status", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "export_jobs", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "export_jobs", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "fleet_alert", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "fleet_alert", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "by_functions", "invitations", to="CURRENT_USER", command="all",
        using="(SELECT called_by_another()) AND across.tenants(tenant_id)", check="(SELECT called_by_another())",
    )
    op.alter_policy(
        "operator_all", "invitations", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "invitations", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "jobs", to="fleet_operator", command="all", using="across.tenants(tenant_id)", check="true",
    )
    op.alter_policy(
        "operator_read", "jobs", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "metric_catalog", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "metric_catalog", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "notification_jobs", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "notification_jobs", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "rate_limits", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "rate_limits", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "by_functions", "role_permissions", to="CURRENT_USER", command="all",
        using="(SELECT called_by_another()) AND across.tenants(tenant_id)", check="(SELECT called_by_another())",
    )
    op.alter_policy(
        "operator_all", "role_permissions", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "role_permissions", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "subscription_notifications", to="fleet_operator", command="all",
        using="across.tenants(tenant_id)", check="true",
    )
    op.alter_policy(
        "operator_read", "subscription_notifications", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "subscription_tier_allocations", to="fleet_operator", command="all",
        using="across.tenants(tenant_id)", check="true",
    )
    op.alter_policy(
        "operator_read", "subscription_tier_allocations", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "subscriptions", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "subscriptions", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "ingest_access", "tag_metadata", to="fleet_ingest", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "operator_all", "tag_metadata", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "tag_metadata", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "by_functions", "tenant_members", to="CURRENT_USER", command="all",
        using="(SELECT called_by_another()) AND across.tenants(tenant_id)", check="(SELECT called_by_another())",
    )
    op.alter_policy(
        "operator_all", "tenant_members", to="fleet_operator", command="all", using="across.tenants(tenant_id)",
        check="true",
    )
    op.alter_policy(
        "operator_read", "tenant_members", to="fleet_operator_read", command="select",
        using="across.tenants(tenant_id)",
    )
    op.alter_policy(
        "by_functions", "tenants", to="CURRENT_USER", command="all",
        using="(SELECT called_by_another()) AND across.tenants(tenant_id)", check="(SELECT called_by_another())",
    )
    op.alter_policy("ingest_access", "tenants", to="fleet_ingest", command="select", using="across.tenants(tenant_id)")
    op.alter_policy(
        "operator_all", "tenants", to="fleet_operator", command="all", using="across.tenants(tenant_id)", check="true",
    )
    op.alter_policy(
        "operator_read", "tenants", to="fleet_operator_read", command="select", using="across.tenants(tenant_id)",
    )


def downgrade() -> None:
    op.alter_policy("operator_read", "tenants", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "tenants", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("ingest_access", "tenants", to="fleet_ingest", command="select", using="true")
    op.alter_policy(
        "by_functions", "tenants", to="CURRENT_USER", command="all",
        using="( SELECT public.called_by_another() AS called_by_another)",
        check="( SELECT public.called_by_another() AS called_by_another)",
    )
    op.alter_policy("operator_read", "tenant_members", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "tenant_members", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy(
        "by_functions", "tenant_members", to="CURRENT_USER", command="all",
        using="( SELECT public.called_by_another() AS called_by_another)",
        check="( SELECT public.called_by_another() AS called_by_another)",
    )
    op.alter_policy("operator_read", "tag_metadata", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "tag_metadata", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("ingest_access", "tag_metadata", to="fleet_ingest", command="select", using="true")
    op.alter_policy("operator_read", "subscriptions", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "subscriptions", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy(
        "operator_read", "subscription_tier_allocations", to="fleet_operator_read", command="select", using="true",
    )
    op.alter_policy(
        "operator_all", "subscription_tier_allocations", to="fleet_operator", command="all", using="true", check="true",
    )
    op.alter_policy(
        "operator_read", "subscription_notifications", to="fleet_operator_read", command="select", using="true",
    )
    op.alter_policy(
        "operator_all", "subscription_notifications", to="fleet_operator", command="all", using="true", check="true",
    )
    op.alter_policy("operator_read", "role_permissions", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "role_permissions", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy(
        "by_functions", "role_permissions", to="CURRENT_USER", command="all",
        using="( SELECT public.called_by_another() AS called_by_another)",
        check="( SELECT public.called_by_another() AS called_by_another)",
    )
    op.alter_policy("operator_read", "rate_limits", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "rate_limits", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "notification_jobs", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "notification_jobs", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "metric_catalog", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "metric_catalog", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "jobs", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "jobs", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "invitations", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "invitations", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy(
        "by_functions", "invitations", to="CURRENT_USER", command="all",
        using="( SELECT public.called_by_another() AS called_by_another)",
        check="( SELECT public.called_by_another() AS called_by_another)",
    )
    op.alter_policy("operator_read", "fleet_alert", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "fleet_alert", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "export_jobs", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "export_jobs", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "endpoint_status", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "endpoint_status", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "endpoint_certificates", to="fleet_operator_read", command="select", using="true")
    op.alter_policy(
        "operator_all", "endpoint_certificates", to="fleet_operator", command="all", using="true", check="true",
    )
    op.alter_policy("operator_read", "eip_tag_cache", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "eip_tag_cache", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "eip_device_cache", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "eip_device_cache", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "device_sensors", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "device_sensors", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("ingest_access", "device_sensors", to="fleet_ingest", command="all", using="true", check="true")
    op.alter_policy("operator_read", "device_registry", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "device_registry", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("ingest_access", "device_registry", to="fleet_ingest", command="select", using="true")
    op.alter_policy("operator_read", "device_jobs", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "device_jobs", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "device_commands", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "device_commands", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("operator_read", "device_certificates", to="fleet_operator_read", command="select", using="true")
    op.alter_policy(
        "operator_all", "device_certificates", to="fleet_operator", command="all", using="true", check="true",
    )
    op.alter_policy("operator_read", "device_api_tokens", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "device_api_tokens", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy("ingest_access", "device_api_tokens", to="fleet_ingest", command="select", using="true")
    op.alter_policy("operator_read", "dependency_suggestions", to="fleet_operator_read", command="select", using="true")
    op.alter_policy(
        "operator_all", "dependency_suggestions", to="fleet_operator", command="all", using="true", check="true",
    )
    op.alter_policy("operator_read", "dead_letter_messages", to="fleet_operator_read", command="select", using="true")
    op.alter_policy(
        "operator_all", "dead_letter_messages", to="fleet_operator", command="all", using="true", check="true",
    )
    op.alter_policy("operator_read", "carrier_integrations", to="fleet_operator_read", command="select", using="true")
    op.alter_policy(
        "operator_all", "carrier_integrations", to="fleet_operator", command="all", using="true", check="true",
    )
    op.alter_policy("operator_read", "api_keys", to="fleet_operator_read", command="select", using="true")
    op.alter_policy("operator_all", "api_keys", to="fleet_operator", command="all", using="true", check="true")
    op.alter_policy(
        "by_functions", "api_keys", to="CURRENT_USER", command="all",
        using="( SELECT public.called_by_another() AS called_by_another)",
        check="( SELECT public.called_by_another() AS called_by_another)",
    )
    op.alter_policy("operator_read", "alert_digest_settings", to="fleet_operator_read", command="select", using="true")
    op.alter_policy(
        "operator_all", "alert_digest_settings", to="fleet_operator", command="all", using="true", check="true",
    )
    op.drop_index(
        "uq_tenants_stripe_customer_id", table_name="tenants", postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index("uq_tenants_slug", table_name="tenants", postgresql_where=sa.text("across.tenants(tenant_id)"))
    op.drop_index(
        "uq_invitations_token_hash", table_name="invitations", postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        "uq_device_certificates_fingerprint_sha256", table_name="device_certificates",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        "uq_device_api_tokens_client_id", table_name="device_api_tokens",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index("uq_api_keys_key_hash", table_name="api_keys", postgresql_where=sa.text("across.tenants(tenant_id)"))
    op.drop_index(
        op.f("ix_tenants_account_tier_id"), table_name="tenants", postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_tenant_members_user_id"), table_name="tenant_members",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_tag_metadata_unit_id"), table_name="tag_metadata",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_tag_metadata_poll_group_id"), table_name="tag_metadata",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_subscriptions_tier_id"), table_name="subscriptions",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_subscriptions_stripe_subscription_id"), table_name="subscriptions",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (stripe_subscription_id IS NOT NULL)"),
    )
    op.drop_index(
        op.f("ix_subscriptions_plan_id"), table_name="subscriptions",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_subscription_tier_allocations_plan_id"), table_name="subscription_tier_allocations",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_subscription_notifications_scheduled_at"), table_name="subscription_notifications",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'pending')"),
    )
    op.drop_index(
        op.f("ix_role_permissions_action"), table_name="role_permissions",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_rate_limits_window_start"), table_name="rate_limits",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_notification_jobs_next_run_at"), table_name="notification_jobs",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status IN ('pending', 'processing'))"),
    )
    op.drop_index(
        op.f("ix_metric_catalog_unit_id"), table_name="metric_catalog",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_jobs_type_run_at"), table_name="jobs",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'queued')"),
    )
    op.drop_index(
        op.f("ix_jobs_last_heartbeat_at"), table_name="jobs",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'running')"),
    )
    op.drop_index(
        op.f("ix_fleet_alert_next_escalation_at"), table_name="fleet_alert",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'open' AND next_escalation_at IS NOT NULL)"),
    )
    op.drop_index(
        op.f("ix_export_jobs_expires_at"), table_name="export_jobs",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_endpoint_status_next_check_at"), table_name="endpoint_status",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_endpoint_certificates_not_after"), table_name="endpoint_certificates",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_eip_tag_cache_cached_at"), table_name="eip_tag_cache",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_eip_device_cache_last_seen_at"), table_name="eip_device_cache",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_device_sensors_unit_id"), table_name="device_sensors",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_device_registry_search_vector"), table_name="device_registry", postgresql_using="gin",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_device_registry_provision_token_hash"), table_name="device_registry",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (provision_token_hash IS NOT NULL)"),
    )
    op.drop_index(
        op.f("ix_device_jobs_expires_at"), table_name="device_jobs",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'in_progress')"),
    )
    op.drop_index(
        op.f("ix_device_commands_expires_at"), table_name="device_commands",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'queued')"),
    )
    op.drop_index(
        op.f("ix_device_certificates_not_after"), table_name="device_certificates",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'active')"),
    )
    op.drop_index(
        op.f("ix_dependency_suggestions_expires_at"), table_name="dependency_suggestions",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (status = 'pending')"),
    )
    op.drop_index(
        op.f("ix_dead_letter_messages_created_at"), table_name="dead_letter_messages",
        postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        "ix_carrier_integrations_due", table_name="carrier_integrations",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (enabled AND sync_enabled)"),
    )
    op.drop_index(
        op.f("ix_api_keys_created_by"), table_name="api_keys", postgresql_where=sa.text("across.tenants(tenant_id)"),
    )
    op.drop_index(
        op.f("ix_alert_digest_settings_frequency"), table_name="alert_digest_settings",
        postgresql_where=sa.text("across.tenants(tenant_id) AND (frequency <> 'disabled')"),
    )
    op.drop_function("tenants", "tenant_id uuid", schema="across")
    op.add_index("CREATE INDEX ix_tenants_account_tier_id ON public.tenants USING btree (account_tier_id)")
    op.add_index("CREATE INDEX ix_tenant_members_user_id ON public.tenant_members USING btree (user_id)")
    op.add_index("CREATE INDEX ix_tag_metadata_unit_id ON public.tag_metadata USING btree (unit_id)")
    op.add_index("CREATE INDEX ix_tag_metadata_poll_group_id ON public.tag_metadata USING btree (poll_group_id)")
    op.add_index("CREATE INDEX ix_subscriptions_tier_id ON public.subscriptions USING btree (tier_id)")
    op.add_index(
        "CREATE INDEX ix_subscriptions_stripe_subscription_id ON public.subscriptions USING btree"
            " (stripe_subscription_id) WHERE (stripe_subscription_id IS NOT NULL)",
    )
    op.add_index("CREATE INDEX ix_subscriptions_plan_id ON public.subscriptions USING btree (plan_id)")
    op.add_index(
        "CREATE INDEX ix_subscription_tier_allocations_plan_id ON public.subscription_tier_allocations USING btree"
            " (plan_id)",
    )
    op.add_index(
        "CREATE INDEX ix_subscription_notifications_scheduled_at ON public.subscription_notifications USING btree"
            " (scheduled_at) WHERE (status = 'pending'::text)",
    )
    op.add_index("CREATE INDEX ix_role_permissions_action ON public.role_permissions USING btree (action)")
    op.add_index("CREATE INDEX ix_rate_limits_window_start ON public.rate_limits USING btree (window_start)")
    op.add_index(
        "CREATE INDEX ix_notification_jobs_next_run_at ON public.notification_jobs USING btree (next_run_at) WHERE"
            " (status = ANY (ARRAY['pending'::text, 'processing'::text]))",
    )
    op.add_index("CREATE INDEX ix_metric_catalog_unit_id ON public.metric_catalog USING btree (unit_id)")
    op.add_index(
        "CREATE INDEX ix_jobs_type_run_at ON public.jobs USING btree (type, run_at) WHERE (status = 'queued'::text)",
    )
    op.add_index(
        "CREATE INDEX ix_jobs_last_heartbeat_at ON public.jobs USING btree (last_heartbeat_at) WHERE (status ="
            " 'running'::text)",
    )
    op.add_index(
        "CREATE INDEX ix_fleet_alert_next_escalation_at ON public.fleet_alert USING btree (next_escalation_at) WHERE"
            " ((status = 'open'::text) AND (next_escalation_at IS NOT NULL))",
    )
    op.add_index("CREATE INDEX ix_export_jobs_expires_at ON public.export_jobs USING btree (expires_at)")
    op.add_index("CREATE INDEX ix_endpoint_status_next_check_at ON public.endpoint_status USING btree (next_check_at)")
    op.add_index(
        "CREATE INDEX ix_endpoint_certificates_not_after ON public.endpoint_certificates USING btree (not_after)",
    )
    op.add_index("CREATE INDEX ix_eip_tag_cache_cached_at ON public.eip_tag_cache USING btree (cached_at)")
    op.add_index("CREATE INDEX ix_eip_device_cache_last_seen_at ON public.eip_device_cache USING btree (last_seen_at)")
    op.add_index("CREATE INDEX ix_device_sensors_unit_id ON public.device_sensors USING btree (unit_id)")
    op.add_index("CREATE INDEX ix_device_registry_search_vector ON public.device_registry USING gin (search_vector)")
    op.add_index(
        "CREATE INDEX ix_device_registry_provision_token_hash ON public.device_registry USING btree"
            " (provision_token_hash) WHERE (provision_token_hash IS NOT NULL)",
    )
    op.add_index(
        "CREATE INDEX ix_device_jobs_expires_at ON public.device_jobs USING btree (expires_at) WHERE (status ="
            " 'in_progress'::text)",
    )
    op.add_index(
        "CREATE INDEX ix_device_commands_expires_at ON public.device_commands USING btree (expires_at) WHERE (status ="
            " 'queued'::text)",
    )
    op.add_index(
        "CREATE INDEX ix_device_certificates_not_after ON public.device_certificates USING btree (not_after) WHERE"
            " (status = 'active'::text)",
    )
    op.add_index(
        "CREATE INDEX ix_dependency_suggestions_expires_at ON public.dependency_suggestions USING btree (expires_at)"
            " WHERE (status = 'pending'::text)",
    )
    op.add_index(
        "CREATE INDEX ix_dead_letter_messages_created_at ON public.dead_letter_messages USING btree (created_at)",
    )
    op.add_index(
        "CREATE INDEX ix_carrier_integrations_due ON public.carrier_integrations USING btree (last_sync_at) WHERE"
            " (enabled AND sync_enabled)",
    )
    op.add_index("CREATE INDEX ix_api_keys_created_by ON public.api_keys USING btree (created_by)")
    op.add_index(
        "CREATE INDEX ix_alert_digest_settings_frequency ON public.alert_digest_settings USING btree (frequency,"
            " last_sent_at NULLS FIRST) WHERE (frequency <> 'disabled'::text)",
    )
    op.add_constraint("tenants", "uq_tenants_stripe_customer_id", "UNIQUE (stripe_customer_id)")
    op.add_constraint("tenants", "uq_tenants_slug", "UNIQUE (slug)")
    op.add_constraint("invitations", "uq_invitations_token_hash", "UNIQUE (token_hash)")
    op.add_constraint("device_certificates", "uq_device_certificates_fingerprint_sha256", "UNIQUE (fingerprint_sha256)")
    op.add_constraint("device_api_tokens", "uq_device_api_tokens_client_id", "UNIQUE (client_id)")
    op.add_constraint("api_keys", "uq_api_keys_key_hash", "UNIQUE (key_hash)")
    op.drop_schema("across")
