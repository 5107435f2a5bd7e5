"""sign the tenant context

Revision 0072, after 0071; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0072"
down_revision = "0071"


def upgrade() -> None:
    op.create_schema("signing")
    op.create_function(
        "verified_tenant", returns="uuid", language="plpgsql", volatility="stable", parallel="safe",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  token constant text := current_setting('app.tenant_token', true);\n"
            "  signature bytea;\n"
            "begin\n"
            "  if coalesce(token, '') = '' then\n"
            "    if coalesce(current_setting('app.tenant_id', true), '') = '' then\n"
            "      return null;\n"
            "    end if;\n"
            "    raise exception 'this database takes a tenant with a signed token only; there is none'\n"
            "      using errcode = 'invalid_authorization_specification',\n"
            "            hint = 'Give the application a key: CONTEXT_KEY_FILE, see docs/isolation.md.';\n"
            "  end if;\n"
            "  select sha256(k.outer_pad || sha256(k.inner_pad || convert_to(left(token, 57), 'UTF8')))\n"
            "    into signature from signing.context_keys k\n"
            "   where k.id = left(token, 8) and k.valid_until > now();\n"
            "  if length(token) <> 121\n"
            "     or sha256(convert_to(encode(signature, 'hex'), 'UTF8'))\n"
            "        is distinct from sha256(convert_to(right(token, 64), 'UTF8')) then\n"
            "    perform signing.note_refusal(token);\n"
            "    return null;\n"
            "  end if;\n"
            "  if substr(token, 10, 10)::bigint <= extract(epoch from now()) then\n"
            "    raise exception 'the tenant context has expired'\n"
            "      using errcode = 'invalid_authorization_specification',\n"
            "            hint = 'Sign a new token; see that the clocks of both machines agree.';\n"
            "  end if;\n"
            "  return substr(token, 21, 36)::uuid;\n"
            "end"
        ),
        comment="The tenant of the transaction by its signed token, or NULL: current_tenant() of a database that is"
            " signed.",
        grants={"fleet_app, fleet_auth, fleet_ingest, fleet_operator, fleet_operator_read": "execute"},
    )
    op.create_function(
        "note_refusal", "token text", returns="void", language="plpgsql", parallel="safe",
        settings=["client_min_messages=error", "search_path=pg_catalog, pg_temp"],
        body=(
            "begin\n"
            "  raise log 'refused a tenant context: %', case\n"
            "    when token !~ '^[0-9a-f]{8}[.][0-9]{10}[.][0-9a-f-]{36}[.][0-9a-f]{64}$'\n"
            "      then 'it is malformed'\n"
            "    when not exists (select from signing.context_keys k\n"
            "                      where k.id = left(token, 8) and k.valid_until > now())\n"
            "      then format('the key %s is unknown or no longer valid', left(token, 8))\n"
            "    else format('the key %s has not signed it, for tenant %s',\n"
            "                left(token, 8), substr(token, 21, 36))\n"
            "    end;\n"
            "end"
        ),
        comment="Says in the server's log, and nowhere else, why a token was refused.", schema="signing",
    )

    op.create_table(
        "context_keys",
        sa.Column("id", sa.Text(), nullable=False, comment="The first 8 digits of the key's SHA-256, in hex."),
        sa.Column("inner_pad", sa.LargeBinary(), nullable=False, comment="The key, filled up with zeros, XOR 0x36."),
        sa.Column("outer_pad", sa.LargeBinary(), nullable=False, comment="The same XOR 0x5c."),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("valid_until", sa.TIMESTAMP(timezone=True), server_default=sa.text("'infinity'"), nullable=False),
        sa.CheckConstraint("id ~ '^[0-9a-f]{8}$'", name=op.f("ck_context_keys_id")),
        sa.CheckConstraint("length(inner_pad) = 64 AND length(outer_pad) = 64", name=op.f("ck_context_keys_pads")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_context_keys")),
        schema="signing",
        comment="Keys of signed tenant contexts; made by operations context rotate.",
    )


def downgrade() -> None:
    op.drop_table("context_keys", schema="signing")
    op.drop_function("note_refusal", "token text", schema="signing")
    op.drop_function("verified_tenant")
    op.drop_schema("signing")
