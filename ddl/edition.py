"""Editions: how much of TimescaleDB a database has, and how to find out.

The edition is a property of a database, not of the server: TimescaleDB counts where its extension
exists in the database and its library is loaded.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection


class Edition(StrEnum):
    """PostgreSQL alone, or with one of the two editions of TimescaleDB; each can do more."""

    POSTGRESQL = "postgresql"
    APACHE = "timescaledb-apache"
    COMMUNITY = "timescaledb-community"

    @property
    def has_hypertables(self) -> bool:
        """Whether there are hypertables."""
        return self is not Edition.POSTGRESQL

    @property
    def has_policies(self) -> bool:
        """Whether there are columnstores, continuous aggregates, and jobs of the server."""
        return self is Edition.COMMUNITY


POSTGRESQL, APACHE, COMMUNITY = Edition

_RANK = {edition: rank for rank, edition in enumerate(Edition)}

# Settings of a library that is loaded stand in pg_settings; a mere mention in postgresql.conf
# does not, although current_setting() would show it. Every role may read these, which does not
# hold for shared_preload_libraries.
_FACTS = sa.text("""
    select exists (select from pg_extension where extname = 'timescaledb') as created,
           (select comment from pg_available_extensions
             where name = 'timescaledb') as available,
           exists (select from pg_settings
                    where name = 'timescaledb.max_background_workers') as preloaded,
           (select setting from pg_settings where name = 'timescaledb.license') as license,
           current_setting('timescaledb.license', true) as configured_license
""")


# The licence says that the library is loaded. Asked often: so only where there is the extension,
# and without the files of those that could be created.
_LICENSE_IN_FORCE = sa.text("""
    select (select setting from pg_settings where name = 'timescaledb.license')
      from pg_extension where extname = 'timescaledb'
""")


def suffices(edition: str, needed: str) -> bool:
    """True where ``edition`` can do what ``needed`` can."""
    return _RANK[Edition(edition)] >= _RANK[Edition(needed)]


def detect(connection: Connection) -> Edition:
    """The edition in force in the database of ``connection``."""
    license_name = connection.scalar(_LICENSE_IN_FORCE)
    return POSTGRESQL if license_name is None else _licensed(license_name)


def available(connection: Connection) -> Edition:
    """The edition that the database would have once the extension is created in it.

    Where the licence shows only then, Community is assumed: an Apache-only build says so in the
    extension's comment.
    """
    facts = connection.execute(_FACTS).one()
    if not facts.preloaded or not (facts.created or facts.available is not None):
        return POSTGRESQL
    if facts.license is not None:
        return _licensed(facts.license)
    if "Apache" in (facts.available or ""):
        return APACHE
    return _licensed(facts.configured_license or "timescale")


def edition_of(context: MigrationContext) -> str:
    """The edition that ``context`` runs on: what its option ``edition`` says, else the server.

    Offline, with no server to ask, it is Community.
    """
    given = context.opts.get("edition")
    if given is None:
        given = COMMUNITY if context.as_sql or context.bind is None else detect(context.bind)
    return str(given)


def _licensed(license_name: str) -> Edition:
    return APACHE if license_name == "apache" else COMMUNITY
