"""Give it functions for sessions

Revision 0064, after 0063; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0064"
down_revision = "0063"


def upgrade() -> None:
    op.create_function(
        "accept_invitation",
        "of_hash text, of_jti uuid DEFAULT NULL, of_session text DEFAULT NULL, display text DEFAULT NULL",
        returns="uuid", language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  invite record;\n"
            "  account uuid;\n"
            "begin\n"
            "  select i.* into invite\n"
            "    from public.invitations i join public.tenants t on t.tenant_id = i.tenant_id\n"
            "   where i.token_hash = of_hash and i.accepted_at is null and i.revoked_at is null\n"
            "     and i.expires_at > now() and i.role_id is not null and t.status = 'active'\n"
            "     for update of i;\n"
            "  if not found then\n"
            "    return null;\n"
            "  end if;\n"
            "  if of_jti is null then\n"
            "    insert into public.users (email, display_name) values (invite.email, display)\n"
            "        on conflict (lower(email)) do nothing returning id into account;\n"
            "    perform public.make_link(account, 'reset') where account is not null;\n"
            "  else\n"
            "    select u.id into account from public.users u\n"
            "     where u.id = public.session_holder(of_jti, of_session)\n"
            "       and lower(u.email) = lower(invite.email) and u.email_verified_at is not null;\n"
            "  end if;\n"
            "  if account is null then\n"
            "    return null;\n"
            "  end if;\n"
            "  insert into public.tenant_members as m (tenant_id, user_id, status, joined_at)\n"
            "  values (invite.tenant_id, account, 'active', now())\n"
            "      on conflict (tenant_id, user_id)\n"
            "      do update set status = 'active', is_owner = false, joined_at = now()\n"
            "          where m.status <> 'active';\n"
            "  insert into public.user_roles (tenant_id, user_id, role_id, project_id, assigned_by)\n"
            "  select invite.tenant_id, account, invite.role_id, p.id, invite.invited_by\n"
            "    from (select null::uuid as id where invite.project_ids = '{}'\n"
            "          union all\n"
            "          select j.id from public.projects j\n"
            "           where j.tenant_id = invite.tenant_id and j.id = any (invite.project_ids)) p\n"
            "      on conflict do nothing;\n"
            "  update public.invitations i set accepted_at = now()\n"
            "   where i.tenant_id = invite.tenant_id and i.id = invite.id;\n"
            "  return invite.tenant_id;\n"
            "end"
        ),
        comment="Makes a member by the hash of the token of an invitation; returns the tenant, or NULL. An account"
            " with the invited address shows its session; without an account one is made.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
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
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "enter_tenant", "of_jti uuid, of_hash text, tenant uuid", returns="boolean", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account constant uuid := public.session_holder(of_jti, of_hash);\n"
            "begin\n"
            "  if account is null or not exists (select from public.tenant_members m\n"
            "                      join public.tenants t on t.tenant_id = m.tenant_id\n"
            "                     where m.tenant_id = tenant and m.user_id = account\n"
            "                       and m.status = 'active' and t.status = 'active') then\n"
            "    return false;\n"
            "  end if;\n"
            "  update public.sessions s set active_tenant_id = tenant, last_activity_at = now()\n"
            "   where s.jti = of_jti;\n"
            "  return true;\n"
            "end"
        ),
        comment="Makes a tenant that of the session; false if its holder is no active member.",
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
    op.create_function(
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
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "rename_account", "of_jti uuid, of_hash text, new_name text", returns="boolean", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  update public.users u set display_name = new_name\n"
            "   where u.id = public.session_holder(of_jti, of_hash);\n"
            "  return found;\n"
            "end"
        ),
        comment="Changes the displayed name of the account of a session.", grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "session_account", "of_jti uuid, of_hash text",
        returns="TABLE(user_id uuid, email text, display_name text, email_verified boolean)", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    select u.id, u.email, u.display_name, u.email_verified_at is not null\n"
            "      from public.users u where u.id = public.session_holder(of_jti, of_hash);\n"
            "end"
        ),
        comment="The account of a session.", grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "session_tenants", "of_jti uuid, of_hash text",
        returns="TABLE(tenant_id uuid, slug text, name text, is_owner boolean)", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  return query\n"
            "    select t.tenant_id, t.slug, t.name, m.is_owner\n"
            "      from public.tenant_members m join public.tenants t on t.tenant_id = m.tenant_id\n"
            "     where m.user_id = public.session_holder(of_jti, of_hash)\n"
            "       and m.status = 'active' and t.status = 'active'\n"
            "     order by t.slug;\n"
            "end"
        ),
        comment="The tenants that the holder of a session may enter.", grants={"fleet_auth": "execute"},
    )
    op.create_function(
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
        comment="Revokes the session, or all of its account; returns how many.", grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "sign_up", "new_slug text, new_name text, of_email text, display text DEFAULT NULL", returns="uuid",
        language="plpgsql", security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  account uuid;\n"
            "  made uuid;\n"
            "begin\n"
            "  insert into public.users (email, display_name) values (of_email, display)\n"
            "      on conflict (lower(email)) do nothing returning id into account;\n"
            "  if account is null then\n"
            "    return null;\n"
            "  end if;\n"
            "  made := public.provision_tenant(new_slug, new_name, account,\n"
            "    (select a.tier_id from public.account_tiers a where a.is_active\n"
            "      order by a.sort_order, a.tier_id limit 1));\n"
            "  perform public.make_link(account, 'reset');\n"
            "  return made;\n"
            "end"
        ),
        comment="Creates an account and a tenant of the smallest tier that it owns, and has a link to set the password"
            " mailed; returns the tenant, or NULL if the address has an account.",
        grants={"fleet_auth": "execute"},
    )
    op.create_function(
        "unlink_provider", "of_jti uuid, of_hash text, of_provider text", returns="boolean", language="plpgsql",
        security_definer=True, settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  delete from public.auth_identities i\n"
            "   where i.user_id = public.session_holder(of_jti, of_hash)\n"
            "     and i.provider = of_provider and i.provider <> 'local';\n"
            "  return found;\n"
            "end"
        ),
        comment="Takes that back.", grants={"fleet_auth": "execute"},
    )


def downgrade() -> None:
    op.drop_function("unlink_provider", "of_jti uuid, of_hash text, of_provider text")
    op.drop_function("sign_up", "new_slug text, new_name text, of_email text, display text")
    op.drop_function("sign_out", "of_jti uuid, of_hash text, everywhere boolean")
    op.drop_function("session_tenants", "of_jti uuid, of_hash text")
    op.drop_function("session_account", "of_jti uuid, of_hash text")
    op.drop_function("rename_account", "of_jti uuid, of_hash text, new_name text")
    op.drop_function("refresh_session", "of_jti uuid, of_hash text, new_jti uuid, new_hash text, until timestamptz")
    op.drop_function("link_provider", "of_jti uuid, of_hash text, of_provider text, subject text")
    op.drop_function("enter_tenant", "of_jti uuid, of_hash text, tenant uuid")
    op.drop_function("change_password", "of_jti uuid, of_hash text, of_key text, new_secret text")
    op.drop_function("accept_invitation", "of_hash text, of_jti uuid, of_session text, display text")
