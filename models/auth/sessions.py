"""What the holder of a session may do: refresh it, enter a tenant, change its account, leave."""

from __future__ import annotations

from models.auth.functions import LIVE_SESSION, NO_NEW_SESSION, VOID_LINK, service_function

_HELD = "of_jti uuid, of_hash text"
"""The session: the identifier in the refresh token, and the hash of that token."""

_MAY_ENTER = """exists (select from public.tenant_members m
                              join public.tenants t on t.tenant_id = m.tenant_id
                             where m.tenant_id = {tenant} and m.user_id = {user}
                               and m.status = 'active' and t.status = 'active')"""

service_function(
    "refresh_session",
    f"{_HELD}, new_jti uuid, new_hash text, until timestamptz",
    returns="TABLE(user_id uuid, active_tenant_id uuid)",
    # A token that was replaced is used again: by a thief, or by its owner after a thief. Within
    # seconds, rather by a second tab of the browser: it gets nothing, and loses nothing.
    body=f"""
        declare
          old record;
          tenant uuid;
        begin
          perform public.require_hash(new_hash);
          -- Before the session, as who revokes all sessions does.
          perform from public.users u join public.sessions s on s.user_id = u.id
            where s.jti = of_jti and s.refresh_hash = of_hash for key share of u;
          select s.* into old from public.sessions s
           where s.jti = of_jti and s.refresh_hash = of_hash for update;
          if old.replaced_by_jti is not null then
            if old.revoked_at > now() - interval '10 seconds' then
              return;
            end if;
            with recursive later as (
              select s.jti, s.replaced_by_jti from public.sessions s
               where s.jti = old.replaced_by_jti
              union
              select s.jti, s.replaced_by_jti from public.sessions s, later l
               where s.jti = l.replaced_by_jti
            )
            update public.sessions s set revoked_at = now()
              from later l where s.jti = l.jti and s.revoked_at is null;
            return;
          end if;
          if public.session_holder(of_jti, of_hash) is null then
            return;
          end if;
          tenant := case when {_MAY_ENTER.format(tenant="old.active_tenant_id", user="old.user_id")}
                         then old.active_tenant_id end;
          insert into public.sessions
                 (user_id, active_tenant_id, jti, refresh_hash, expires_at, user_agent, ip)
          values (old.user_id, tenant, new_jti, new_hash, until, old.user_agent, old.ip);
          update public.sessions s
             set replaced_by_jti = new_jti, revoked_at = now(), last_activity_at = now()
           where s.id = old.id;
          return query select old.user_id, tenant;
        end
    """,
    comment="Replaces a session and its refresh token by a new one. A token that is used again was "
    "stolen: then no row, and, after ten seconds, all sessions that came of it are revoked.",
)

service_function(
    "session_account",
    _HELD,
    returns="TABLE(user_id uuid, email text, display_name text, email_verified boolean)",
    body="""
        begin
          return query
            select u.id, u.email, u.display_name, u.email_verified_at is not null
              from public.users u where u.id = public.session_holder(of_jti, of_hash);
        end
    """,
    comment="The account of a session.",
)

service_function(
    "session_tenants",
    _HELD,
    returns="TABLE(tenant_id uuid, slug text, name text, is_owner boolean)",
    body="""
        begin
          return query
            select t.tenant_id, t.slug, left(t.name, 1024), m.is_owner
              from public.tenant_members m join public.tenants t on t.tenant_id = m.tenant_id
             where m.user_id = public.session_holder(of_jti, of_hash)
               and m.status = 'active' and t.status = 'active'
             order by t.slug;
        end
    """,
    comment="The tenants that the holder of a session may enter.",
)

service_function(
    "enter_tenant",
    f"{_HELD}, tenant uuid",
    returns="boolean",
    body=f"""
        declare
          account constant uuid := public.session_holder(of_jti, of_hash);
        begin
          if account is null or not {_MAY_ENTER.format(tenant="tenant", user="account")} then
            return false;
          end if;
          update public.sessions s set active_tenant_id = tenant, last_activity_at = now()
           where s.jti = of_jti;
          return true;
        end
    """,
    comment="Makes a tenant that of the session; false if its holder is no active member.",
)

service_function(
    "sign_out",
    f"{_HELD}, everywhere boolean DEFAULT false",
    returns="bigint",
    body=f"""
        declare
          account constant uuid := public.session_holder(of_jti, of_hash);
          ended bigint;
        begin
          {NO_NEW_SESSION}
          update public.sessions s set revoked_at = now()
           where s.user_id = account and (everywhere or s.jti = of_jti) and {LIVE_SESSION};
          get diagnostics ended = row_count;
          return ended;
        end
    """,
    comment="Revokes the session, or all of its account; returns how many.",
)

service_function(
    "rename_account",
    f"{_HELD}, new_name text",
    returns="boolean",
    body="""
        begin
          update public.users u set display_name = new_name
           where u.id = public.session_holder(of_jti, of_hash);
          return found;
        end
    """,
    comment="Changes the displayed name of the account of a session.",
)

service_function(
    "change_password",
    f"{_HELD}, of_key text, new_secret text",
    returns="boolean",
    body=f"""
        declare
          account constant uuid := public.session_holder(of_jti, of_hash);
        begin
          perform public.require_secret(new_secret);
          if not public.has_password(account, of_key) then
            return false;
          end if;
          update public.auth_identities i set secret_hash = new_secret
           where i.user_id = account and i.provider = 'local';
          {NO_NEW_SESSION}
          update public.sessions s set revoked_at = now()
           where s.user_id = account and s.jti <> of_jti and {LIVE_SESSION};
          update public.password_reset_tokens t {VOID_LINK}
           where t.user_id = account and t.used_at is null;
          return true;
        end
    """,
    comment="Sets a new password for who has the session and the key of the old one; revokes the "
    "other sessions and unused links.",
)

service_function(
    "link_provider",
    f"{_HELD}, of_key text, of_provider text, subject text",
    returns="boolean",
    # With a session alone, a thief would make a way in that outlives it.
    body="""
        declare
          account constant uuid := public.session_holder(of_jti, of_hash);
        begin
          if of_provider = 'local' or not public.has_password(account, of_key) then
            return false;
          end if;
          insert into public.auth_identities (user_id, provider, provider_user_id)
          values (account, of_provider, subject)
              on conflict (provider, provider_user_id) do nothing;
          return found;
        end
    """,
    comment="Lets the account sign in with another issuer, too, for who has the session and the "
    "key of the password; false also if that account there is linked already.",
)

service_function(
    "unlink_provider",
    f"{_HELD}, of_provider text",
    returns="boolean",
    body="""
        begin
          delete from public.auth_identities i
           where i.user_id = public.session_holder(of_jti, of_hash)
             and i.provider = of_provider and i.provider <> 'local';
          return found;
        end
    """,
    comment="Takes that back.",
)
