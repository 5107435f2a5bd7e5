"""Whether a database is signed: which of its two bodies ``current_tenant()`` has."""

from __future__ import annotations

import sqlalchemy as sa
from psycopg import errors
from sqlalchemy import Connection

from database.errors import cause
from ddl import Declared
from ddl.kinds.function import FunctionState, alternative, create_function
from ddl.sql import send
from models import metadata

_IS_SIGNED = sa.text("""
    SELECT pg_get_function_sqlbody(oid) LIKE '%verified_tenant()%' FROM pg_proc
     WHERE oid = to_regprocedure('public.current_tenant()')
""")


_VERIFIES = "verified_tenant"


def needed(error: BaseException) -> str | None:
    """What to do about an error because the database is signed; None for any other error."""
    refused = cause(error)
    if not isinstance(refused, errors.DependentObjectsStillExist):
        return None
    if f" {_VERIFIES}(" not in (refused.diag.message_primary or ""):
        return None
    return (
        f"the function {_VERIFIES}() is in use: expected a plain database, found a signed one; run "
        "`python -m operations context plain`, then the same command again. Applications that sign "
        "work on; the keys go with their table"
    )


def is_signed(connection: Connection) -> bool:
    """Whether tenants need a token; False for a database without the function."""
    return bool(connection.scalar(_IS_SIGNED))


def set_signed(connection: Connection, *, signed: bool) -> None:
    """Give ``current_tenant()`` the body, in force for all when the transaction commits."""
    plain = Declared.on(metadata).of(FunctionState)["public", "current_tenant", ""]
    other = alternative(metadata, plain)
    assert other is not None
    send(connection, create_function(other if signed else plain, replace=True))
