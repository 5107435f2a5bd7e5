"""The table schema_history: what was applied, when, by whom, how long, from which file.

It is made before the first revision and survives ``downgrade base``; no revision and no
application role touches it.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from database.migration.revisions import RevisionError, Revisions
from ddl.edition import Edition
from ddl.sql import comment_on, literal

_DIRECTIONS = "direction IN ('upgrade', 'downgrade', 'stamp', 'convert')"

schema_history = sa.Table(
    "schema_history",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("direction", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("applied_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("duration_ms", sa.BigInteger),
    sa.Column("applied_by", sa.Text, nullable=False),
    sa.Column("server_version", sa.Text, nullable=False),
    sa.Column("edition", sa.Text, nullable=False),
    sa.CheckConstraint(_DIRECTIONS, name="schema_history_direction_check"),
)


def creation() -> list[str]:
    """The statements that make the table where it is missing."""
    create = CreateTable(schema_history, if_not_exists=True)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return [
        str(create.compile(dialect=dialect)).strip(),
        comment_on(
            "TABLE schema_history",
            "One row per revision applied or taken back; written by the migration runner.",
        ),
    ]


def renewal() -> list[str]:
    """The statements that let a table of an older release record a conversion."""
    name = "schema_history_direction_check"
    return [
        f"ALTER TABLE schema_history DROP CONSTRAINT IF EXISTS {name}",
        f"ALTER TABLE schema_history ADD CONSTRAINT {name} CHECK ({_DIRECTIONS})",
    ]


def entry(
    revision: str, direction: str, checksum: str, edition: Edition, duration_ms: int | None
) -> str:
    """The INSERT for one step; the server adds who, when and its version."""
    duration = "NULL" if duration_ms is None else str(duration_ms)
    return (
        "INSERT INTO schema_history (revision, direction, checksum, applied_at, duration_ms,"
        " applied_by, server_version, edition) VALUES ("
        f"{literal(revision)}, {literal(direction)}, {literal(checksum)}, clock_timestamp(),"
        f" {duration}, session_user, current_setting('server_version'), {literal(edition)})"
    )


def verify(connection: Connection, revisions: Revisions, applied: str | None) -> str:
    """Compare the files of the applied revisions with what was applied.

    Args:
        applied: the revision of the database, None at base.

    Returns:
        A warning about files that changed since, where none of them is released; else empty.

    Raises:
        RevisionError: the file of a released revision differs from what was applied here.
    """
    if applied is None or not sa.inspect(connection).has_table(schema_history.name):
        return ""
    newest = sa.text(
        "SELECT DISTINCT ON (revision) revision, checksum FROM schema_history"
        " WHERE direction = 'upgrade' ORDER BY revision, id DESC"
    )
    recorded = {row.revision: row.checksum for row in connection.execute(newest)}
    done = [revision for revision in revisions.files if revision <= applied]
    changed = [
        revision
        for revision in done
        if revision in recorded and recorded[revision] != revisions.checksum(revision)
    ]
    if not changed:
        return ""
    steps = len(done) - done.index(changed[0])
    renewal = f"in development, run: alembic downgrade -{steps} && alembic upgrade head"
    released = revisions.released()
    for revision in changed:
        if revision in released:
            raise RevisionError(
                f"{revisions.files[revision].name}: expected the text that this database was "
                f"upgraded with, found the one that was released: {renewal}"
            )
    names = ", ".join(revisions.files[revision].name for revision in changed)
    return f"{names} changed after this database was upgraded with it: {renewal}"
