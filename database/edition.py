"""What a server can do: which edition of TimescaleDB a database has, or could have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, text


class Edition(StrEnum):
    """What a database offers to the time-series part of the schema."""

    POSTGRESQL = "postgresql"
    APACHE = "timescaledb-apache"
    COMMUNITY = "timescaledb-community"

    @property
    def has_hypertables(self) -> bool:
        """Whether there are hypertables."""
        return self is not Edition.POSTGRESQL

    @property
    def has_policies(self) -> bool:
        """Whether there are columnstores, rollups, and jobs that the server runs itself."""
        return self is Edition.COMMUNITY


@dataclass(frozen=True)
class ServerInfo:
    """A server and a database in it, as a summary needs them."""

    version: str
    """As the server writes it: `18.4`."""
    version_number: int
    """For comparisons: 180004 is 18.4."""
    edition: Edition
    available: Edition
    timescaledb: str | None
    """The version of the extension in this database."""
    encoding: str
    collation: str
    database: str
    user: str
    superuser: bool
    read_only: bool
    """Whether it is a standby."""


# Settings of a library that is loaded stand in pg_settings; a mere mention in postgresql.conf
# does not, although current_setting() would show it. Every role may read these, which does not
# hold for shared_preload_libraries.
_FACTS = text("""
    select (select extversion from pg_extension where extname = 'timescaledb') as created,
           (select comment from pg_available_extensions
             where name = 'timescaledb') as available,
           exists (select from pg_settings
                    where name = 'timescaledb.max_background_workers') as preloaded,
           (select setting from pg_settings where name = 'timescaledb.license') as license,
           current_setting('timescaledb.license', true) as configured_license
""")

_SERVER = text("""
    select current_setting('server_version') as version,
           current_setting('server_version_num')::int as version_number,
           pg_encoding_to_char(d.encoding) as encoding,
           d.datcollate as collation,
           d.datname as database,
           session_user as "user",
           r.rolsuper as superuser,
           pg_is_in_recovery() as read_only
      from pg_database d, pg_roles r
     where d.datname = current_database() and r.rolname = session_user
""")


def detect(connection: Connection) -> Edition:
    """The edition of this database: TimescaleDB counts if it is created here and preloaded."""
    facts = connection.execute(_FACTS).one()
    if facts.created is None or facts.license is None:
        return Edition.POSTGRESQL
    return _edition(facts.license)


def available(connection: Connection) -> Edition:
    """The edition that this database would have once the extension is created in it.

    Where the licence shows only then, Community is assumed: an Apache-only build says so in the
    extension's comment.
    """
    facts = connection.execute(_FACTS).one()
    if not facts.preloaded or (facts.created is None and facts.available is None):
        return Edition.POSTGRESQL
    if facts.license is not None:
        return _edition(facts.license)
    if "Apache" in (facts.available or ""):
        return Edition.APACHE
    return _edition(facts.configured_license or "timescale")


def server_info(connection: Connection) -> ServerInfo:
    """All about the server and the database of a connection."""
    facts = connection.execute(_SERVER).one()
    created = connection.execute(_FACTS).one().created
    return ServerInfo(
        version=facts.version.split(" ")[0],
        version_number=facts.version_number,
        edition=detect(connection),
        available=available(connection),
        timescaledb=created,
        encoding=facts.encoding,
        collation=facts.collation,
        database=facts.database,
        user=facts.user,
        superuser=facts.superuser,
        read_only=facts.read_only,
    )


def _edition(license_name: str) -> Edition:
    return Edition.APACHE if license_name == "apache" else Edition.COMMUNITY
