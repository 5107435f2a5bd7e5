"""Joining a tenant: as the first owner of a new one, or by an invitation."""

from __future__ import annotations

from models.auth.functions import service_function

service_function(
    "sign_up",
    "new_slug text, new_name text, of_email text, display text DEFAULT NULL",
    returns="uuid",
    # Who signs up has not proved that the address is theirs. So there is no password yet, and
    # nothing to find in the account for who does prove it: the link in the mail sets the first one.
    body="""
        declare
          account uuid;
          made uuid;
        begin
          insert into public.users (email, display_name) values (of_email, display)
              on conflict (lower(email)) do nothing returning id into account;
          if account is null then
            return null;
          end if;
          made := public.provision_tenant(new_slug, new_name, account,
            (select a.tier_id from public.account_tiers a where a.is_active
              order by a.sort_order, a.tier_id limit 1));
          perform public.make_link(account, 'reset');
          return made;
        end
    """,
    comment="Creates an account and a tenant of the smallest tier that it owns, and has a link to "
    "set the password mailed; returns the tenant, or NULL if the address has an account.",
)

service_function(
    "accept_invitation",
    "of_hash text, of_jti uuid DEFAULT NULL, of_session text DEFAULT NULL, "
    "display text DEFAULT NULL",
    returns="uuid",
    # The tenant that invites knows the token, too. So it opens no account: an existing one accepts
    # by its session, and a new one gets its password by a link to the address.
    body="""
        declare
          invite record;
          account uuid;
        begin
          select i.* into invite
            from public.invitations i join public.tenants t on t.tenant_id = i.tenant_id
           where i.token_hash = of_hash and i.accepted_at is null and i.revoked_at is null
             and i.expires_at > now() and i.role_id is not null and t.status = 'active'
             for update of i;
          if not found then
            return null;
          end if;
          if of_jti is null then
            insert into public.users (email, display_name) values (invite.email, display)
                on conflict (lower(email)) do nothing returning id into account;
            perform public.make_link(account, 'reset') where account is not null;
          else
            select u.id into account from public.users u
             where u.id = public.session_holder(of_jti, of_session)
               and lower(u.email) = lower(invite.email) and u.email_verified_at is not null;
          end if;
          if account is null then
            return null;
          end if;
          insert into public.tenant_members as m (tenant_id, user_id, status, joined_at)
          values (invite.tenant_id, account, 'active', now())
              on conflict (tenant_id, user_id)
              do update set status = 'active', is_owner = false, joined_at = now()
                  where m.status <> 'active';
          insert into public.user_roles (tenant_id, user_id, role_id, project_id, assigned_by)
          select invite.tenant_id, account, invite.role_id, p.id, invite.invited_by
            from (select null::uuid as id where invite.project_ids = '{}'
                  union all
                  select j.id from public.projects j
                   where j.tenant_id = invite.tenant_id and j.id = any (invite.project_ids)) p
              on conflict do nothing;
          update public.invitations i set accepted_at = now()
           where i.tenant_id = invite.tenant_id and i.id = invite.id;
          return invite.tenant_id;
        end
    """,
    comment="Makes a member by the hash of the token of an invitation; returns the tenant, or "
    "NULL. An account with the invited address shows its session; without an account one is made.",
)
