"""Which edition of TimescaleDB a revision runs on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

POSTGRESQL, APACHE, COMMUNITY = "postgresql", "timescaledb-apache", "timescaledb-community"
_RANK = {POSTGRESQL: 0, APACHE: 1, COMMUNITY: 2}


def suffices(edition: str, needed: str) -> bool:
    """True where ``edition`` can do what ``needed`` can."""
    return _RANK[edition] >= _RANK[needed]


def detect(connection: Connection) -> str:
    """The edition in force: the extension must exist in this database, not only on the server."""
    license_name = connection.scalar(
        sa.text(
            "SELECT current_setting('timescaledb.license', true)"
            " FROM pg_extension WHERE extname = 'timescaledb'"
        )
    )
    if license_name is None:
        return POSTGRESQL
    return APACHE if license_name == "apache" else COMMUNITY


def edition_of(context: MigrationContext) -> str:
    """The edition that ``context`` runs on: what its option ``edition`` says, else the server.

    Offline there is no server to ask; then it is Community.
    """
    given = context.opts.get("edition")
    if given is None:
        given = COMMUNITY if context.as_sql or context.bind is None else detect(context.bind)
    return str(given)
