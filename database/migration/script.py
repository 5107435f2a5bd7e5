"""The whole deploy as SQL for psql: extension, roles, history, revisions, privileges."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from sqlalchemy.schema import CreateTable

from database import hardening, privileges, roles
from database.migration import held_jobs, history
from database.migration.preparation import PreparationError
from database.settings import Settings
from ddl import buckets, session
from ddl.edition import Edition


def before(edition: Edition, settings: Settings, *, down: bool) -> list[str]:
    """The statements that come before the revisions, upwards or ``down``."""
    # Seconds, not minutes: psql stops at the error and nothing of that revision is kept.
    settings_of_session = [
        "SET search_path = public",
        session.fix(),
        f"SET lock_timeout = '{round(settings.migration_lock_timeout * 1000)}ms'",
    ]
    held = [held_jobs.PAUSE] if edition is Edition.COMMUNITY else []
    if down:
        return [*settings_of_session, *held]
    prepared = [*extension(edition), *history.creation(), *roles.creation()]
    return [*settings_of_session, *prepared, *held]


def after(edition: Edition, *, down: bool, to_base: bool) -> list[str]:
    """The statements that come after the revisions."""
    resumed = [held_jobs.RESUME] if edition is Edition.COMMUNITY else []
    if not down:
        return [*resumed, privileges.application(), hardening.where_superuser()]
    if not to_base:
        return resumed
    return [*resumed, privileges.removal(), hardening.removal(), buckets.removal(), roles.removal()]


def write(migration: MigrationContext, statements: list[str]) -> None:
    """Add statements to the script."""
    for statement in statements:
        migration.execute(sa.text(statement.replace(":", r"\:")))


def create_version_table_if_missing(migration: MigrationContext) -> None:
    """Offline, Alembic creates alembic_version from base on although a downgrade keeps it."""
    table = migration._version

    def create(bind: Any, **_: Any) -> None:
        bind.execute(CreateTable(table, if_not_exists=True))

    table.create = create  # type: ignore[assignment,method-assign]


def extension(edition: Edition) -> list[str]:
    """The statements that make sure of ``edition``, or of what stands in for TimescaleDB."""
    if edition is Edition.POSTGRESQL:
        return [buckets.creation()]
    wrong = (
        f"RAISE EXCEPTION 'this script is for edition {edition}, which this server does not have'"
        " USING HINT = 'Write the script for what it has: alembic -x edition=postgresql (or"
        " timescaledb-apache) upgrade head --sql'"
    )
    statements = [
        f"""DO $edition$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') THEN
        {wrong};
    END IF;
END $edition$""",
        "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public",
    ]
    if edition is Edition.COMMUNITY:
        statements.append(
            f"""DO $edition$ BEGIN
    IF current_setting('timescaledb.license') = 'apache' THEN
        {wrong};
    END IF;
END $edition$"""
        )
    return statements


def parse_edition(text: str | None) -> Edition:
    """The edition that ``-x edition=…`` names; TimescaleDB Community where it says none.

    Raises:
        PreparationError: there is no such edition.
    """
    if text is None:
        return Edition.COMMUNITY
    try:
        return Edition(text)
    except ValueError:
        known = ", ".join(Edition)
        raise PreparationError(f"-x edition: expected one of {known}, found {text}") from None
