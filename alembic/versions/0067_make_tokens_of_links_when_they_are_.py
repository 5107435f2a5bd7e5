"""Make tokens of links when they are mailed

Revision 0067, after 0066; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0067"
down_revision = "0066"

# accept ban-drop-not-null: no service reads the column, and its functions compare it with =
# accept require-concurrent-index-creation: the table is small, and the index is of few of its rows


def upgrade() -> None:
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
        "make_link", "of_user uuid, for_purpose text, to_email text DEFAULT NULL", returns="void", language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
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
        "take_account_mail", "most integer DEFAULT 100",
        returns="TABLE(email text, display_name text, purpose text, token text, expires_at timestamptz)",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    with asked as materialized (\n"
            "      select t.id, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')\n"
            "               as made\n"
            "        from public.password_reset_tokens t\n"
            "       where t.token_hash is null and t.expires_at > now()\n"
            "       order by t.created_at limit most for update skip locked\n"
            "    )\n"
            "    update public.password_reset_tokens t\n"
            "       set token_hash = encode(sha256(convert_to(a.made, 'UTF8')), 'hex'),\n"
            "           expires_at = now() + interval '1 hour'\n"
            "      from asked a, public.users u\n"
            "     where t.id = a.id and u.id = t.user_id\n"
            "    returning coalesce(t.email, u.email), u.display_name, t.purpose, a.made, t.expires_at;\n"
            "end"
        ),
        comment="Links to mail: address, name, purpose (reset, verify), and a new token for each. Send them, then"
            " commit: the database has hashes only. Not mailed within an hour, a link lapses.",
    )
    # destructive: drops the column, no rows
    # accept drop-column public.password_reset_tokens.token: whoever waits for a mail asks again
    op.drop_column("password_reset_tokens", "token")
    op.alter_column(
        "password_reset_tokens", "token_hash", existing_type=sa.TEXT(), nullable=True,
        comment="Hash of the token in the link. NULL: the mailer has not taken it yet.",
        existing_comment="Hash of the token in the link.",
    )
    op.create_index(
        op.f("ix_password_reset_tokens_created_at"), "password_reset_tokens", ["created_at"], unique=False,
        postgresql_where=sa.text("token_hash IS NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        op.f("ix_password_reset_tokens_created_at"), table_name="password_reset_tokens",
        postgresql_where=sa.text("token_hash IS NULL"),
    )
    # Requests that were not mailed yet have no place in the older table: people ask again.
    op.execute("DELETE FROM password_reset_tokens WHERE token_hash IS NULL")
    op.alter_column(
        "password_reset_tokens", "token_hash", existing_type=sa.TEXT(), nullable=False,
        comment="Hash of the token in the link.",
        existing_comment="Hash of the token in the link. NULL: the mailer has not taken it yet.",
    )
    op.add_column(
        "password_reset_tokens",
        sa.Column("token", sa.TEXT(), nullable=True,
            comment="The token itself, until the mailer takes it: the service that asks for a link must not be able to"
                " use it."),
    )
    op.replace_function(
        "take_account_mail", "most integer DEFAULT 100",
        returns="TABLE(email text, display_name text, purpose text, token text, expires_at timestamp with time zone)",
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
    )
    op.replace_function(
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
    )
    op.replace_function(
        "make_link", "of_user uuid, for_purpose text, to_email text DEFAULT NULL::text", returns="void",
        language="plpgsql", settings="search_path=pg_catalog, pg_temp",
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
    op.replace_function(
        "confirm_email", "of_jti uuid, of_hash text, of_token text", returns="boolean", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "  link record;\n"
            "begin\n"
            "  update public.password_reset_tokens t set used_at = now(), token = null\n"
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
