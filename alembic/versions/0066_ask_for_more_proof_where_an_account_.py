"""Ask for more proof where an account changes hands

Revision 0066, after 0065; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0066"
down_revision = "0065"

# accept ban-drop-function: no service of a release calls them


def upgrade() -> None:
    op.drop_function("link_provider", "of_jti uuid, of_hash text, of_provider text, subject text")
    op.drop_function("confirm_email", "of_hash text")
    op.create_function(
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
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "link_provider", "of_jti uuid, of_hash text, of_key text, of_provider text, subject text", returns="boolean",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "begin\n"
            "  if of_provider = 'local' or not public.has_password(account, of_key) then\n"
            "    return false;\n"
            "  end if;\n"
            "  insert into public.auth_identities (user_id, provider, provider_user_id)\n"
            "  values (account, of_provider, subject)\n"
            "      on conflict (provider, provider_user_id) do nothing;\n"
            "  return found;\n"
            "end"
        ),
        comment="Lets the account sign in with another issuer, too, for who has the session and the key of the"
            " password; false also if that account there is linked already.",
        grants={"fleet_auth": "execute"},
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


def downgrade() -> None:
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
        comment="Replaces a session and its refresh token by a new one. A token that is used twice was stolen: then no"
            " row, and all sessions that came of it are revoked.",
    )
    op.drop_function("link_provider", "of_jti uuid, of_hash text, of_key text, of_provider text, subject text")
    op.drop_function("confirm_email", "of_jti uuid, of_hash text, of_token text")
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
        "link_provider", "of_jti uuid, of_hash text, of_provider text, subject text", returns="boolean",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "begin\n"
            "  if account is null or of_provider = 'local' then\n"
            "    return false;\n"
            "  end if;\n"
            "  insert into public.auth_identities (user_id, provider, provider_user_id)\n"
            "  values (account, of_provider, subject)\n"
            "      on conflict (provider, provider_user_id) do nothing;\n"
            "  return found;\n"
            "end"
        ),
        comment="Lets the account of a session sign in with another issuer, too; false if that account there is linked"
            " already.",
        grants={"fleet_auth": "execute"},
    )
