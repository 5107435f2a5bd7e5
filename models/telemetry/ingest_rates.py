"""How many records the ingest may store in the name of one tenant: a token bucket for each.

A trigger of every series counts, so that no way into the table goes past it, be it a chunk or a
setting by which a batch says that it is judged. What a transaction has taken stands in rows of its
own: nobody waits for it, and a rollback gives it back.
"""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, RowLevelSecurity, Trigger
from models.shared.base import (
    PLATFORM_TENANT_ID,
    Base,
    BigInt,
    Private,
    TenantScoped,
    access,
    operator_access,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS

LARGEST_SHARE = 20_000
"""Records that one transaction may store for a tenant with anything in its bucket, if that is not
more: so that a batch larger than the bucket can pass. The rest is a debt."""

MINUTES_OF_BURST = 1440
"""What a full bucket holds unless said otherwise: the records of a day, for those that are late."""


_FILLED = """least(rate.burst, left_over + rate.records_per_minute
                                 * extract(epoch from {} - filled_at)::double precision / 60)"""
"""What is in a bucket at a moment, if nothing is taken out."""


class IngestRate(TenantScoped, Base):
    """The limit of one tenant, and its bucket. Without a row nothing is counted."""

    __tablename__ = "ingest_rates"
    __app_privileges__ = "select"
    __by_functions__ = True

    records_per_minute: Mapped[int] = mapped_column(comment="What flows into the bucket.")
    burst: Mapped[BigInt] = mapped_column(
        comment="Records in a full bucket; NULL on writing stands for those of a day."
    )
    level: Mapped[float] = mapped_column(
        comment="Records in the bucket at level_at, but for ingest_debits; a debt is negative. "
        "Whoever sets the limit fills it.",
    )
    level_at: Mapped[datetime.datetime]

    __table_args__ = (
        # What has no tenant counts as the platform's: one such record must not stop all others.
        CheckConstraint(f"tenant_id <> '{PLATFORM_TENANT_ID}'", name="tenant"),
        CheckConstraint("records_per_minute > 0", name="records_per_minute"),
        CheckConstraint("burst > 0", name="burst"),
        CheckConstraint("level <= burst", name="level"),
        *access("fleet_ingest", "select (tenant_id)"),
        Trigger(
            "fill_ingest_bucket",
            timing="before",
            events="insert or update of records_per_minute, burst",
            function="fill_ingest_bucket()",
        ),
        Trigger(
            "forget_ingest_debits",
            timing="after",
            events="insert or update of records_per_minute, burst or delete",
            function="forget_ingest_debits()",
        ),
        {
            "comment": "How many records of a tenant the ingest may store, and how many are left; "
            "set by operations tenant rate."
        },
    )


class IngestDebit(Private, Base):
    """What transactions have stored of a limited tenant; the next one takes it into the bucket."""

    __tablename__ = "ingest_debits"

    of_tenant: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, comment="The tenant. No foreign key: it would cost more than the row."
    )
    transaction: Mapped[BigInt] = mapped_column(
        primary_key=True, autoincrement=False, comment="txid_current() of it."
    )
    records: Mapped[BigInt] = mapped_column(
        primary_key=True, autoincrement=False, comment="Stored so far; the largest counts."
    )
    room: Mapped[BigInt] = mapped_column(comment="How many it may store.")
    began_at: Mapped[datetime.datetime]

    __table_args__ = (
        # Not for its owner, as whom the functions run for each record: policies take time.
        RowLevelSecurity(force=False),
        *operator_access(write="select, delete"),
        {
            "comment": "Records of limited tenants that are not yet taken out of ingest_rates: a "
            "row for each."
        },
    )


Function(
    "fill_ingest_bucket",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        begin
          new.burst := coalesce(new.burst, new.records_per_minute::bigint * {MINUTES_OF_BURST});
          new.level := new.burst;
          new.level_at := clock_timestamp();
          return new;
        end
    """,
    comment="Trigger: whoever sets the limit of a tenant fills its bucket.",
    metadata=Base.metadata,
)
Function(
    "forget_ingest_debits",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          delete from public.ingest_debits d
           where d.of_tenant = coalesce(new.tenant_id, old.tenant_id);
          return null;
        end
    """,
    comment="Trigger: a new limit, or none, ends what was still to be taken out of the bucket.",
    metadata=Base.metadata,
)

