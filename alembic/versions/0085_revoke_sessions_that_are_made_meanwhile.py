"""revoke sessions that are made meanwhile

Revision 0085, after 0084; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0085"
down_revision = "0084"


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
            "  delete from public.password_reset_tokens t\n"
            "   where t.user_id = account and t.used_at is null;\n"
            "  return true;\n"
            "end"
        ),
        comment="Sets a new password for who has the session and the key of the old one; revokes the other sessions"
            " and unused links.",
    )
    op.replace_function(
        "refresh_session", "of_jti uuid, of_hash text, new_jti uuid, new_hash text, until timestamptz",
        returns="TABLE(user_id uuid, active_tenant_id uuid)", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  old record;\n"
            "  tenant uuid;\n"
            "begin\n"
            "  perform public.require_hash(new_hash);\n"
            "  -- Before the session, as who revokes all sessions does.\n"
            "  perform from public.users u join public.sessions s on s.user_id = u.id\n"
            "    where s.jti = of_jti and s.refresh_hash = of_hash for key share of u;\n"
            "  select s.* into old from public.sessions s\n"
            "   where s.jti = of_jti and s.refresh_hash = of_hash for update;\n"
            "  if old.replaced_by_jti is not null then\n"
            "    if old.revoked_at > now() - interval '10 seconds' then\n"
            "      return;\n"
            "    end if;\n"
            "    with recursive later as (\n"
            "      select s.jti, s.replaced_by_jti from public.sessions s\n"
            "       where s.jti = old.replaced_by_jti\n"
            "      union\n"
            "      select s.jti, s.replaced_by_jti from public.sessions s, later l\n"
            "       where s.jti = l.replaced_by_jti\n"
            "    )\n"
            "    update public.sessions s set revoked_at = now()\n"
            "      from later l where s.jti = l.jti and s.revoked_at is null;\n"
            "    return;\n"
            "  end if;\n"
            "  if public.session_holder(of_jti, of_hash) is null then\n"
            "    return;\n"
            "  end if;\n"
            "  tenant := case when exists (select from public.tenant_members m\n"
            "                      join public.tenants t on t.tenant_id = m.tenant_id\n"
            "                     where m.tenant_id = old.active_tenant_id and m.user_id = old.user_id\n"
            "                       and m.status = 'active' and t.status = 'active')\n"
            "                 then old.active_tenant_id end;\n"
            "  insert into public.sessions\n"
            "         (user_id, active_tenant_id, jti, refresh_hash, expires_at, user_agent, ip)\n"
            "  values (old.user_id, tenant, new_jti, new_hash, until, old.user_agent, old.ip);\n"
            "  update public.sessions s\n"
            "     set replaced_by_jti = new_jti, revoked_at = now(), last_activity_at = now()\n"
            "   where s.id = old.id;\n"
            "  return query select old.user_id, tenant;\n"
            "end"
        ),
        comment="Replaces a session and its refresh token by a new one. A token that is used again was stolen: then no"
            " row, and, after ten seconds, all sessions that came of it are revoked.",
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
        "sign_out", "of_jti uuid, of_hash text, everywhere boolean DEFAULT false", returns="bigint", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "  ended bigint;\n"
            "begin\n"
            "  perform from public.users u where u.id = account for update;\n"
            "  update public.sessions s set revoked_at = now()\n"
            "   where s.user_id = account and (everywhere or s.jti = of_jti) and s.revoked_at is null and s.expires_at"
            " > now();\n"
            "  get diagnostics ended = row_count;\n"
            "  return ended;\n"
            "end"
        ),
        comment="Revokes the session, or all of its account; returns how many.",
    )


def downgrade() -> None:
    op.replace_function(
        "sign_out", "of_jti uuid, of_hash text, everywhere boolean DEFAULT false", returns="bigint", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "  ended bigint;\n"
            "begin\n"
            "  update public.sessions s set revoked_at = now()\n"
            "   where s.user_id = account and (everywhere or s.jti = of_jti) and s.revoked_at is null and s.expires_at"
            " > now();\n"
            "  get diagnostics ended = row_count;\n"
            "  return ended;\n"
            "end"
        ),
        comment="Revokes the session, or all of its account; returns how many.",
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
        "refresh_session", "of_jti uuid, of_hash text, new_jti uuid, new_hash text, until timestamp with time zone",
        returns="TABLE(user_id uuid, active_tenant_id uuid)", language="plpgsql", security_definer=True,
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  old record;\n"
            "  tenant uuid;\n"
            "begin\n"
            "  perform public.require_hash(new_hash);\n"
            "  select s.* into old from public.sessions s\n"
            "   where s.jti = of_jti and s.refresh_hash = of_hash for update;\n"
            "  if old.replaced_by_jti is not null then\n"
            "    if old.revoked_at > now() - interval '10 seconds' then\n"
            "      return;\n"
            "    end if;\n"
            "    with recursive later as (\n"
            "      select s.jti, s.replaced_by_jti from public.sessions s\n"
            "       where s.jti = old.replaced_by_jti\n"
            "      union\n"
            "      select s.jti, s.replaced_by_jti from public.sessions s, later l\n"
            "       where s.jti = l.replaced_by_jti\n"
            "    )\n"
            "    update public.sessions s set revoked_at = now()\n"
            "      from later l where s.jti = l.jti and s.revoked_at is null;\n"
            "    return;\n"
            "  end if;\n"
            "  if public.session_holder(of_jti, of_hash) is null then\n"
            "    return;\n"
            "  end if;\n"
            "  tenant := case when exists (select from public.tenant_members m\n"
            "                      join public.tenants t on t.tenant_id = m.tenant_id\n"
            "                     where m.tenant_id = old.active_tenant_id and m.user_id = old.user_id\n"
            "                       and m.status = 'active' and t.status = 'active')\n"
            "                 then old.active_tenant_id end;\n"
            "  insert into public.sessions\n"
            "         (user_id, active_tenant_id, jti, refresh_hash, expires_at, user_agent, ip)\n"
            "  values (old.user_id, tenant, new_jti, new_hash, until, old.user_agent, old.ip);\n"
            "  update public.sessions s\n"
            "     set replaced_by_jti = new_jti, revoked_at = now(), last_activity_at = now()\n"
            "   where s.id = old.id;\n"
            "  return query select old.user_id, tenant;\n"
            "end"
        ),
        comment="Replaces a session and its refresh token by a new one. A token that is used again was stolen: then no"
            " row, and, after ten seconds, all sessions that came of it are revoked.",
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
