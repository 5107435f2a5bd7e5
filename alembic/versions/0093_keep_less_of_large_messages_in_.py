"""keep less of large messages in quarantine

Revision 0093, after 0092; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0093"
down_revision = "0092"


def upgrade() -> None:
    op.replace_function(
        "quarantine", "series text, reason text, at timestamptz, sent jsonb", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  whole constant boolean := octet_length(sent::text) <= 131072;\n"
            "begin\n"
            "  insert into timeseries.quarantine_events\n"
            "         (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id, site_id,\n"
            "          msg_type, event_ts, payload, payload_raw)\n"
            "  values (coalesce((select t.tenant_id from public.tenants t\n"
            "                     where t.tenant_id = (sent ->> 'tenant_id')::uuid\n"
            "                       and t.status <> 'deleted'), '00000000-0000-0000-0000-000000000000'),\n"
            "          case when at between now() - interval '1 day' and now() + interval '1 day'\n"
            "               then at else date_trunc('day', now(), 'UTC') end,\n"
            "          md5(series || ' ' || sent::text)::uuid, reason,\n"
            "          'written with SQL into ingest.' || series || case when whole then '' else\n"
            "            format('; of %s bytes (SHA-256 %s) the first are kept',\n"
            "                   octet_length(sent::text),\n"
            "                   encode(sha256(convert_to(sent::text, 'UTF8')), 'hex')) end,\n"
            "          '', sent ->> 'tenant_id', nullif(left(sent ->> 'device_id', 1000), ''), nullif(left(sent ->>"
            " 'site_id', 1000), ''),\n"
            "          case when sent ? 'msg_type' then nullif(left(sent ->> 'msg_type', 1000), '') else series end,\n"
            "          case when (at >= timestamptz '0001-01-01 00:00+00' and at < '10000-01-01 00:00+00') then at"
            " end,\n"
            "          case when whole then sent end,\n"
            "          case when not whole\n"
            "               then substr(convert_to(sent::text, 'UTF8'), 1, 131072) end)\n"
            "  on conflict do nothing;\n"
            "end"
        ),
        comment="Keeps a row that may not be stored, with the reason.",
    )


def downgrade() -> None:
    op.replace_function(
        "quarantine", "series text, reason text, at timestamp with time zone, sent jsonb", returns="void",
        language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  whole constant boolean := octet_length(sent::text) <= 1048576;\n"
            "begin\n"
            "  insert into timeseries.quarantine_events\n"
            "         (tenant_id, ts, id, reason, detail, topic, claimed_tenant, device_id, site_id,\n"
            "          msg_type, event_ts, payload, payload_raw)\n"
            "  values (coalesce((select t.tenant_id from public.tenants t\n"
            "                     where t.tenant_id = (sent ->> 'tenant_id')::uuid\n"
            "                       and t.status <> 'deleted'), '00000000-0000-0000-0000-000000000000'),\n"
            "          case when at between now() - interval '1 day' and now() + interval '1 day'\n"
            "               then at else date_trunc('day', now(), 'UTC') end,\n"
            "          md5(series || ' ' || sent::text)::uuid, reason,\n"
            "          'written with SQL into ingest.' || series || case when whole then '' else\n"
            "            format('; of %s bytes (SHA-256 %s) the first are kept',\n"
            "                   octet_length(sent::text),\n"
            "                   encode(sha256(convert_to(sent::text, 'UTF8')), 'hex')) end,\n"
            "          '', sent ->> 'tenant_id', nullif(left(sent ->> 'device_id', 1000), ''), nullif(left(sent ->>"
            " 'site_id', 1000), ''),\n"
            "          case when sent ? 'msg_type' then nullif(left(sent ->> 'msg_type', 1000), '') else series end,\n"
            "          case when (at >= timestamptz '0001-01-01 00:00+00' and at < '10000-01-01 00:00+00') then at"
            " end,\n"
            "          case when whole then sent end,\n"
            "          case when not whole\n"
            "               then substr(convert_to(sent::text, 'UTF8'), 1, 1048576) end)\n"
            "  on conflict do nothing;\n"
            "end"
        ),
        comment="Keeps a row that may not be stored, with the reason.",
    )
