"""bound what the ingest stores of a tenant

Revision 0076, after 0075; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0076"
down_revision = "0075"


def upgrade() -> None:
    op.create_function(
        "fill_ingest_bucket", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  new.burst := coalesce(new.burst, new.records_per_minute::bigint * 1440);\n"
            "  new.level := new.burst;\n"
            "  new.level_at := clock_timestamp();\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: whoever sets the limit of a tenant fills its bucket.",
    )
    op.create_function(
        "forget_ingest_debits", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  delete from public.ingest_debits d\n"
            "   where d.of_tenant = coalesce(new.tenant_id, old.tenant_id);\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: a new limit, or none, ends what was still to be taken out of the bucket.",
    )
    op.create_function(
        "limited_tenants", returns="uuid[]", language="plpgsql", volatility="immutable",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if current_setting('is_superuser') = 'on'\n"
            "     or not pg_has_role(current_user, 'fleet_ingest', 'usage') then\n"
            "    return '{}';\n"
            "  end if;\n"
            "  return array(select r.tenant_id from public.ingest_rates r);\n"
            "end"
        ),
        comment="The tenants of whom fleet_ingest may not store any number of records: the condition of the triggers"
            " that count them, and for nothing else.",
        grants={"fleet_app, fleet_ingest, fleet_operator": "execute"},
    )

    op.create_table(
        "ingest_debits",
        sa.Column("of_tenant", sa.Uuid(), nullable=False,
            comment="The tenant. No foreign key: it would cost more than the row."),
        sa.Column("transaction", sa.BigInteger(), autoincrement=False, nullable=False, comment="txid_current() of it."),
        sa.Column("records", sa.BigInteger(), autoincrement=False, nullable=False,
            comment="Stored so far; the largest counts."),
        sa.Column("room", sa.BigInteger(), nullable=False, comment="How many it may store."),
        sa.Column("began_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("of_tenant", "transaction", "records", name=op.f("pk_ingest_debits")),
        comment="Records of limited tenants that are not yet taken out of ingest_rates: a row for each.",
    )
    op.set_row_level_security(
        "ingest_debits", enable=True, force=False,
        policies={
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
        },
        grants={"fleet_operator": "delete, select", "fleet_operator_read": "select"},
    )

    op.create_table(
        "ingest_rates",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("records_per_minute", sa.Integer(), nullable=False, comment="What flows into the bucket."),
        sa.Column("burst", sa.BigInteger(), nullable=False,
            comment="Records in a full bucket; NULL on writing stands for those of a day."),
        sa.Column("level", sa.DOUBLE_PRECISION(), nullable=False,
            comment="Records in the bucket at level_at, but for ingest_debits; a debt is negative. Whoever sets the"
                " limit fills it."),
        sa.Column("level_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.CheckConstraint("tenant_id <> '00000000-0000-0000-0000-000000000000'", name=op.f("ck_ingest_rates_tenant")),
        sa.CheckConstraint("burst > 0", name=op.f("ck_ingest_rates_burst")),
        sa.CheckConstraint("level <= burst", name=op.f("ck_ingest_rates_level")),
        sa.CheckConstraint("records_per_minute > 0", name=op.f("ck_ingest_rates_records_per_minute")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], name=op.f("fk_ingest_rates_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_ingest_rates")),
        comment="How many records of a tenant the ingest may store, and how many are left; set by operations tenant"
            " rate.",
    )
    op.create_trigger(
        "fill_ingest_bucket", "ingest_rates", "before", "insert or update of records_per_minute, burst", level="row",
        function="fill_ingest_bucket()",
    )
    op.create_trigger(
        "forget_ingest_debits", "ingest_rates", "after", "insert or update of records_per_minute, burst or delete",
        level="row", function="forget_ingest_debits()",
    )
    op.set_row_level_security(
        "ingest_rates", enable=True, force=True,
        policies={
            "by_functions": "FOR ALL TO CURRENT_USER USING ((SELECT called_by_another())) WITH CHECK ((SELECT"
                " called_by_another()))",
            "ingest_access": "FOR SELECT TO fleet_ingest USING (true)",
            "operator_all": "FOR ALL TO fleet_operator USING (true) WITH CHECK (true)",
            "operator_read": "FOR SELECT TO fleet_operator_read USING (true)",
            "tenant_isolation": "FOR ALL TO fleet_app USING ((tenant_id, true) = (SELECT current_tenant(), true)) WITH"
                " CHECK ((tenant_id, true) = (SELECT current_tenant(), true))",
        },
        grants={
            "fleet_app, fleet_operator_read": "select",
            "fleet_ingest": "select (tenant_id)",
            "fleet_operator": "delete, insert, select, update",
        },
    )
    op.create_function(
        "count_ingested", returns="trigger", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  room record;\n"
            "  rate public.ingest_rates;\n"
            "begin\n"
            "  insert into public.ingest_debits (of_tenant, transaction, records, room, began_at)\n"
            "  select d.of_tenant, d.transaction, d.records + 1, d.room, d.began_at\n"
            "    from (select l.* from public.ingest_debits l\n"
            "           where l.of_tenant = new.tenant_id and l.transaction = txid_current()\n"
            "           order by l.records desc limit 1) d\n"
            "   where d.records < d.room;\n"
            "  if found then\n"
            "    return null;\n"
            "  end if;\n"
            "  select r.* into room from public.ingest_room(array[new.tenant_id]) r;\n"
            "  if room.allowed > 0 then\n"
            "    insert into public.ingest_debits (of_tenant, transaction, records, room, began_at)\n"
            "    select d.of_tenant, d.transaction, 1, d.room, d.began_at\n"
            "      from public.ingest_debits d\n"
            "     where d.of_tenant = new.tenant_id and d.transaction = txid_current();\n"
            "  elsif room.allowed = 0 then\n"
            "    select r.* into rate from public.ingest_rates r where r.tenant_id = new.tenant_id;\n"
            "    if room.left_over is null then\n"
            "      raise exception 'tenant %: expected at most % records in a transaction, found more',\n"
            "          new.tenant_id, greatest(rate.burst, 20000)\n"
            "        using errcode = 'configuration_limit_exceeded',\n"
            "              hint = 'Deliver them in several transactions.';\n"
            "    end if;\n"
            "    raise exception 'tenant %: expected at most % records a minute, found more',\n"
            "        new.tenant_id, rate.records_per_minute\n"
            "      using errcode = 'configuration_limit_exceeded',\n"
            "            detail = format('Of %s records that may come at once, %s are left.',\n"
            "                            rate.burst, floor(room.left_over)),\n"
            "            hint = format('Deliver them again in %s s.', ceil(room.retry_after));\n"
            "  end if;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: takes a record of a limited tenant out of its bucket, and refuses it where that is empty.",
    )
    op.create_function(
        "ingest_room", "tenants uuid[]",
        returns="TABLE(tenant uuid, allowed bigint, retry_after double precision, left_over double precision)",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  rate public.ingest_rates;\n"
            "  debit public.ingest_debits;\n"
            "  held boolean;\n"
            "  taken_in bigint[];\n"
            "  filled_at timestamptz;\n"
            "  until_now timestamptz;\n"
            "begin\n"
            "  <<next_tenant>>\n"
            "  for tenant in\n"
            "    select r.tenant_id from public.ingest_rates r where r.tenant_id = any (tenants)\n"
            "     order by 1\n"
            "  loop\n"
            "    select d.* into debit from public.ingest_debits d\n"
            "     where d.of_tenant = tenant and d.transaction = txid_current()\n"
            "     order by d.records desc limit 1;\n"
            "    if found then\n"
            "      allowed := debit.room - debit.records;\n"
            "      retry_after := null;\n"
            "      left_over := null;\n"
            "      return next;\n"
            "      continue;\n"
            "    end if;\n"
            "    -- Who cannot have the bucket at once only reads it: nobody waits for another's batch.\n"
            "    select r.* into rate from public.ingest_rates r\n"
            "     where r.tenant_id = tenant for no key update skip locked;\n"
            "    held := found;\n"
            "    loop\n"
            "      if not held then\n"
            "        select r.* into rate from public.ingest_rates r where r.tenant_id = tenant;\n"
            "        continue next_tenant when not found;\n"
            "      end if;\n"
            "      until_now := clock_timestamp();\n"
            "      filled_at := least(rate.level_at, until_now);\n"
            "      left_over := rate.level;\n"
            "      taken_in := '{}';\n"
            "      debit.transaction := 0;\n"
            "      loop\n"
            "        -- The next transaction, and of its rows the last.\n"
            "        select d.* into debit from public.ingest_debits d\n"
            "         where d.of_tenant = tenant and d.transaction > debit.transaction\n"
            "         order by d.transaction limit 1;\n"
            "        exit when not found;\n"
            "        select d.* into debit from public.ingest_debits d\n"
            "         where d.of_tenant = tenant and d.transaction = debit.transaction\n"
            "         order by d.records desc limit 1;\n"
            "        taken_in := taken_in || debit.transaction;\n"
            "        debit.began_at := greatest(filled_at, least(debit.began_at, until_now));\n"
            "        left_over := least(rate.burst, left_over + rate.records_per_minute\n"
            "                         * extract(epoch from debit.began_at - filled_at)::double precision / 60) -"
            " debit.records;\n"
            "        filled_at := debit.began_at;\n"
            "      end loop;\n"
            "      left_over := least(rate.burst, left_over + rate.records_per_minute\n"
            "                         * extract(epoch from until_now - filled_at)::double precision / 60);\n"
            "      -- Another may have taken debits in after the bucket was read.\n"
            "      exit when held or exists (select from public.ingest_rates r\n"
            "                                 where r.tenant_id = tenant\n"
            "                                   and r.level_at = rate.level_at);\n"
            "    end loop;\n"
            "    if held then\n"
            "      delete from public.ingest_debits d\n"
            "       where d.of_tenant = tenant and d.transaction = any (taken_in);\n"
            "      update public.ingest_rates r set level = left_over, level_at = until_now\n"
            "       where r.tenant_id = tenant;\n"
            "    end if;\n"
            "    allowed := 0;\n"
            "    if left_over >= 1 then\n"
            "      allowed := greatest(floor(left_over), 20000);\n"
            "      insert into public.ingest_debits (of_tenant, transaction, records, room, began_at)\n"
            "      values (tenant, txid_current(), 0, allowed, until_now);\n"
            "    end if;\n"
            "    retry_after := greatest(0, 1 - left_over + allowed) * 60 / rate.records_per_minute;\n"
            "    return next;\n"
            "  end loop;\n"
            "end"
        ),
        comment="Of the tenants those with a limit: how many records the transaction may store, in how many seconds"
            " another may store any if it does, and what is in the bucket before; the last two only the first time."
            " Takes what earlier transactions stored out of the bucket.",
        grants={"fleet_ingest": "execute"},
    )
    op.create_trigger(
        "count_ingested", "device_connection_events", "after", "insert", level="row", function="count_ingested()",
        when="new.tenant_id = ANY (limited_tenants())", schema="timeseries",
    )
    op.create_trigger(
        "count_ingested", "device_health_telemetry", "after", "insert", level="row", function="count_ingested()",
        when="new.tenant_id = ANY (limited_tenants())", schema="timeseries",
    )
    op.create_trigger(
        "count_ingested", "health_checks", "after", "insert", level="row", function="count_ingested()",
        when="new.tenant_id = ANY (limited_tenants())", schema="timeseries",
    )
    op.create_trigger(
        "count_ingested", "quarantine_events", "after", "insert", level="row", function="count_ingested()",
        when="new.tenant_id = ANY (limited_tenants())", schema="timeseries",
    )
    op.create_trigger(
        "count_ingested", "tag_values", "after", "insert", level="row", function="count_ingested()",
        when="new.tenant_id = ANY (limited_tenants())", schema="timeseries",
    )
    op.create_trigger(
        "count_ingested", "telemetry", "after", "insert", level="row", function="count_ingested()",
        when="new.tenant_id = ANY (limited_tenants())", schema="timeseries",
    )


def downgrade() -> None:
    op.drop_trigger("count_ingested", "telemetry", schema="timeseries")
    op.drop_trigger("count_ingested", "tag_values", schema="timeseries")
    op.drop_trigger("count_ingested", "quarantine_events", schema="timeseries")
    op.drop_trigger("count_ingested", "health_checks", schema="timeseries")
    op.drop_trigger("count_ingested", "device_health_telemetry", schema="timeseries")
    op.drop_trigger("count_ingested", "device_connection_events", schema="timeseries")
    op.drop_function("ingest_room", "tenants uuid[]")
    op.drop_function("count_ingested")
    op.drop_table("ingest_rates")
    op.drop_table("ingest_debits")
    op.drop_function("limited_tenants")
    op.drop_function("forget_ingest_debits")
    op.drop_function("fill_ingest_bucket")
