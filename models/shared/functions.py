"""Functions that tables of every domain use, and the schema they live in."""

from __future__ import annotations

from ddl import Function, schema_grant
from models.shared.base import TIMESERIES, Base
from models.shared.roles import ROLE_NAMES

PLPGSQL_SETTINGS = {"search_path": "pg_catalog, pg_temp"}
"""Text bodies see no schema of ours, so nobody can put an object of his own before one."""

for _role in ROLE_NAMES:
    schema_grant("usage", on="public", to=_role, metadata=Base.metadata)
for _role in ("fleet_ingest", "fleet_operator", "fleet_operator_read"):
    schema_grant("usage", on=TIMESERIES, to=_role, metadata=Base.metadata)

Function(
    "current_tenant",
    returns="uuid",
    # After SET LOCAL a pooled session is left with '', which must mean no tenant as well.
    body="RETURN nullif(current_setting('app.tenant_id', true), '')::uuid",
    volatility="stable",
    parallel="safe",
    grants=dict.fromkeys(ROLE_NAMES, "execute"),
    comment="The tenant of this transaction, or NULL: the only place where it is read.",
    metadata=Base.metadata,
)

# RFC 9562 version 7: 48 bits of milliseconds, the digit 7, 12 bits of the fraction of that
# millisecond (which orders ids within it), then 64 random bits under the variant bits, taken
# from a version 4 value. One expression, so that the planner can inline it into defaults.
Function(
    "uuid7",
    returns="uuid",
    body=(
        "RETURN (overlay(lpad(to_hex(floor(extract(epoch FROM clock_timestamp())"
        " * 4096000)::bigint), 15, '0') placing '7' FROM 13 FOR 0)"
        " || right(gen_random_uuid()::text, 17))::uuid"
    ),
    parallel="safe",
    grants=dict.fromkeys(ROLE_NAMES, "execute"),
    comment="A new time-ordered id, UUID version 7, on every supported server.",
    metadata=Base.metadata,
)

Function(
    "set_updated_at",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          new.updated_at := now();
          return new;
        end
    """,
    comment="Trigger: updated_at becomes the time of the transaction.",
    metadata=Base.metadata,
)

# A policy would hide such rows from UPDATE and DELETE and report success on zero rows.
Function(
    "refuse_system_row",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          if pg_has_role(current_user, 'fleet_app', 'usage')
             and not pg_has_role(current_user, 'fleet_operator', 'usage') then
            raise exception 'a system row of % cannot be changed by a tenant (%)',
                tg_table_name, lower(tg_op)
              using errcode = 'insufficient_privilege', table = tg_table_name,
                    hint = 'Make a row of your own instead; operators change system rows.';
          end if;
          if tg_op = 'DELETE' then
            return old;
          end if;
          return new;
        end
    """,
    comment="Trigger: tenants neither change nor delete the rows that its condition names.",
    metadata=Base.metadata,
)
