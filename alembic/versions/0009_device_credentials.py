"""device credentials

Revision 0009, after 0008; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "device_activations",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.Text(), nullable=False,
            comment="Hash of the code, salted with the device: codes are short, so without salt their hashes could be"
                " looked up in a table of all codes."),
        sa.Column("site_id", sa.Uuid(), nullable=True, comment="The site to which the activated device is assigned."),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("used_at", sa.TIMESTAMP(timezone=True), nullable=True, comment="A code can be used once."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_device_activations_expires_at")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_activations_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "site_id"], ["sites.tenant_id", "sites.site_id"],
            name=op.f("fk_device_activations_site_id"), ondelete="SET NULL (site_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_activations_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "device_id", "code_hash", name=op.f("pk_device_activations")),
        comment="One-time activation codes of devices.",
    )
    op.create_index(op.f("ix_device_activations_site_id"), "device_activations", ["tenant_id", "site_id"], unique=False)
    op.create_trigger(
        "set_updated_at", "device_activations", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_activations", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "device_api_tokens",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False,
            comment="Login at the broker; unique over all tenants, since it is looked up before the tenant is known."),
        sa.Column("token_hash", sa.Text(), nullable=False, comment="Compared by the ingest."),
        sa.Column("label", sa.Text(), server_default="default", nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("client_id <> ''", name=op.f("ck_device_api_tokens_client_id_not_empty")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_device_api_tokens_expires_at")),
        sa.CheckConstraint("revoked_reason IS NULL OR revoked_at IS NOT NULL",
            name=op.f("ck_device_api_tokens_revoked")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_api_tokens_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_api_tokens_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_device_api_tokens")),
        sa.UniqueConstraint("client_id", name=op.f("uq_device_api_tokens_client_id")),
        comment="Tokens with which devices log in, including expired and revoked ones.",
    )
    op.create_index(
        op.f("ix_device_api_tokens_device_id"), "device_api_tokens", ["tenant_id", "device_id"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "device_api_tokens", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_api_tokens", enable=True, force=True,
        policies={
            "ingest_access": "FOR SELECT TO fleet_ingest USING (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={
            "fleet_app": "delete, insert, select (client_id, created_at, device_id, expires_at, id, label, revoked_at,"
                " revoked_reason, tenant_id, updated_at), update (expires_at, label, revoked_at, revoked_reason)",
            "fleet_ingest": "select (client_id, device_id, expires_at, id, revoked_at, tenant_id, token_hash)",
            "fleet_operator": "delete, insert, select, update",
            "fleet_operator_read": "select (client_id, created_at, device_id, expires_at, id, label, revoked_at,"
                " revoked_reason, tenant_id, updated_at)",
        },
    )

    op.create_table(
        "device_certificates",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("cert_pem", sa.Text(), nullable=False,
            comment="The public certificate; the private key is never stored."),
        sa.Column("fingerprint_sha256", sa.Text(), nullable=False,
            comment="Lower-case hex; unique over all tenants, since it is looked up before the tenant is known."),
        sa.Column("common_name", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False, comment="Assigned by the issuer."),
        sa.Column("status", sa.Text(), server_default="active", nullable=False,
            comment="A job sets expired some time after not_after; check not_after as well."),
        sa.Column("not_before", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("not_after", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("revoked_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'revoked') = (revoked_at IS NOT NULL)",
            name=op.f("ck_device_certificates_revoked_at")),
        sa.CheckConstraint("fingerprint_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_device_certificates_fingerprint_sha256")),
        sa.CheckConstraint("status IN ('active', 'revoked', 'expired')", name=op.f("ck_device_certificates_status")),
        sa.CheckConstraint("not_after > not_before", name=op.f("ck_device_certificates_validity")),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_device_certificates_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_device_certificates_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_device_certificates")),
        sa.UniqueConstraint("fingerprint_sha256", name=op.f("uq_device_certificates_fingerprint_sha256")),
        comment="X.509 certificates of devices.",
    )
    op.create_index(
        op.f("ix_device_certificates_device_id"), "device_certificates", ["tenant_id", "device_id"], unique=False,
    )
    op.create_index(
        op.f("ix_device_certificates_not_after"), "device_certificates", ["not_after"], unique=False,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_trigger(
        "set_updated_at", "device_certificates", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "device_certificates", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )


def downgrade() -> None:
    op.drop_table("device_certificates")
    op.drop_table("device_api_tokens")
    op.drop_table("device_activations")
