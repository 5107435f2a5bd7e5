"""A CHECK that rejects secrets in JSON settings, as far as it can recognize them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint

from ddl.sql import ident

_KEYS = (
    "passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key"
    "|integration_?key|webhook_?url|community"
)
_OBJECTS = '$.** ? (@.type() == "object").keyvalue()'


def no_secrets(column: str) -> CheckConstraint:
    """A CHECK that rejects keys such as password or token at any depth, and URLs with a password.

    Incoming webhooks of chat services count as secrets, since knowing their address is enough to
    post. Keys that end in ``_ref`` are allowed: they name an entry of the secret store.
    """
    named = f'{_OBJECTS} ? (@.key like_regex "{_KEYS}" flag "i" && !(@.key like_regex "_ref$"))'
    address = '$.** ? (@ like_regex "://[^/?#@]*:[^/?#@]+@")'
    return CheckConstraint(
        f"NOT jsonb_path_exists({ident(column)}, '{named}'::jsonpath)"
        f" AND NOT jsonb_path_exists({ident(column)}, '{address}'::jsonpath)",
        name=f"{column}_without_secrets",
    )
