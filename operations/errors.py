"""What the server says of an error, for messages."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError


def server_message(error: DBAPIError) -> str:
    """The server's own words in one line: what, which rows, and its hint."""
    diagnosis = getattr(error.orig, "diag", None)
    said = [
        diagnosis and diagnosis.message_primary,
        diagnosis and diagnosis.message_detail,
        diagnosis and diagnosis.message_hint,
    ]
    # An error of the connection has no diagnosis.
    found = [text.rstrip(".") for text in said if text] or [str(error.orig).strip()]
    return ". ".join(found).replace("\n", " ")
