"""What a server is, and a database in it, as a summary needs them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from ddl.edition import Edition, available, detect


@dataclass(frozen=True)
class ServerInfo:
    """A server and the database of one connection."""

    version: str
    """As the server writes it: `18.4`."""
    version_number: int
    """For comparisons: 180004 is 18.4."""
    edition: Edition
    """The edition in force in this database."""
    available: Edition
    """The edition that this database would have with the extension."""
    timescaledb: str | None
    """The version of the extension in this database."""
    encoding: str
    collation: str
    database: str
    user: str
    superuser: bool
    read_only: bool
    """Whether it is a standby."""


_SERVER = text("""
    select current_setting('server_version') as version,
           current_setting('server_version_num')::int as version_number,
           (select extversion from pg_extension where extname = 'timescaledb') as timescaledb,
           pg_encoding_to_char(d.encoding) as encoding,
           d.datcollate as collation,
           d.datname as database,
           session_user as "user",
           r.rolsuper as superuser,
           pg_is_in_recovery() as read_only
      from pg_database d, pg_roles r
     where d.datname = current_database() and r.rolname = session_user
""")


def server_info(connection: Connection) -> ServerInfo:
    """All about the server and the database of a connection."""
    facts = connection.execute(_SERVER).one()
    return ServerInfo(
        version=facts.version.split(" ")[0],
        version_number=facts.version_number,
        edition=detect(connection),
        available=available(connection),
        timescaledb=facts.timescaledb,
        encoding=facts.encoding,
        collation=facts.collation,
        database=facts.database,
        user=facts.user,
        superuser=facts.superuser,
        read_only=facts.read_only,
    )
