"""Give it functions to sign in

Revision 0062, after 0061; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0061"


def upgrade() -> None:
    op.create_function(
        "has_password", "of_user uuid, of_key text", returns="boolean", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  given constant text := encode(sha256(convert_to(of_key, 'UTF8')), 'hex');\n"
            "  identity record;\n"
            "begin\n"
            "  select i.id, i.secret_hash, i.failed_attempts, i.locked_until into identity\n"
            "    from public.auth_identities i\n"
            "   where i.user_id = of_user and i.provider = 'local'\n"
            "   order by i.id limit 1 for update;\n"
            "  if not found or identity.locked_until > now() then\n"
            "    return false;\n"
            "  elsif substring(identity.secret_hash from '[^$]*$') is distinct from given then\n"
            "    update public.auth_identities i\n"
            "       set failed_attempts = i.failed_attempts + 1,\n"
            "           locked_until = case when i.failed_attempts >= 5 then now()\n"
            "             + least(interval '1 hour',\n"
            "                     interval '1 minute' * 2 ^ least(i.failed_attempts - 5, 10)) end\n"
            "     where i.id = identity.id;\n"
            "    return false;\n"
            "  end if;\n"
            "  update public.auth_identities i\n"
            "     set failed_attempts = 0, locked_until = null, last_login_at = now()\n"
            "   where i.id = identity.id;\n"
            "  return true;\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: whether the key is that of the account's password; counts failures.",
    )
    op.create_function(
        "open_session",
        "of_user uuid, new_jti uuid, new_hash text, until timestamptz, agent text DEFAULT NULL, address inet DEFAULT"
            " NULL",
        returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  perform public.require_hash(new_hash);\n"
            "  insert into public.sessions (user_id, jti, refresh_hash, expires_at, user_agent, ip)\n"
            "  values (of_user, new_jti, new_hash, until, agent, address);\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: stores a new session.",
    )
    op.create_function(
        "password_method", "of_email text", returns="text", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return (select regexp_replace(i.secret_hash, '[$][^$]*$', '')\n"
            "            from public.users u\n"
            "            join public.auth_identities i on i.user_id = u.id and i.provider = 'local'\n"
            "           where lower(u.email) = lower(of_email) and u.is_active and not u.is_system\n"
            "           order by i.id limit 1);\n"
            "end"
        ),
        comment="How to derive the key from the password of one account: method, cost and salt. NULL without a"
            " password: derive one all the same, so that the time tells nothing.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "require_hash", "given text", returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if given !~ '^[0-9a-f]{64}$' then\n"
            "    raise exception 'expected the SHA-256 of a token in lower-case hex, found % characters',\n"
            "        length(given)\n"
            "      using errcode = 'invalid_parameter_value',\n"
            "            hint = 'Pass encode(sha256(token), ''hex''), never the token.';\n"
            "  end if;\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: rejects what cannot be the hash of a token.",
    )
    op.create_function(
        "require_secret", "given text", returns="void", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if given !~ '.[$][0-9a-f]{64}$' then\n"
            "    raise exception 'expected a method with its cost and salt, $, and the SHA-256 of the '\n"
            "        'derived key in lower-case hex'\n"
            "      using errcode = 'invalid_parameter_value',\n"
            "            hint = 'See auth_identities.secret_hash.';\n"
            "  end if;\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: rejects what cannot be the secret of an account.",
    )
    op.create_function(
        "session_holder", "of_jti uuid, of_hash text", returns="uuid", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return (select u.id from public.sessions s join public.users u on u.id = s.user_id\n"
            "           where s.jti = of_jti and s.refresh_hash = of_hash and s.revoked_at is null and s.expires_at >"
            " now()\n"
            "             and u.is_active and not u.is_system);\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: whose session this is, or NULL.",
    )
    op.create_function(
        "sign_in",
        "of_email text, of_key text, new_jti uuid, new_hash text, until timestamptz, agent text DEFAULT NULL, address"
            " inet DEFAULT NULL",
        returns="uuid", language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account uuid;\n"
            "begin\n"
            "  select u.id into account from public.users u\n"
            "   where lower(u.email) = lower(of_email) and u.is_active and not u.is_system;\n"
            "  if not public.has_password(account, of_key) then\n"
            "    return null;\n"
            "  end if;\n"
            "  perform public.open_session(account, new_jti, new_hash, until, agent, address);\n"
            "  return account;\n"
            "end"
        ),
        comment="Opens a session for who has the key of the password; returns users.id, or NULL. new_hash: of the"
            " refresh token. Commit in either case: failures count.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "sign_in_with_provider",
        "of_provider text, subject text, new_jti uuid, new_hash text, until timestamptz, agent text DEFAULT NULL,"
            " address inet DEFAULT NULL",
        returns="uuid", language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account uuid;\n"
            "begin\n"
            "  update public.auth_identities i set last_login_at = now()\n"
            "    from public.users u\n"
            "   where i.provider = of_provider and i.provider_user_id = subject\n"
            "     and i.provider <> 'local'\n"
            "     and u.id = i.user_id and u.is_active and not u.is_system\n"
            "  returning i.user_id into account;\n"
            "  if account is not null then\n"
            "    perform public.open_session(account, new_jti, new_hash, until, agent, address);\n"
            "  end if;\n"
            "  return account;\n"
            "end"
        ),
        comment="Opens a session for an account at another issuer; returns users.id, or NULL. The database cannot"
            " verify the issuer's signature: the service vouches for it.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "use_api_key", "of_hash text", returns="TABLE(tenant_id uuid, api_key_id uuid, scopes text[])",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  update public.api_keys k set last_used_at = now()\n"
            "   where k.key_hash = of_hash\n"
            "     and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute');\n"
            "  return query\n"
            "    select k.tenant_id, k.id, k.scopes\n"
            "      from public.api_keys k join public.tenants t on t.tenant_id = k.tenant_id\n"
            "     where k.key_hash = of_hash and k.revoked_at is null\n"
            "       and (k.expires_at is null or k.expires_at > now()) and t.status = 'active';\n"
            "end"
        ),
        comment="The tenant and the scopes of a valid API key, by its hash; notes the use, once a minute.",
        grants={"fleet_auth": "execute"},
    )


def downgrade() -> None:
    op.drop_function("use_api_key", "of_hash text")
    op.drop_function(
        "sign_in_with_provider",
        "of_provider text, subject text, new_jti uuid, new_hash text, until timestamptz, agent text, address inet",
    )
    op.drop_function(
        "sign_in",
        "of_email text, of_key text, new_jti uuid, new_hash text, until timestamptz, agent text, address inet",
    )
    op.drop_function("session_holder", "of_jti uuid, of_hash text")
    op.drop_function("require_secret", "given text")
    op.drop_function("require_hash", "given text")
    op.drop_function("password_method", "of_email text")
    op.drop_function(
        "open_session", "of_user uuid, new_jti uuid, new_hash text, until timestamptz, agent text, address inet",
    )
    op.drop_function("has_password", "of_user uuid, of_key text")
