"""Give it functions for links

Revision 0063, after 0062; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0063"
down_revision = "0062"


def upgrade() -> None:
    op.create_function(
        "confirm_email", "of_hash text", returns="boolean", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  link record;\n"
            "begin\n"
            "  update public.password_reset_tokens t set used_at = now(), token = null\n"
            "    from public.users u\n"
            "   where t.token_hash = of_hash and t.purpose = 'verify' and t.used_at is null\n"
            "     and t.expires_at > now() and u.id = t.user_id and u.is_active and not u.is_system\n"
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
        comment="Verifies an address, or changes to it, by the hash of the token in a link; voids links that went to"
            " the old one.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "make_link", "of_user uuid, for_purpose text, to_email text DEFAULT NULL", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  made constant text :=\n"
            "    replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');\n"
            "begin\n"
            "  if exists (select from public.password_reset_tokens t\n"
            "              where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null\n"
            "                and t.email is not distinct from to_email\n"
            "                and t.created_at > now() - interval '1 minute') then\n"
            "    return;  -- one a minute fills no mailbox\n"
            "  end if;\n"
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null;\n"
            "  insert into public.password_reset_tokens (user_id, purpose, email, token, token_hash)\n"
            "  values (of_user, for_purpose, to_email, made,\n"
            "          encode(sha256(convert_to(made, 'UTF8')), 'hex'));\n"
            "end"
        ),
        comment="Part of functions of fleet_auth: makes a one-time link, which replaces an unused one.",
    )
    op.create_function(
        "request_email_change", "of_jti uuid, of_hash text, of_key text, new_email text", returns="boolean",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "begin\n"
            "  if not public.has_password(account, of_key) then\n"
            "    return false;\n"
            "  end if;\n"
            "  perform public.make_link(account, 'verify', new_email);\n"
            "  return true;\n"
            "end"
        ),
        comment="Has a link mailed to a new address, for who has the session and the key of the password; the address"
            " changes with confirm_email().",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "request_password_reset", "of_email text", returns="void", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  perform public.make_link(u.id, 'reset') from public.users u\n"
            "    where lower(u.email) = lower(of_email) and u.is_active and not u.is_system;\n"
            "end"
        ),
        comment="Has a link to set the password mailed to the account with this address, if there is one; does not say"
            " whether.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "reset_password", "of_hash text, new_secret text", returns="boolean", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account uuid;\n"
            "begin\n"
            "  perform public.require_secret(new_secret);\n"
            "  update public.password_reset_tokens t set used_at = now(), token = null\n"
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
            "  update public.sessions s set revoked_at = now()\n"
            "   where s.user_id = account and s.revoked_at is null;\n"
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = account and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Sets the password by the hash of the token in a link, which also verifies the address; revokes all"
            " sessions and other links.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "take_account_mail", "most integer DEFAULT 100",
        returns="TABLE(email text, display_name text, purpose text, token text, expires_at timestamptz)",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    with waiting as (\n"
            "      select t.id, t.token from public.password_reset_tokens t\n"
            "       where t.token is not null order by t.id limit most for update skip locked\n"
            "    )\n"
            "    update public.password_reset_tokens t set token = null\n"
            "      from waiting w, public.users u\n"
            "     where t.id = w.id and u.id = t.user_id\n"
            "    returning case when t.expires_at > now() then coalesce(t.email, u.email) end,\n"
            "              u.display_name, t.purpose, w.token, t.expires_at;\n"
            "end"
        ),
        comment="Links to mail: address, name, purpose (reset, verify) and token. Send them, then commit: afterwards"
            " the database has their hashes only. Without address: expired.",
        grants={"fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function("take_account_mail", "most integer")
    op.drop_function("reset_password", "of_hash text, new_secret text")
    op.drop_function("request_password_reset", "of_email text")
    op.drop_function("request_email_change", "of_jti uuid, of_hash text, of_key text, new_email text")
    op.drop_function("make_link", "of_user uuid, for_purpose text, to_email text")
    op.drop_function("confirm_email", "of_hash text")