# A statement asks once for each chunk: the planner takes it for a constant, and so a record of a
# tenant without a limit costs a comparison. It is nothing of the kind for any other use.
Function(
    "limited_tenants",
    returns="uuid[]",
    language="plpgsql",
    volatility="immutable",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          if current_setting('is_superuser') = 'on'
             or not pg_has_role(current_user, 'fleet_ingest', 'usage') then
            return '{}';
          end if;
          return array(select r.tenant_id from public.ingest_rates r);
        end
    """,
    # Of whoever inserts into a series, by a view or not.
    grants=dict.fromkeys(("fleet_app", "fleet_ingest", "fleet_operator"), "execute"),
    comment="The tenants of whom fleet_ingest may not store any number of records: the condition "
    "of the triggers that count them, and for nothing else.",
    metadata=Base.metadata,
)

# A clock that was set back must not stop the bucket: a level of the future is one of now. Moments
# are those of the clock: by those of long transactions the bucket would be filled twice.
Function(
    "ingest_room",
    "tenants uuid[]",
    returns="TABLE(tenant uuid, allowed bigint, retry_after double precision, "
    "left_over double precision)",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          rate public.ingest_rates;
          debit public.ingest_debits;
          held boolean;
          taken_in bigint[];
          filled_at timestamptz;
          until_now timestamptz;
        begin
          <<next_tenant>>
          for tenant in
            select r.tenant_id from public.ingest_rates r where r.tenant_id = any (tenants)
             order by 1
          loop
            select d.* into debit from public.ingest_debits d
             where d.of_tenant = tenant and d.transaction = txid_current()
             order by d.records desc limit 1;
            if found then
              allowed := debit.room - debit.records;
              retry_after := null;
              left_over := null;
              return next;
              continue;
            end if;
            -- Who cannot have the bucket at once only reads it: nobody waits for another's batch.
            select r.* into rate from public.ingest_rates r
             where r.tenant_id = tenant for no key update skip locked;
            held := found;
            loop
              if not held then
                select r.* into rate from public.ingest_rates r where r.tenant_id = tenant;
                continue next_tenant when not found;
              end if;
              until_now := clock_timestamp();
              filled_at := least(rate.level_at, until_now);
              left_over := rate.level;
              taken_in := '{{}}';
              debit.transaction := 0;
              loop
                -- The next transaction, and of its rows the last.
                select d.* into debit from public.ingest_debits d
                 where d.of_tenant = tenant and d.transaction > debit.transaction
                 order by d.transaction limit 1;
                exit when not found;
                select d.* into debit from public.ingest_debits d
                 where d.of_tenant = tenant and d.transaction = debit.transaction
                 order by d.records desc limit 1;
                taken_in := taken_in || debit.transaction;
                debit.began_at := greatest(filled_at, least(debit.began_at, until_now));
                left_over := {_FILLED.format("debit.began_at")} - debit.records;
                filled_at := debit.began_at;
              end loop;
              left_over := {_FILLED.format("until_now")};
              -- Another may have taken debits in after the bucket was read.
              exit when held or exists (select from public.ingest_rates r
                                         where r.tenant_id = tenant
                                           and r.level_at = rate.level_at);
            end loop;
            if held then
              delete from public.ingest_debits d
               where d.of_tenant = tenant and d.transaction = any (taken_in);
              update public.ingest_rates r set level = left_over, level_at = until_now
               where r.tenant_id = tenant;
            end if;
            allowed := 0;
            if left_over >= 1 then
              allowed := greatest(floor(left_over), {LARGEST_SHARE});
              insert into public.ingest_debits (of_tenant, transaction, records, room, began_at)
              values (tenant, txid_current(), 0, allowed, until_now);
            end if;
            retry_after := greatest(0, 1 - left_over + allowed) * 60 / rate.records_per_minute;
            return next;
          end loop;
        end
    """,
    security_definer=True,
    reason="The ingest takes records out of the bucket of a tenant, and changes nothing else.",
    grants={"fleet_ingest": "execute"},
    comment="Of the tenants those with a limit: how many records the transaction may store, in how "
    "many seconds another may store any if it does, and what is in the bucket before; the last two "
    "only the first time. Takes what earlier transactions stored out of the bucket.",
    metadata=Base.metadata,
)

Function(
    "count_ingested",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          room record;
          rate public.ingest_rates;
        begin
          insert into public.ingest_debits (of_tenant, transaction, records, room, began_at)
          select d.of_tenant, d.transaction, d.records + 1, d.room, d.began_at
            from (select l.* from public.ingest_debits l
                   where l.of_tenant = new.tenant_id and l.transaction = txid_current()
                   order by l.records desc limit 1) d
           where d.records < d.room;
          if found then
            return null;
          end if;
          select r.* into room from public.ingest_room(array[new.tenant_id]) r;
          if room.allowed > 0 then
            insert into public.ingest_debits (of_tenant, transaction, records, room, began_at)
            select d.of_tenant, d.transaction, 1, d.room, d.began_at
              from public.ingest_debits d
             where d.of_tenant = new.tenant_id and d.transaction = txid_current();
          elsif room.allowed = 0 then
            select r.* into rate from public.ingest_rates r where r.tenant_id = new.tenant_id;
            if room.left_over is null then
              raise exception 'tenant %: expected at most % records in a transaction, found more',
                  new.tenant_id, greatest(rate.burst, {LARGEST_SHARE})
                using errcode = 'configuration_limit_exceeded',
                      hint = 'Deliver them in several transactions.';
            end if;
            raise exception 'tenant %: expected at most % records a minute, found more',
                new.tenant_id, rate.records_per_minute
              using errcode = 'configuration_limit_exceeded',
                    detail = format('Of %s records that may come at once, %s are left.',
                                    rate.burst, floor(room.left_over)),
                    hint = format('Deliver them again in %s s.', ceil(room.retry_after));
          end if;
          return null;
        end
    """,
    security_definer=True,
    reason="Counts what the ingest stores, in a table that it can neither read nor change.",
    comment="Trigger: takes a record of a limited tenant out of its bucket, and refuses it where "
    "that is empty.",
    metadata=Base.metadata,
)
