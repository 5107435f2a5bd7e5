"""Settings that must not hold a secret: what a CHECK can recognise, it refuses."""

from __future__ import annotations

from sqlalchemy import CheckConstraint

_KEYS = (
    "passw|secret|token|credential|authorization|api_?key|private_?key|routing_?key"
    "|integration_?key|webhook_?url|community"
)
_OBJECTS = '$.** ? (@.type() == "object").keyvalue()'


def no_secrets(column: str) -> CheckConstraint:
    """JSON without keys such as password or token at any depth, and no URL with a password.

    The incoming webhooks of chat services count: who knows the address may post there. Keys that
    end in ``_ref`` name an entry of the secret store and are welcome.
    """
    named = f'{_OBJECTS} ? (@.key like_regex "{_KEYS}" flag "i" && !(@.key like_regex "_ref$"))'
    address = '$.** ? (@ like_regex "://[^/?#@]*:[^/?#@]+@")'
    return CheckConstraint(
        f"NOT jsonb_path_exists({column}, '{named}'::jsonpath)"
        f" AND NOT jsonb_path_exists({column}, '{address}'::jsonpath)",
        name=f"{column}_without_secrets",
    )
