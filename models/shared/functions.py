"""Functions used by tables of all domains, and the grants on the schemas."""

from __future__ import annotations

from ddl import Function, schema_grant
from models.shared.across import declare_function
from models.shared.base import TIMESERIES, Base
from models.shared.ingest_views import INGEST, declare_functions
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.roles import ROLE_NAMES

for _role in ROLE_NAMES:
    schema_grant("usage", on="public", to=_role, metadata=Base.metadata)
for _role in ("fleet_ingest", "fleet_operator", "fleet_operator_read"):
    schema_grant("usage", on=TIMESERIES, to=_role, metadata=Base.metadata)
schema_grant("usage", on=INGEST, to="fleet_ingest", metadata=Base.metadata)
declare_functions(Base.metadata)
declare_function(Base.metadata)

SIGNED_TENANT = "RETURN public.verified_tenant()"
"""The body of current_tenant() in a signed database."""

# Which body it has is a property of the database, which `operations context` changes. Both are one
# expression, which the planner puts in the place of the call: so the plain one costs nothing more.
Function(
    "current_tenant",
    returns="uuid",
    # After SET LOCAL the setting remains as '' in a pooled session; that means no tenant, too.
    body="RETURN nullif(current_setting('app.tenant_id', true), '')::uuid",
    alternative_body=SIGNED_TENANT,
    volatility="stable",
    parallel="safe",
    grants=dict.fromkeys(ROLE_NAMES, "execute"),
    comment="The tenant of the current transaction, or NULL. Nothing else reads the setting.",
    metadata=Base.metadata,
)

# The setting is not that of SECURITY DEFINER: it stays what SET ROLE made it. So the owner itself
# still sees no row of a tenant, and a slip of it harms none.
Function(
    "called_by_another",
    returns="boolean",
    body="RETURN current_user::text"
    " <> coalesce(nullif(current_setting('role'), 'none'), session_user::text)",
    volatility="stable",
    parallel="safe",
    # Through a view that runs as its owner, whoever queries the view asks.
    grants=dict.fromkeys(ROLE_NAMES, "execute"),
    comment="Whether a function runs with the rights of its owner, for whoever else called it: a "
    "policy shows such functions the rows that it hides from the owner.",
    metadata=Base.metadata,
)

# A channel belongs to the database: whoever can connect can listen, and must not learn the keys of
# other tenants. 128 bits of a hash of 122 (74 of them random in version 7) lead back to none.
Function(
    "tenant_pseudonym",
    "tenant uuid",
    returns="text",
    body="RETURN left(encode(sha256(uuid_send(tenant)), 'hex'), 32)",
    volatility="immutable",
    parallel="safe",
    grants=dict.fromkeys(ROLE_NAMES, "execute"),
    comment="By what notifications name a tenant: who knows the tenant can compute it, and nobody "
    "else can tell whose it is.",
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
    comment="Trigger: sets updated_at to the time of the transaction.",
    metadata=Base.metadata,
)

# A policy would hide such rows from UPDATE and DELETE, which would then report zero rows, no error.
Function(
    "reject_system_row_change",
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
                    hint = 'Create a row of your own; only operators change system rows.';
          end if;
          if tg_op = 'DELETE' then
            return old;
          end if;
          return new;
        end
    """,
    comment="Trigger: rejects changes by tenants to rows that its condition selects.",
    metadata=Base.metadata,
)
