"""Take the tables from the sign-in service

Revision 0061, after 0060; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0061"
down_revision = "0060"

# accept constraint-missing-not-valid: the column is new, so every row has NULL in it


def upgrade() -> None:
    op.revoke("api_keys", {"fleet_auth": "select, update (last_used_at)"})
    op.revoke("auth_identities", {"fleet_auth": "delete, insert, select, update"})
    op.revoke("invitations", {"fleet_auth": "select, update (accepted_at)"})
    op.revoke("password_reset_tokens", {"fleet_auth": "delete, insert, select, update"})
    op.revoke("role_permissions", {"fleet_auth": "select"})
    op.revoke("roles", {"fleet_auth": "select"})
    op.revoke("sessions", {"fleet_auth": "delete, insert, select, update"})
    op.revoke(
        "tenant_members",
        {"fleet_auth": "insert (joined_at, status, tenant_id, user_id), select, update (joined_at, status)"},
    )
    op.revoke("tenants", {"fleet_auth": "select (name, slug, status, tenant_id)"})
    op.revoke("user_permissions", {"fleet_auth": "select"})
    op.revoke("user_roles", {"fleet_auth": "insert, select"})
    op.revoke(
        "users",
        {
            "fleet_auth": "insert (display_name, email, email_verified_at, id, is_active), select, update"
                " (display_name, email, email_verified_at, is_active)",
        },
    )
    op.drop_policy("auth_access", "users")
    op.drop_policy("auth_access", "user_roles")
    op.drop_policy("auth_access", "user_permissions")
    op.drop_policy("auth_access", "tenants")
    op.drop_policy("auth_read", "tenant_members")
    op.drop_policy("auth_join", "tenant_members")
    op.drop_policy("auth_accept", "tenant_members")
    op.drop_policy("auth_access", "roles")
    op.drop_policy("auth_access", "role_permissions")
    op.drop_policy("auth_access", "invitations")
    op.drop_policy("auth_access", "api_keys")
    op.create_function(
        "called_by_another", returns="boolean", language="sql", volatility="stable", parallel="safe",
        body="RETURN current_user::text <> coalesce(nullif(current_setting('role'), 'none'), session_user::text)",
        comment="Whether a function runs with the rights of its owner, for whoever else called it: a policy shows such"
            " functions the rows that it hides from the owner.",
    )
    op.create_table_comment(
        "users",
        "Accounts. Tenants see only id, display_name and email of their members; fleet_auth only what its functions"
            " show.",
        existing_comment="Accounts. Tenants see only id, display_name and email of their members; fleet_auth sees"
            " everything.",
        schema=None,
    )
    op.alter_column(
        "auth_identities", "secret_hash", existing_type=sa.TEXT(),
        comment="Only for 'local': how the application derives a key from the password (method, cost and salt, such as"
            " $argon2id$v=19$m=65536,t=3,p=4$SALT), $, and the SHA-256 of the key in hex. Who signs in has the key,"
            " and nobody need read this.",
        existing_comment="Salted password hash; only for 'local'.", existing_nullable=True,
    )
    op.add_column(
        "password_reset_tokens",
        sa.Column("token", sa.Text(), nullable=True,
            comment="The token itself, until the mailer takes it: the service that asks for a link must not be able to"
                " use it."),
    )
    op.add_column(
        "password_reset_tokens",
        sa.Column("email", sa.Text(), nullable=True,
            comment="The new address to verify; NULL: the address of the account."),
    )
    op.add_constraint("password_reset_tokens", "ck_password_reset_tokens_email", "CHECK (position('@' in email) > 1)")
    op.create_policy(
        "by_functions", "api_keys", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "device_templates", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "invitations", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "projects", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "role_permissions", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "roles", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "template_commands", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "template_metrics", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "template_slot_compat", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "template_slots", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "tenant_members", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "tenant_settings", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "tenants", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "user_roles", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.create_policy(
        "by_functions", "users", to="CURRENT_USER", command="all", using="(SELECT called_by_another())",
        check="(SELECT called_by_another())",
    )
    op.grant("password_reset_tokens", {"fleet_operator, fleet_operator_read": "select (email)"})


def downgrade() -> None:
    op.revoke("password_reset_tokens", {"fleet_operator, fleet_operator_read": "select (email)"})
    op.drop_policy("by_functions", "users")
    op.drop_policy("by_functions", "user_roles")
    op.drop_policy("by_functions", "tenants")
    op.drop_policy("by_functions", "tenant_settings")
    op.drop_policy("by_functions", "tenant_members")
    op.drop_policy("by_functions", "template_slots")
    op.drop_policy("by_functions", "template_slot_compat")
    op.drop_policy("by_functions", "template_metrics")
    op.drop_policy("by_functions", "template_commands")
    op.drop_policy("by_functions", "roles")
    op.drop_policy("by_functions", "role_permissions")
    op.drop_policy("by_functions", "projects")
    op.drop_policy("by_functions", "invitations")
    op.drop_policy("by_functions", "device_templates")
    op.drop_policy("by_functions", "api_keys")
    op.remove_constraint("password_reset_tokens", "ck_password_reset_tokens_email")
    op.drop_column("password_reset_tokens", "email")
    op.drop_column("password_reset_tokens", "token")
    op.alter_column(
        "auth_identities", "secret_hash", existing_type=sa.TEXT(), comment="Salted password hash; only for 'local'.",
        existing_comment="Only for 'local': how the application derives a key from the password (method, cost and"
            " salt, such as $argon2id$v=19$m=65536,t=3,p=4$SALT), $, and the SHA-256 of the key in hex. Who signs in"
            " has the key, and nobody need read this.",
        existing_nullable=True,
    )
    op.create_table_comment(
        "users", "Accounts. Tenants see only id, display_name and email of their members; fleet_auth sees everything.",
        existing_comment="Accounts. Tenants see only id, display_name and email of their members; fleet_auth only what"
            " its functions show.",
        schema=None,
    )
    op.drop_function("called_by_another")
    op.create_policy("auth_access", "api_keys", to="fleet_auth", command="all", using="true", check="true")
    op.create_policy("auth_access", "invitations", to="fleet_auth", command="all", using="true", check="true")
    op.create_policy("auth_access", "role_permissions", to="fleet_auth", command="select", using="true")
    op.create_policy("auth_access", "roles", to="fleet_auth", command="select", using="true")
    op.create_policy(
        "auth_accept", "tenant_members", to="fleet_auth", command="update", using="(status = 'invited'::text)",
        check="true",
    )
    op.create_policy("auth_join", "tenant_members", to="fleet_auth", command="insert", check="true")
    op.create_policy("auth_read", "tenant_members", to="fleet_auth", command="select", using="true")
    op.create_policy("auth_access", "tenants", to="fleet_auth", command="select", using="true")
    op.create_policy("auth_access", "user_permissions", to="fleet_auth", command="select", using="true")
    op.create_policy("auth_access", "user_roles", to="fleet_auth", command="all", using="true", check="true")
    op.create_policy("auth_access", "users", to="fleet_auth", command="all", using="true", check="true")
    op.grant(
        "users",
        {
            "fleet_auth": "insert (display_name, email, email_verified_at, id, is_active), select, update"
                " (display_name, email, email_verified_at, is_active)",
        },
    )
    op.grant("user_roles", {"fleet_auth": "insert, select"})
    op.grant("user_permissions", {"fleet_auth": "select"})
    op.grant("tenants", {"fleet_auth": "select (name, slug, status, tenant_id)"})
    op.grant(
        "tenant_members",
        {"fleet_auth": "insert (joined_at, status, tenant_id, user_id), select, update (joined_at, status)"},
    )
    op.grant("sessions", {"fleet_auth": "delete, insert, select, update"})
    op.grant("roles", {"fleet_auth": "select"})
    op.grant("role_permissions", {"fleet_auth": "select"})
    op.grant("password_reset_tokens", {"fleet_auth": "delete, insert, select, update"})
    op.grant("invitations", {"fleet_auth": "select, update (accepted_at)"})
    op.grant("auth_identities", {"fleet_auth": "delete, insert, select, update"})
    op.grant("api_keys", {"fleet_auth": "select, update (last_used_at)"})
