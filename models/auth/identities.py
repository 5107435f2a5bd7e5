"""Ways to sign in, login sessions, and one-time links."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Grant
from models.shared.base import NOW, ZERO, Base, Identified, Private, Timestamped, not_empty, one_of


class AuthIdentity(Private, Identified, Timestamped, Base):
    """One way of signing in to an account."""

    __tablename__ = "auth_identities"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(comment="'local', 'keycloak' or another issuer.")
    provider_user_id: Mapped[str] = mapped_column(
        comment="The account at the provider: the subject, or the local login name."
    )
    secret_hash: Mapped[str | None] = mapped_column(
        deferred=True,
        comment="Only for 'local': how the application derives a key from the password (method, "
        "cost and salt, such as $argon2id$v=19$m=65536,t=3,p=4$SALT), $, and the SHA-256 of the "
        "key in hex. Who signs in has the key, and nobody need read this.",
    )
    failed_attempts: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Failures since the last success."
    )
    locked_until: Mapped[datetime.datetime | None]
    last_login_at: Mapped[datetime.datetime | None]

    __table_args__ = (
        UniqueConstraint("provider", "provider_user_id"),
        Index(None, "user_id"),
        CheckConstraint("provider ~ '^[a-z][a-z0-9_-]*$'", name="provider"),
        not_empty("provider_user_id"),
        CheckConstraint("(provider = 'local') = (secret_hash IS NOT NULL)", name="secret_hash"),
        CheckConstraint("failed_attempts >= 0", name="failed_attempts"),
        Grant(
            "select (id, user_id, provider, provider_user_id, failed_attempts, locked_until,"
            " last_login_at, created_at, updated_at), update (failed_attempts, locked_until),"
            " delete",
            to="fleet_operator",
        ),
        Grant(
            "select (id, user_id, provider, provider_user_id, failed_attempts, locked_until,"
            " last_login_at, created_at, updated_at)",
            to="fleet_operator_read",
        ),
        {"comment": "Ways of signing in to an account, one row per provider."},
    )


class LoginSession(Private, Identified, Timestamped, Base):
    """A signed-in client; its refresh token is replaced on every use."""

    __tablename__ = "sessions"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    active_tenant_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="The tenant that the session is working in."
    )
    jti: Mapped[uuid.UUID] = mapped_column(comment="Identifier in the refresh token.")
    refresh_hash: Mapped[str] = mapped_column(deferred=True, comment="Hash of the refresh token.")
    user_agent: Mapped[str | None]
    ip: Mapped[str | None] = mapped_column(INET)
    expires_at: Mapped[datetime.datetime]
    last_activity_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    revoked_at: Mapped[datetime.datetime | None]
    replaced_by_jti: Mapped[uuid.UUID | None] = mapped_column(
        comment="The token that replaced this one; if this one is used again, it was stolen."
    )

    __table_args__ = (
        ForeignKeyConstraint(
            ["active_tenant_id", "user_id"],
            ["tenant_members.tenant_id", "tenant_members.user_id"],
            ondelete="SET NULL (active_tenant_id)",
        ),
        UniqueConstraint("jti"),
        Index(None, "user_id", "expires_at"),
        Index(None, "active_tenant_id", "user_id"),
        Index(None, "last_activity_at", postgresql_where=text("revoked_at IS NULL")),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint("replaced_by_jti <> jti", name="replaced_by_jti"),
        Grant(
            "select (id, user_id, active_tenant_id, jti, user_agent, ip, expires_at,"
            " last_activity_at, revoked_at, replaced_by_jti, created_at, updated_at),"
            " update (revoked_at), delete",
            to="fleet_operator",
        ),
        Grant(
            "select (id, user_id, active_tenant_id, jti, user_agent, ip, expires_at,"
            " last_activity_at, revoked_at, replaced_by_jti, created_at, updated_at)",
            to="fleet_operator_read",
        ),
        {"comment": "Signed-in clients and their refresh tokens."},
    )


SAME_MAILBOX = r"regexp_replace(lower(email), '\s', '', 'g')"
"""Equal for spellings of one address; accounts are unique by its first half."""


class PasswordResetToken(Private, Identified, Timestamped, Base):
    """A link sent by e-mail to set a password or verify an address."""

    __tablename__ = "password_reset_tokens"

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[str | None] = mapped_column(
        deferred=True,
        comment="Hash of the token in the link. NULL: the mailer has not taken it yet.",
    )
    purpose: Mapped[str] = mapped_column(comment="Set a password, or verify the address.")
    email: Mapped[str | None] = mapped_column(
        comment="The new address to verify; NULL: the address of the account."
    )
    expires_at: Mapped[datetime.datetime] = mapped_column(
        server_default=text("now() + interval '1 hour'"),
        comment="Defaults to one hour after creation.",
    )
    used_at: Mapped[datetime.datetime | None] = mapped_column(comment="A token can be used once.")

    __table_args__ = (
        UniqueConstraint("token_hash"),
        Index(None, "user_id"),
        Index(None, "created_at", postgresql_where=text("token_hash IS NULL")),
        Index(
            "ix_password_reset_tokens_mailbox",
            text(SAME_MAILBOX),
            postgresql_where=text("email IS NOT NULL"),
        ),
        one_of("purpose", ("reset", "verify")),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint("position('@' in email) > 1", name="email"),
        Grant(
            "select (id, user_id, purpose, email, expires_at, used_at, created_at, updated_at),"
            " delete",
            to="fleet_operator",
        ),
        Grant(
            "select (id, user_id, purpose, email, expires_at, used_at, created_at, updated_at)",
            to="fleet_operator_read",
        ),
        {"comment": "One-time links for resetting a password or verifying an address."},
    )
