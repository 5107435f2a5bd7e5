"""Whether a database is signed: which of its two bodies ``current_tenant()`` has."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import Declared
from ddl.kinds.function import FunctionState, alternative, create_function
from ddl.sql import send
from models import metadata

_IS_SIGNED = sa.text("""
    SELECT pg_get_function_sqlbody(oid) LIKE '%verified_tenant()%' FROM pg_proc
     WHERE oid = to_regprocedure('public.current_tenant()')
""")


def is_signed(connection: Connection) -> bool:
    """Whether tenants need a token; False for a database without the function."""
    return bool(connection.scalar(_IS_SIGNED))


def set_signed(connection: Connection, *, signed: bool) -> None:
    """Give ``current_tenant()`` the body, in force for all when the transaction commits."""
    plain = Declared.on(metadata).of(FunctionState)["public", "current_tenant", ""]
    other = alternative(metadata, plain)
    assert other is not None
    send(connection, create_function(other if signed else plain, replace=True))
