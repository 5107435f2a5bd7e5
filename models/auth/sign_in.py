"""Signing in: with a password, with another issuer, and as a program."""

from __future__ import annotations

from models.auth.functions import LIVE_SESSION, inner_function, service_function

_SESSION = (
    "new_jti uuid, new_hash text, until timestamptz, agent text DEFAULT NULL,"
    " address inet DEFAULT NULL"
)

inner_function(
    "require_hash",
    "given text",
    returns="void",
    body="""
        begin
          if given !~ '^[0-9a-f]{64}$' then
            raise exception 'expected the SHA-256 of a token in lower-case hex, found % characters',
                length(given)
              using errcode = 'invalid_parameter_value',
                    hint = 'Pass encode(sha256(token), ''hex''), never the token.';
          end if;
        end
    """,
    comment="Part of functions of fleet_auth: rejects what cannot be the hash of a token.",
)

inner_function(
    "require_secret",
    "given text",
    returns="void",
    body="""
        begin
          if given !~ '.[$][0-9a-f]{64}$' then
            raise exception 'expected a method with its cost and salt, $, and the SHA-256 of the '
                'derived key in lower-case hex'
              using errcode = 'invalid_parameter_value',
                    hint = 'See auth_identities.secret_hash.';
          end if;
        end
    """,
    comment="Part of functions of fleet_auth: rejects what cannot be the secret of an account.",
)

inner_function(
    "open_session",
    f"of_user uuid, {_SESSION}",
    returns="void",
    body="""
        begin
          perform public.require_hash(new_hash);
          insert into public.sessions (user_id, jti, refresh_hash, expires_at, user_agent, ip)
          values (of_user, new_jti, new_hash, until, agent, address);
        end
    """,
    comment="Part of functions of fleet_auth: stores a new session.",
)

inner_function(
    "session_holder",
    "of_jti uuid, of_hash text",
    returns="uuid",
    body=f"""
        begin
          return (select u.id from public.sessions s join public.users u on u.id = s.user_id
                   where s.jti = of_jti and s.refresh_hash = of_hash and {LIVE_SESSION}
                     and u.is_active and not u.is_system);
        end
    """,
    comment="Part of functions of fleet_auth: whose session this is, or NULL.",
)

# Five failures are free; then the account waits for a minute, and twice as long each time, up to an
# hour. The key is hashed before anything is looked up: the effort is the same for every address.
inner_function(
    "has_password",
    "of_user uuid, of_key text",
    returns="boolean",
    body="""
        declare
          given constant text := encode(sha256(convert_to(of_key, 'UTF8')), 'hex');
          identity record;
        begin
          select i.id, i.secret_hash, i.failed_attempts, i.locked_until into identity
            from public.auth_identities i
           where i.user_id = of_user and i.provider = 'local'
           order by i.id limit 1 for update;
          if not found or identity.locked_until > now() then
            return false;
          elsif substring(identity.secret_hash from '[^$]*$') is distinct from given then
            update public.auth_identities i
               set failed_attempts = i.failed_attempts + 1,
                   locked_until = case when i.failed_attempts >= 5 then now()
                     + least(interval '1 hour',
                             interval '1 minute' * 2 ^ least(i.failed_attempts - 5, 10)) end
             where i.id = identity.id;
            return false;
          end if;
          update public.auth_identities i
             set failed_attempts = 0, locked_until = null, last_login_at = now()
           where i.id = identity.id;
          return true;
        end
    """,
    comment="Part of functions of fleet_auth: whether the key is that of the account's password; "
    "counts failures.",
)

service_function(
    "password_method",
    "of_email text",
    returns="text",
    body="""
        begin
          return (select regexp_replace(i.secret_hash, '[$][^$]*$', '')
                    from public.users u
                    join public.auth_identities i on i.user_id = u.id and i.provider = 'local'
                   where lower(u.email) = lower(of_email) and u.is_active and not u.is_system
                   order by i.id limit 1);
        end
    """,
    comment="How to derive the key from the password of one account: method, cost and salt. NULL "
    "without a password: derive one all the same, so that the time tells nothing.",
)

service_function(
    "sign_in",
    f"of_email text, of_key text, {_SESSION}",
    returns="uuid",
    body="""
        declare
          account uuid;
        begin
          select u.id into account from public.users u
           where lower(u.email) = lower(of_email) and u.is_active and not u.is_system;
          if not public.has_password(account, of_key) then
            return null;
          end if;
          perform public.open_session(account, new_jti, new_hash, until, agent, address);
          return account;
        end
    """,
    comment="Opens a session for who has the key of the password; returns users.id, or NULL. "
    "new_hash: of the refresh token. Commit in either case: failures count.",
)

service_function(
    "sign_in_with_provider",
    f"of_provider text, subject text, {_SESSION}",
    returns="uuid",
    body="""
        declare
          account uuid;
        begin
          update public.auth_identities i set last_login_at = now()
            from public.users u
           where i.provider = of_provider and i.provider_user_id = subject
             and i.provider <> 'local'
             and u.id = i.user_id and u.is_active and not u.is_system
          returning i.user_id into account;
          if account is not null then
            perform public.open_session(account, new_jti, new_hash, until, agent, address);
          end if;
          return account;
        end
    """,
    comment="Opens a session for an account at another issuer; returns users.id, or NULL. The "
    "database cannot verify the issuer's signature: the service vouches for it.",
)

service_function(
    "use_api_key",
    "of_hash text",
    returns="TABLE(tenant_id uuid, api_key_id uuid, scopes text[])",
    body="""
        begin
          update public.api_keys k set last_used_at = now()
           where k.key_hash = of_hash
             and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute');
          return query
            select k.tenant_id, k.id, k.scopes
              from public.api_keys k join public.tenants t on t.tenant_id = k.tenant_id
             where k.key_hash = of_hash and k.revoked_at is null
               and (k.expires_at is null or k.expires_at > now()) and t.status = 'active';
        end
    """,
    comment="The tenant and the scopes of a valid API key, by its hash; notes the use, once a "
    "minute.",
)
