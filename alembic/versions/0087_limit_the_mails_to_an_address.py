"""limit the mails to an address

Revision 0087, after 0086; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0087"
down_revision = "0086"
# accept require-concurrent-index-creation: requests for links wait while a small table is read once


def upgrade() -> None:
    op.replace_function(
        "change_password", "of_jti uuid, of_hash text, of_key text, new_secret text", returns="boolean",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "begin\n"
            "  perform public.require_secret(new_secret);\n"
            "  if not public.has_password(account, of_key) then\n"
            "    return false;\n"
            "  end if;\n"
            "  update public.auth_identities i set secret_hash = new_secret\n"
            "   where i.user_id = account and i.provider = 'local';\n"
            "  perform from public.users u where u.id = account for update;\n"
            "  update public.sessions s set revoked_at = now()\n"
            "   where s.user_id = account and s.jti <> of_jti and s.revoked_at is null and s.expires_at > now();\n"
            "  update public.password_reset_tokens t set expires_at = t.created_at + interval '1 microsecond'\n"
            "   where t.user_id = account and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Sets a new password for who has the session and the key of the old one; revokes the other sessions"
            " and unused links.",
    )
    op.replace_function(
        "confirm_email", "of_jti uuid, of_hash text, of_token text", returns="boolean", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "  link record;\n"
            "begin\n"
            "  update public.password_reset_tokens t set used_at = now()\n"
            "    from public.users u\n"
            "   where t.token_hash = of_token and t.purpose = 'verify' and t.used_at is null\n"
            "     and t.expires_at > now() and u.id = t.user_id and u.id = account\n"
            "  returning t.user_id, coalesce(t.email, u.email) as email into link;\n"
            "  if link.user_id is null then\n"
            "    return false;\n"
            "  end if;\n"
            "  begin\n"
            "    update public.users u set email = link.email, email_verified_at = now()\n"
            "     where u.id = link.user_id;\n"
            "  exception when unique_violation then\n"
            "    return false;  -- by now another account has this address\n"
            "  end;\n"
            "  update public.password_reset_tokens t set expires_at = t.created_at + interval '1 microsecond'\n"
            "   where t.user_id = link.user_id and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Verifies an address, or changes to it, by the session and the hash of the token in a link (of_token);"
            " voids links that went to the old one.",
    )
    op.replace_function(
        "make_link", "of_user uuid, for_purpose text, to_email text DEFAULT NULL", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  own text;\n"
            "  address text;\n"
            "begin\n"
            "  select regexp_replace(lower(u.email), '\\s', '', 'g') into own\n"
            "    from public.users u where u.id = of_user;\n"
            "  address := coalesce(regexp_replace(lower(to_email), '\\s', '', 'g'), own);\n"
            "  perform pg_advisory_xact_lock(hashtextextended('mail to ' || address, 0));\n"
            "  perform pg_advisory_xact_lock(hashtextextended('mail of ' || of_user, 0));\n"
            "  if exists (select from public.password_reset_tokens t\n"
            "              where regexp_replace(lower(t.email), '\\s', '', 'g') = address and t.purpose = for_purpose\n"
            "                and t.used_at is null and t.created_at > now() - interval '1 minute')\n"
            "     or own = address and exists (\n"
            "          select from public.password_reset_tokens t\n"
            "           where t.user_id = of_user and t.email is null and t.purpose = for_purpose\n"
            "             and t.used_at is null and t.created_at > now() - interval '1 minute')\n"
            "     or for_purpose = 'verify' and 5 <= (\n"
            "          select count(*) from public.password_reset_tokens t\n"
            "           where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null\n"
            "             and t.created_at > now() - interval '1 hour') then\n"
            "    return;  -- one a minute fills no mailbox\n"
            "  end if;\n"
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = of_user and t.used_at is null\n"
            "     and t.created_at <= now() - interval '1 hour';\n"
            "  update public.password_reset_tokens t set expires_at = t.created_at + interval '1 microsecond'\n"
            "   where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null;\n"
            "  insert into public.password_reset_tokens (user_id, purpose, email)\n"
            "  values (of_user, for_purpose, to_email);\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: asks for a one-time link in place of an unused one; of one purpose"
            " not twice a minute to an address, nor from one account to more than 5 new addresses in an hour.",
    )
    op.replace_function(
        "reset_password", "of_hash text, new_secret text", returns="boolean", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account uuid;\n"
            "begin\n"
            "  perform public.require_secret(new_secret);\n"
            "  update public.password_reset_tokens t set used_at = now()\n"
            "    from public.users u\n"
            "   where t.token_hash = of_hash and t.purpose = 'reset' and t.used_at is null\n"
            "     and t.expires_at > now() and u.id = t.user_id and u.is_active and not u.is_system\n"
            "  returning t.user_id into account;\n"
            "  if account is null then\n"
            "    return false;\n"
            "  end if;\n"
            "  update public.auth_identities i\n"
            "     set secret_hash = new_secret, failed_attempts = 0, locked_until = null\n"
            "   where i.user_id = account and i.provider = 'local';\n"
            "  if not found then\n"
            "    insert into public.auth_identities (user_id, provider, provider_user_id, secret_hash)\n"
            "    values (account, 'local', account::text, new_secret);\n"
            "  end if;\n"
            "  update public.users u set email_verified_at = now()\n"
            "   where u.id = account and u.email_verified_at is null;\n"
            "  perform from public.users u where u.id = account for update;\n"
            "  update public.sessions s set revoked_at = now()\n"
            "   where s.user_id = account and s.revoked_at is null;\n"
            "  update public.password_reset_tokens t set expires_at = t.created_at + interval '1 microsecond'\n"
            "   where t.user_id = account and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Sets the password by the hash of the token in a link, which also verifies the address; revokes all"
            " sessions and other links.",
    )
    op.create_index(
        "ix_password_reset_tokens_mailbox", "password_reset_tokens",
        [sa.literal_column("regexp_replace(lower(email), '\\s', '', 'g')")], unique=False,
        postgresql_where=sa.text("email IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_password_reset_tokens_mailbox", table_name="password_reset_tokens",
        postgresql_where=sa.text("email IS NOT NULL"),
    )
    op.replace_function(
        "reset_password", "of_hash text, new_secret text", returns="boolean", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account uuid;\n"
            "begin\n"
            "  perform public.require_secret(new_secret);\n"
            "  update public.password_reset_tokens t set used_at = now()\n"
            "    from public.users u\n"
            "   where t.token_hash = of_hash and t.purpose = 'reset' and t.used_at is null\n"
            "     and t.expires_at > now() and u.id = t.user_id and u.is_active and not u.is_system\n"
            "  returning t.user_id into account;\n"
            "  if account is null then\n"
            "    return false;\n"
            "  end if;\n"
            "  update public.auth_identities i\n"
            "     set secret_hash = new_secret, failed_attempts = 0, locked_until = null\n"
            "   where i.user_id = account and i.provider = 'local';\n"
            "  if not found then\n"
            "    insert into public.auth_identities (user_id, provider, provider_user_id, secret_hash)\n"
            "    values (account, 'local', account::text, new_secret);\n"
            "  end if;\n"
            "  update public.users u set email_verified_at = now()\n"
            "   where u.id = account and u.email_verified_at is null;\n"
            "  perform from public.users u where u.id = account for update;\n"
            "  update public.sessions s set revoked_at = now()\n"
            "   where s.user_id = account and s.revoked_at is null;\n"
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = account and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Sets the password by the hash of the token in a link, which also verifies the address; revokes all"
            " sessions and other links.",
    )
    op.replace_function(
        "make_link", "of_user uuid, for_purpose text, to_email text DEFAULT NULL::text", returns="void",
        language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  if exists (select from public.password_reset_tokens t\n"
            "              where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null\n"
            "                and t.email is not distinct from to_email\n"
            "                and t.created_at > now() - interval '1 minute') then\n"
            "    return;  -- one a minute fills no mailbox\n"
            "  end if;\n"
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null;\n"
            "  insert into public.password_reset_tokens (user_id, purpose, email)\n"
            "  values (of_user, for_purpose, to_email);\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: asks for a one-time link in place of an unused one.",
    )
    op.replace_function(
        "confirm_email", "of_jti uuid, of_hash text, of_token text", returns="boolean", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "  link record;\n"
            "begin\n"
            "  update public.password_reset_tokens t set used_at = now()\n"
            "    from public.users u\n"
            "   where t.token_hash = of_token and t.purpose = 'verify' and t.used_at is null\n"
            "     and t.expires_at > now() and u.id = t.user_id and u.id = account\n"
            "  returning t.user_id, coalesce(t.email, u.email) as email into link;\n"
            "  if link.user_id is null then\n"
            "    return false;\n"
            "  end if;\n"
            "  begin\n"
            "    update public.users u set email = link.email, email_verified_at = now()\n"
            "     where u.id = link.user_id;\n"
            "  exception when unique_violation then\n"
            "    return false;  -- by now another account has this address\n"
            "  end;\n"
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = link.user_id and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Verifies an address, or changes to it, by the session and the hash of the token in a link (of_token);"
            " voids links that went to the old one.",
    )
    op.replace_function(
        "change_password", "of_jti uuid, of_hash text, of_key text, new_secret text", returns="boolean",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "begin\n"
            "  perform public.require_secret(new_secret);\n"
            "  if not public.has_password(account, of_key) then\n"
            "    return false;\n"
            "  end if;\n"
            "  update public.auth_identities i set secret_hash = new_secret\n"
            "   where i.user_id = account and i.provider = 'local';\n"
            "  perform from public.users u where u.id = account for update;\n"
            "  update public.sessions s set revoked_at = now()\n"
            "   where s.user_id = account and s.jti <> of_jti and s.revoked_at is null and s.expires_at > now();\n"
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = account and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Sets a new password for who has the session and the key of the old one; revokes the other sessions"
            " and unused links.",
    )
