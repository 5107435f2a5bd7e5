"""CHECKs that reject secrets in settings and addresses, as far as they can recognize them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint

from ddl.sql import ident

_KEYS = (
    "passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key"
    "|integration_?key|webhook_?url|community"
)
_OBJECTS = '$.** ? (@.type() == "object").keyvalue()'


def no_secrets(column: str, *, later: bool = False) -> CheckConstraint:
    """A CHECK that rejects keys such as password or token at any depth, and URLs with a password.

    Incoming webhooks of chat services count as secrets, since knowing their address is enough to
    post. Keys that end in ``_ref`` are allowed: they name an entry of the secret store.

    Args:
        later: the table had rows before the CHECK; they stay as they are.
    """
    named = f'{_OBJECTS} ? (@.key like_regex "{_KEYS}" flag "i" && !(@.key like_regex "_ref$"))'
    address = '$.** ? (@ like_regex "://[^/?#@]*:[^/?#@]+@")'
    return CheckConstraint(
        f"NOT jsonb_path_exists({ident(column)}, '{named}'::jsonpath)"
        f" AND NOT jsonb_path_exists({ident(column)}, '{address}'::jsonpath)",
        name=f"{column}_without_secrets",
        postgresql_not_valid=later,
    )


def no_password(column: str, *, later: bool = False) -> CheckConstraint:
    """A CHECK that rejects an address with ``user:password@``; ``later`` as for `no_secrets`."""
    return CheckConstraint(
        f"{ident(column)} !~ '://[^/?#@]*:[^/?#@]+@'",
        name=f"{column}_without_password",
        postgresql_not_valid=later,
    )
