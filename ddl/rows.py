"""How many rows a relation holds, for a person who is about to lose them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql
from ddl.base import Key

COUNTED = 100_000
"""Rows up to which they are counted; it must not take long."""

_ABOUT = sa.text("""
SELECT row_security_active(c.oid) AS hidden,
       greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::bigint AS estimate
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE (n.nspname, c.relname) = (:schema, :name) AND c.relkind IN ('r', 'p', 'm', 'v')
""")


def rows(connection: Connection, relation: Key, column: str | None = None) -> str:
    """``no rows``, ``1,204 rows``; of a column those that have a value. Empty if unknown.

    Where row-level security hides rows from the role that asks, or there are more than
    :data:`COUNTED`, it is the server's own estimate.
    """
    schema, name = relation
    about = connection.execute(_ABOUT, {"schema": schema, "name": name}).one_or_none()
    if about is None:
        return ""
    if about.hidden:
        return f"about {about.estimate:,} rows"
    where = f" WHERE {sql.ident(column)} IS NOT NULL" if column else ""
    query = f"SELECT count(*) FROM (SELECT FROM {sql.ident(schema)}.{sql.ident(name)}{where}"
    attempt = connection.begin_nested()
    try:
        found: int = connection.exec_driver_sql(
            f"{query} LIMIT {COUNTED + 1}) counted", execution_options={"no_parameters": True}
        ).scalar_one()
    except sa.exc.DBAPIError:
        # The loss is reported all the same, only not how large it is.
        attempt.rollback()
        return ""
    attempt.commit()
    if found > COUNTED:
        return f"more than {COUNTED:,} rows"
    return f"{found:,} row{'' if found == 1 else 's'}" if found else "no rows"
