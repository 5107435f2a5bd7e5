"""firmware campaigns

Revision 0011, after 0010; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_function(
        "count_ota_progress", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  update public.ota_campaigns c\n"
            "     set succeeded = c.succeeded + (new.status = 'success')::integer,\n"
            "         failed = c.failed + (new.status = 'failed')::integer\n"
            "                - (old.status = 'failed')::integer\n"
            "   where c.tenant_id = new.tenant_id and c.id = new.campaign_id;\n"
            "  update public.ota_campaigns c set status = 'aborted', completed_at = now()\n"
            "   where c.tenant_id = new.tenant_id and c.id = new.campaign_id\n"
            "     and c.status in ('running', 'paused')\n"
            "     and c.failed > c.abort_threshold * c.total_devices;\n"
            "  update public.ota_campaigns c set status = 'completed', completed_at = now()\n"
            "   where c.tenant_id = new.tenant_id and c.id = new.campaign_id and c.status = 'running'\n"
            "     and not exists (select from public.ota_device_status d\n"
            "                      where d.tenant_id = c.tenant_id and d.campaign_id = c.id\n"
            "                        and d.status in ('pending', 'downloading', 'installing'));\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: counts successes and failures; aborts after too many failures, completes at the end.",
    )
    op.create_function(
        "start_campaign", "campaign uuid", returns="integer", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  tenant uuid := public.current_tenant();\n"
            "  devices integer;\n"
            "begin\n"
            "  perform from public.ota_campaigns\n"
            "    where tenant_id = tenant and id = campaign and status = 'created' for no key update;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  insert into public.ota_device_status (tenant_id, campaign_id, device_id)\n"
            "  select tenant, campaign, m.device_id\n"
            "    from public.ota_campaigns c\n"
            "    join public.device_group_members m\n"
            "      on m.tenant_id = c.tenant_id and m.group_id = c.target_group_id\n"
            "   where c.tenant_id = tenant and c.id = campaign\n"
            "  on conflict do nothing;\n"
            "  get diagnostics devices = row_count;\n"
            "  update public.ota_campaigns\n"
            "     set status = 'running', started_at = now(), total_devices = devices\n"
            "   where tenant_id = tenant and id = campaign;\n"
            "  return devices;\n"
            "end"
        ),
        comment="Starts a campaign for the members of its group; returns how many, NULL if already started.",
        grants={"fleet_app": "execute"},
    )

    op.create_table(
        "firmware_versions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("device_type", sa.Text(), nullable=True, comment="NULL: for all device types."),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("file_url", sa.Text(), nullable=False),
        sa.Column("file_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("checksum_sha256", sa.Text(), nullable=True, comment="Lower-case hex."),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the image outlives the account."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("checksum_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_firmware_versions_checksum_sha256")),
        sa.CheckConstraint("file_url <> ''", name=op.f("ck_firmware_versions_file_url_not_empty")),
        sa.CheckConstraint("version <> ''", name=op.f("ck_firmware_versions_version_not_empty")),
        sa.CheckConstraint("file_size_bytes > 0", name=op.f("ck_firmware_versions_file_size_bytes")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_firmware_versions_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_firmware_versions")),
        sa.UniqueConstraint("tenant_id", "version", "device_type",
            name=op.f("uq_firmware_versions_version_device_type"), postgresql_nulls_not_distinct=True),
        comment="Firmware images.",
    )
    op.create_index(
        op.f("ix_firmware_versions_device_type"), "firmware_versions", ["tenant_id", "device_type"], unique=False,
    )
    op.create_trigger(
        "set_updated_at", "firmware_versions", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "firmware_versions", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "ota_campaigns",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuid7()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("firmware_version_id", sa.Uuid(), nullable=False,
            comment="A version that has a campaign cannot be deleted."),
        sa.Column("target_group_id", sa.Uuid(), nullable=True,
            comment="NULL after the group was deleted; the devices are in ota_device_status."),
        sa.Column("rollout_strategy", sa.Text(), server_default="linear", nullable=False),
        sa.Column("rollout_rate", sa.Integer(), server_default=sa.text("10"), nullable=False,
            comment="linear: devices at a time; canary: devices in the first step."),
        sa.Column("abort_threshold", sa.Double(), server_default=sa.text("0.1"), nullable=False,
            comment="The rollout is aborted if more than this fraction (0 to 1) fails."),
        sa.Column("status", sa.Text(), server_default="created", nullable=False,
            comment="aborted: by a person, or because too many devices failed."),
        sa.Column("total_devices", sa.Integer(), server_default=sa.text("0"), nullable=False,
            comment="Counted when the campaign starts."),
        sa.Column("succeeded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True,
            comment="users.id; no foreign key, the campaign outlives the account."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name <> ''", name=op.f("ck_ota_campaigns_name_not_empty")),
        sa.CheckConstraint("rollout_strategy IN ('linear', 'canary')", name=op.f("ck_ota_campaigns_rollout_strategy")),
        sa.CheckConstraint("status IN ('created', 'running', 'paused', 'completed', 'aborted')",
            name=op.f("ck_ota_campaigns_status")),
        sa.CheckConstraint("abort_threshold BETWEEN 0 AND 1", name=op.f("ck_ota_campaigns_abort_threshold")),
        sa.CheckConstraint("rollout_rate > 0", name=op.f("ck_ota_campaigns_rollout_rate")),
        sa.CheckConstraint("total_devices >= 0 AND succeeded >= 0 AND failed >= 0 AND succeeded + failed <= total_devices",
            name=op.f("ck_ota_campaigns_counts")),
        sa.ForeignKeyConstraint(["tenant_id", "firmware_version_id"],
            ["firmware_versions.tenant_id", "firmware_versions.id"], name=op.f("fk_ota_campaigns_firmware_version_id")),
        sa.ForeignKeyConstraint(["tenant_id", "target_group_id"], ["device_groups.tenant_id", "device_groups.group_id"],
            name=op.f("fk_ota_campaigns_target_group_id"), ondelete="SET NULL (target_group_id)"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_ota_campaigns_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_ota_campaigns")),
        comment="Campaigns that roll out firmware.",
    )
    op.create_index(
        op.f("ix_ota_campaigns_firmware_version_id"), "ota_campaigns", ["tenant_id", "firmware_version_id"],
        unique=False,
    )
    op.create_index(op.f("ix_ota_campaigns_status"), "ota_campaigns", ["tenant_id", "status"], unique=False)
    op.create_index(
        op.f("ix_ota_campaigns_target_group_id"), "ota_campaigns", ["tenant_id", "target_group_id"], unique=False,
    )
    op.create_trigger(
        "notify_ota_campaigns_of_delete", "ota_campaigns", "after", "delete", level="statement",
        function="notify_tenants('ota_campaigns', 'status')", old_table="old_rows",
    )
    op.create_trigger(
        "notify_ota_campaigns_of_insert", "ota_campaigns", "after", "insert", level="statement",
        function="notify_tenants('ota_campaigns', 'status')", new_table="new_rows",
    )
    op.create_trigger(
        "notify_ota_campaigns_of_update", "ota_campaigns", "after", "update", level="statement",
        function="notify_tenants('ota_campaigns', 'status')", old_table="old_rows", new_table="new_rows",
    )
    op.create_trigger(
        "ota_campaigns_status_transitions", "ota_campaigns", "before", "update of status", level="row",
        function="check_status_transition('created > running', 'created > aborted', 'running > paused', 'running >"
            " completed', 'running > aborted', 'paused > running', 'paused > aborted')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger("set_updated_at", "ota_campaigns", "before", "update", level="row", function="set_updated_at()")
    op.set_row_level_security(
        "ota_campaigns", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )

    op.create_table(
        "ota_device_status",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False,
            comment="skipped: already up to date, or unreachable."),
        sa.Column("progress_pct", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('pending', 'downloading', 'installing', 'success', 'failed', 'skipped')",
            name=op.f("ck_ota_device_status_status")),
        sa.CheckConstraint("progress_pct BETWEEN 0 AND 100", name=op.f("ck_ota_device_status_progress_pct")),
        sa.ForeignKeyConstraint(["tenant_id", "campaign_id"], ["ota_campaigns.tenant_id", "ota_campaigns.id"],
            name=op.f("fk_ota_device_status_campaign_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id", "device_id"], ["device_registry.tenant_id", "device_registry.device_id"],
            name=op.f("fk_ota_device_status_device_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_ota_device_status_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "campaign_id", "device_id", name=op.f("pk_ota_device_status")),
        comment="Progress of campaigns on each device.",
    )
    op.create_index(
        op.f("ix_ota_device_status_device_id"), "ota_device_status", ["tenant_id", "device_id"], unique=False,
    )
    op.create_index(
        "ix_ota_device_status_pending", "ota_device_status", ["tenant_id", "campaign_id"], unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_trigger(
        "ota_device_status_status_transitions", "ota_device_status", "before", "update of status", level="row",
        function="check_status_transition('pending > downloading', 'pending > skipped', 'pending > failed',"
            " 'downloading > installing', 'downloading > failed', 'downloading > skipped', 'installing > success',"
            " 'installing > failed', 'failed > pending')",
        when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger(
        "ota_progress_is_counted", "ota_device_status", "after", "update of status", level="row",
        function="count_ota_progress()", when="old.status IS DISTINCT FROM new.status",
    )
    op.create_trigger(
        "set_updated_at", "ota_device_status", "before", "update", level="row", function="set_updated_at()",
    )
    op.set_row_level_security(
        "ota_device_status", enable=True, force=True,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING (tenant_id = (SELECT current_tenant())) WITH CHECK"
                " (tenant_id = (SELECT current_tenant()))",
        },
        grants={"fleet_app, fleet_operator": "delete, insert, select, update", "fleet_operator_read": "select"},
    )
    op.create_function(
        "next_ota_devices", "campaign uuid", returns="SETOF text", language="sql",
        body=(
            "BEGIN ATOMIC\n"
            "  WITH room AS (\n"
            "    SELECT c.tenant_id, c.id, greatest(0, CASE\n"
            "             -- Canary: once the first step has succeeded, all others follow.\n"
            "             WHEN c.rollout_strategy = 'canary' AND c.succeeded >= c.rollout_rate\n"
            "             THEN c.total_devices\n"
            "             ELSE c.rollout_rate - (\n"
            "               SELECT count(*) FROM ota_device_status b\n"
            "                WHERE b.tenant_id = c.tenant_id AND b.campaign_id = c.id\n"
            "                  AND b.status IN ('downloading', 'installing')) END) AS devices\n"
            "      FROM ota_campaigns c\n"
            "     WHERE c.tenant_id = current_tenant() AND c.id = campaign AND c.status = 'running'\n"
            "  ), turn AS MATERIALIZED (\n"
            "    SELECT p.tenant_id, p.campaign_id, p.device_id FROM ota_device_status p\n"
            "     WHERE p.tenant_id = current_tenant() AND p.campaign_id = campaign\n"
            "       AND p.status = 'pending'\n"
            "     ORDER BY p.device_id LIMIT coalesce((SELECT devices FROM room), 0)\n"
            "       FOR NO KEY UPDATE SKIP LOCKED\n"
            "  )\n"
            "  UPDATE ota_device_status d SET status = 'downloading', started_at = now()\n"
            "    FROM turn\n"
            "   WHERE d.tenant_id = turn.tenant_id AND d.campaign_id = turn.campaign_id\n"
            "     AND d.device_id = turn.device_id\n"
            "  RETURNING d.device_id;\n"
            "END"
        ),
        comment="Starts the next devices of a running campaign, as many as its rollout rate permits, and returns them.",
        grants={"fleet_app": "execute"},
    )


def downgrade() -> None:
    op.drop_function("next_ota_devices", "campaign uuid")
    op.drop_table("ota_device_status")
    op.drop_table("ota_campaigns")
    op.drop_table("firmware_versions")
    op.drop_function("start_campaign", "campaign uuid")
    op.drop_function("count_ota_progress")
