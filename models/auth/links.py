"""One-time links. The database makes their tokens when the mailer takes them, and keeps the hashes.

Whoever asks for a link proves nothing. So the sign-in service, which asks for anybody, must not
learn the token: with it, it could take any account.
"""

from __future__ import annotations

from ddl import Function
from models.auth.functions import NO_NEW_SESSION, VOID_LINK, inner_function, service_function
from models.auth.identities import SAME_MAILBOX
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

MOST_ADDRESSES = 5
"""Links to new addresses, by one account in an hour, that nobody followed."""


def _address(email: str) -> str:
    """What is one mailbox, by case and spaces."""
    return SAME_MAILBOX.replace("email", email)


# By the purpose: else mails to a new address would keep its owner from setting a password. By the
# locks requests of one moment see each other; locks of rows would deadlock with reset_password.
inner_function(
    "make_link",
    "of_user uuid, for_purpose text, to_email text DEFAULT NULL",
    returns="void",
    body=f"""
        declare
          own text;
          address text;
        begin
          select {_address("u.email")} into own
            from public.users u where u.id = of_user;
          address := coalesce({_address("to_email")}, own);
          perform pg_advisory_xact_lock(hashtextextended('mail to ' || address, 0));
          perform pg_advisory_xact_lock(hashtextextended('mail of ' || of_user, 0));
          if exists (select from public.password_reset_tokens t
                      where {_address("t.email")} = address and t.purpose = for_purpose
                        and t.used_at is null and t.created_at > now() - interval '1 minute')
             or own = address and exists (
                  select from public.password_reset_tokens t
                   where t.user_id = of_user and t.email is null and t.purpose = for_purpose
                     and t.used_at is null and t.created_at > now() - interval '1 minute')
             or for_purpose = 'verify' and {MOST_ADDRESSES} <= (
                  select count(*) from public.password_reset_tokens t
                   where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null
                     and t.created_at > now() - interval '1 hour') then
            return;  -- one a minute fills no mailbox
          end if;
          delete from public.password_reset_tokens t
           where t.user_id = of_user and t.used_at is null
             and t.created_at <= now() - interval '1 hour';
          update public.password_reset_tokens t {VOID_LINK}
           where t.user_id = of_user and t.purpose = for_purpose and t.used_at is null;
          insert into public.password_reset_tokens (user_id, purpose, email)
          values (of_user, for_purpose, to_email);
        end
    """,
    comment="Part of functions of fleet_auth: asks for a one-time link in place of an unused one; "
    "of one purpose not twice a minute to an address, nor from one account to more than "
    f"{MOST_ADDRESSES} new addresses in an hour.",
)

service_function(
    "request_password_reset",
    "of_email text",
    returns="void",
    body="""
        begin
          perform public.make_link(u.id, 'reset') from public.users u
            where lower(u.email) = lower(of_email) and u.is_active and not u.is_system;
        end
    """,
    comment="Has a link to set the password mailed to the account with this address, if there is "
    "one; does not say whether.",
)

service_function(
    "reset_password",
    "of_hash text, new_secret text",
    returns="boolean",
    body=f"""
        declare
          account uuid;
        begin
          perform public.require_secret(new_secret);
          update public.password_reset_tokens t set used_at = now()
            from public.users u
           where t.token_hash = of_hash and t.purpose = 'reset' and t.used_at is null
             and t.expires_at > now() and u.id = t.user_id and u.is_active and not u.is_system
          returning t.user_id into account;
          if account is null then
            return false;
          end if;
          update public.auth_identities i
             set secret_hash = new_secret, failed_attempts = 0, locked_until = null
           where i.user_id = account and i.provider = 'local';
          if not found then
            insert into public.auth_identities (user_id, provider, provider_user_id, secret_hash)
            values (account, 'local', account::text, new_secret);
          end if;
          update public.users u set email_verified_at = now()
           where u.id = account and u.email_verified_at is null;
          {NO_NEW_SESSION}
          update public.sessions s set revoked_at = now()
           where s.user_id = account and s.revoked_at is null;
          update public.password_reset_tokens t {VOID_LINK}
           where t.user_id = account and t.used_at is null;
          return true;
        end
    """,
    comment="Sets the password by the hash of the token in a link, which also verifies the "
    "address; revokes all sessions and other links.",
)

service_function(
    "request_email_change",
    "of_jti uuid, of_hash text, of_key text, new_email text",
    returns="boolean",
    body="""
        declare
          account constant uuid := public.session_holder(of_jti, of_hash);
        begin
          if not public.has_password(account, of_key) then
            return false;
          end if;
          perform public.make_link(account, 'verify', new_email);
          return true;
        end
    """,
    comment="Has a link mailed to a new address, for who has the session and the key of the "
    "password; the address changes with confirm_email().",
)

# The session too: else an owner of the address who follows the link gives it to another's account.
service_function(
    "confirm_email",
    "of_jti uuid, of_hash text, of_token text",
    returns="boolean",
    body=f"""
        declare
          account constant uuid := public.session_holder(of_jti, of_hash);
          link record;
        begin
          update public.password_reset_tokens t set used_at = now()
            from public.users u
           where t.token_hash = of_token and t.purpose = 'verify' and t.used_at is null
             and t.expires_at > now() and u.id = t.user_id and u.id = account
          returning t.user_id, coalesce(t.email, u.email) as email into link;
          if link.user_id is null then
            return false;
          end if;
          begin
            update public.users u set email = link.email, email_verified_at = now()
             where u.id = link.user_id;
          exception when unique_violation then
            return false;  -- by now another account has this address
          end;
          update public.password_reset_tokens t {VOID_LINK}
           where t.user_id = link.user_id and t.used_at is null;
          return true;
        end
    """,
    comment="Verifies an address, or changes to it, by the session and the hash of the token in a "
    "link (of_token); voids links that went to the old one.",
)

# Two version 4 ids have 244 bits from the server's strong source.
Function(
    "take_account_mail",
    "most integer DEFAULT 100",
    returns="TABLE(email text, display_name text, purpose text, token text, "
    "expires_at timestamptz)",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        begin
          return query
            with asked as materialized (
              select t.id, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
                       as made
                from public.password_reset_tokens t
               where t.token_hash is null and t.expires_at > now()
               order by t.created_at limit most for update skip locked
            )
            update public.password_reset_tokens t
               set token_hash = encode(sha256(convert_to(a.made, 'UTF8')), 'hex'),
                   expires_at = now() + interval '1 hour'
              from asked a, public.users u
             where t.id = a.id and u.id = t.user_id
            returning coalesce(t.email, u.email), left(u.display_name, 1024), t.purpose, a.made,
                      t.expires_at;
        end
    """,
    security_definer=True,
    reason="The mailer makes the tokens of links, and reads nothing else of them.",
    grants={"fleet_operator": "execute"},
    comment="Links to mail: address, name, purpose (reset, verify), and a new token for each. Send "
    "them, then commit: the database has hashes only. Not mailed within an hour, a link lapses.",
    metadata=Base.metadata,
)
