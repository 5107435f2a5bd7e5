"""The signed context: keys of tokens, and the tenant that a valid token names.

Used only where ``operations context sign`` has made the database signed: then ``current_tenant()``
is `verified_tenant`. A token is 121 characters: key id (8), expiry in seconds since 1970 (10),
tenant (36), each with a dot after it, and the HMAC-SHA-256 over all of that, in hex (64).
"""

from __future__ import annotations

import datetime

from sqlalchemy import CheckConstraint, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function
from models.shared.base import NOW, Base, Private
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.roles import ROLE_NAMES

SIGNING = "signing"
"""A schema of which no role has anything."""


class ContextKey(Private, Base):
    """A key that signs tokens of tenants, as HMAC uses it: RFC 2104, 64 bytes each."""

    __tablename__ = "context_keys"

    id: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="The first 8 digits of the key's SHA-256, in hex."
    )
    inner_pad: Mapped[bytes] = mapped_column(
        LargeBinary, comment="The key, filled up with zeros, XOR 0x36."
    )
    outer_pad: Mapped[bytes] = mapped_column(LargeBinary, comment="The same XOR 0x5c.")
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    valid_until: Mapped[datetime.datetime] = mapped_column(server_default=text("'infinity'"))

    __table_args__ = (
        CheckConstraint("id ~ '^[0-9a-f]{8}$'", name="id"),
        CheckConstraint("length(inner_pad) = 64 AND length(outer_pad) = 64", name="pads"),
        {
            "schema": SIGNING,
            "comment": "Keys of signed tenant contexts; made by operations context rotate.",
        },
    )


# The signature is compared by hashes: how long that takes tells nothing about the right one.
Function(
    "verified_tenant",
    returns="uuid",
    language="plpgsql",
    volatility="stable",
    parallel="safe",
    security_definer=True,
    reason="It reads the keys, and answers with the tenant that one of them has signed.",
    settings=PLPGSQL_SETTINGS,
    body=f"""
        declare
          token constant text := current_setting('app.tenant_token', true);
          signature bytea;
        begin
          if coalesce(token, '') = '' then
            if coalesce(current_setting('app.tenant_id', true), '') = '' then
              return null;
            end if;
            raise exception 'this database takes a tenant with a signed token only; there is none'
              using errcode = 'invalid_authorization_specification',
                    hint = 'Give the application a key: CONTEXT_KEY_FILE, see docs/isolation.md.';
          end if;
          select sha256(k.outer_pad || sha256(k.inner_pad || convert_to(left(token, 57), 'UTF8')))
            into signature from {SIGNING}.context_keys k
           where k.id = left(token, 8) and k.valid_until > now();
          if length(token) <> 121
             or sha256(convert_to(encode(signature, 'hex'), 'UTF8'))
                is distinct from sha256(convert_to(right(token, 64), 'UTF8')) then
            perform {SIGNING}.note_refusal(token);
            return null;
          end if;
          if substr(token, 10, 10)::bigint <= extract(epoch from now()) then
            raise exception 'the tenant context has expired'
              using errcode = 'invalid_authorization_specification',
                    hint = 'Sign a new token; see that the clocks of both machines agree.';
          end if;
          return substr(token, 21, 36)::uuid;
        end
    """,
    grants=dict.fromkeys(ROLE_NAMES, "execute"),
    comment="The tenant of the transaction by its signed token, or NULL: current_tenant() of a "
    "database that is signed.",
    metadata=Base.metadata,
)

# A caller may ask for messages of the level LOG, and would learn the reason.
Function(
    "note_refusal",
    "token text",
    returns="void",
    language="plpgsql",
    parallel="safe",
    settings={**PLPGSQL_SETTINGS, "client_min_messages": "error"},
    body=f"""
        begin
          raise log 'refused a tenant context: %', case
            when token !~ '^[0-9a-f]{{8}}[.][0-9]{{10}}[.][0-9a-f-]{{36}}[.][0-9a-f]{{64}}$'
              then 'it is malformed'
            when not exists (select from {SIGNING}.context_keys k
                              where k.id = left(token, 8) and k.valid_until > now())
              then format('the key %s is unknown or no longer valid', left(token, 8))
            else format('the key %s has not signed it, for tenant %s',
                        left(token, 8), substr(token, 21, 36))
            end;
        end
    """,
    comment="Says in the server's log, and nowhere else, why a token was refused.",
    schema=SIGNING,
    metadata=Base.metadata,
)
