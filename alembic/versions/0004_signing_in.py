"""signing in

Revision 0004, after 0003; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "auth_identities",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False, comment="'local', 'keycloak' or another issuer."),
        sa.Column("provider_user_id", sa.Text(), nullable=False,
            comment="The account at the provider: the subject, or the local login name."),
        sa.Column("secret_hash", sa.Text(), nullable=True, comment="Salted password hash; only for 'local'."),
        sa.Column("failed_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Failures since the last success."),
        sa.Column("locked_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_login_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(provider = 'local') = (secret_hash IS NOT NULL)",
            name=op.f("ck_auth_identities_secret_hash")),
        sa.CheckConstraint("provider ~ '^[a-z][a-z0-9_-]*$'", name=op.f("ck_auth_identities_provider")),
        sa.CheckConstraint("provider_user_id <> ''", name=op.f("ck_auth_identities_provider_user_id_not_empty")),
        sa.CheckConstraint("failed_attempts >= 0", name=op.f("ck_auth_identities_failed_attempts")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_auth_identities_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_identities")),
        sa.UniqueConstraint("provider", "provider_user_id", name=op.f("uq_auth_identities_provider_provider_user_id")),
        comment="Ways of signing in to an account, one row per provider.",
    )
    op.create_index(op.f("ix_auth_identities_user_id"), "auth_identities", ["user_id"], unique=False)
    op.create_trigger("set_updated_at", "auth_identities", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "auth_identities",
        {
            "fleet_auth": "delete, insert, select, update",
            "fleet_operator": "delete, select (created_at, failed_attempts, id, last_login_at, locked_until, provider,"
                " provider_user_id, updated_at, user_id), update (failed_attempts, locked_until)",
            "fleet_operator_read": "select (created_at, failed_attempts, id, last_login_at, locked_until, provider,"
                " provider_user_id, updated_at, user_id)",
        },
    )

    op.create_table(
        "password_reset_tokens",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False, comment="Hash of the token in the link."),
        sa.Column("purpose", sa.Text(), nullable=False, comment="Set a password, or verify the address."),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now() + interval '1 hour'"),
            nullable=False, comment="Defaults to one hour after creation."),
        sa.Column("used_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="A token can be used once."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("purpose IN ('reset', 'verify')", name=op.f("ck_password_reset_tokens_purpose")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_password_reset_tokens_expires_at")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_password_reset_tokens_user_id"),
            ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_password_reset_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_password_reset_tokens_token_hash")),
        comment="One-time links for resetting a password or verifying an address.",
    )
    op.create_index(op.f("ix_password_reset_tokens_user_id"), "password_reset_tokens", ["user_id"], unique=False)
    op.create_trigger(
        "set_updated_at", "password_reset_tokens", "before", "update", level="row", function="set_updated_at()",
    )
    op.grant(
        "password_reset_tokens",
        {
            "fleet_auth": "delete, insert, select, update",
            "fleet_operator": "delete, select (created_at, expires_at, id, purpose, updated_at, used_at, user_id)",
            "fleet_operator_read": "select (created_at, expires_at, id, purpose, updated_at, used_at, user_id)",
        },
    )

    op.create_table(
        "api_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_prefix", sa.Text(), nullable=False,
            comment="First characters of the key, for people to recognize it."),
        sa.Column("key_hash", sa.Text(), nullable=False,
            comment="Unique over all tenants, since it is looked up before the tenant is known."),
        sa.Column("scopes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False,
            comment="Actions for which the key may be used."),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True, comment="users.id"),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_api_keys_name_not_empty")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_api_keys_expires_at")),
        sa.CheckConstraint("length(key_prefix) BETWEEN 4 AND 16", name=op.f("ck_api_keys_key_prefix")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_api_keys_created_by"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_api_keys_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
        comment="API keys, with which programs act for a tenant.",
    )
    op.create_index(op.f("ix_api_keys_created_by"), "api_keys", ["created_by"], unique=False)
    op.create_trigger("set_updated_at", "api_keys", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "api_keys", enable=True, force=True,
        policies={
            "auth_access": "FOR ALL TO fleet_auth USING (true) WITH CHECK (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select (created_at, created_by, expires_at, id, key_prefix, last_used_at,"
                " name, revoked_at, scopes, tenant_id, updated_at), update (expires_at, name, revoked_at, scopes)",
            "fleet_auth": "select, update (last_used_at)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select (created_at, created_by, expires_at, id, key_prefix, last_used_at, name,"
                " revoked_at, scopes, tenant_id, updated_at)",
        },
    )

    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("active_tenant_id", sa.Uuid(), nullable=True, comment="The tenant that the session is working in."),
        sa.Column("jti", sa.Uuid(), nullable=False, comment="Identifier in the refresh token."),
        sa.Column("refresh_hash", sa.Text(), nullable=False, comment="Hash of the refresh token."),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("ip", postgresql.INET(), nullable=True),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_activity_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("replaced_by_jti", sa.Uuid(), nullable=True,
            comment="The token that replaced this one; if this one is used again, it was stolen."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_sessions_expires_at")),
        sa.CheckConstraint("replaced_by_jti <> jti", name=op.f("ck_sessions_replaced_by_jti")),
        sa.ForeignKeyConstraint(["active_tenant_id", "user_id"], ["tenant_members.tenant_id", "tenant_members.user_id"],
            name=op.f("fk_sessions_active_tenant_id_user_id"), ondelete="SET NULL (active_tenant_id)"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("jti", name=op.f("uq_sessions_jti")),
        comment="Signed-in clients and their refresh tokens.",
    )
    op.create_index(
        op.f("ix_sessions_active_tenant_id_user_id"), "sessions", ["active_tenant_id", "user_id"], unique=False,
    )
    op.create_index(
        op.f("ix_sessions_last_activity_at"), "sessions", ["last_activity_at"], unique=False,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_index(op.f("ix_sessions_user_id_expires_at"), "sessions", ["user_id", "expires_at"], unique=False)
    op.create_trigger("set_updated_at", "sessions", "before", "update", level="row", function="set_updated_at()")
    op.grant(
        "sessions",
        {
            "fleet_auth": "delete, insert, select, update",
            "fleet_operator": "delete, select (active_tenant_id, created_at, expires_at, id, ip, jti,"
                " last_activity_at, replaced_by_jti, revoked_at, updated_at, user_agent, user_id), update (revoked_at)",
            "fleet_operator_read": "select (active_tenant_id, created_at, expires_at, id, ip, jti, last_activity_at,"
                " replaced_by_jti, revoked_at, updated_at, user_agent, user_id)",
        },
    )


def downgrade() -> None:
    op.drop_table("sessions")
    op.drop_table("api_keys")
    op.drop_table("password_reset_tokens")
    op.drop_table("auth_identities")
