"""The schema: its revision, what differs from the models, and the SQL that mends each of it."""

from __future__ import annotations

import io
from collections.abc import Iterator

from alembic.autogenerate.api import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrationScript
from sqlalchemy import Connection

import ddl
import models
from database import security
from database.errors import FleetSchemaError
from database.migration import checks, history
from database.migration.rehearsal import script_context
from database.migration.runner import is_ours
from ddl.differences import Difference
from ddl.effects import effects
from ddl.kinds.unmanaged import kept
from ddl.shorten import shorten
from operations.revisions.project import project_revisions
from operations.verification.finding import Finding

OWNER, SUPERUSER = "the owner", "a superuser"
UPGRADE = "alembic upgrade head"


def revision(connection: Connection) -> Iterator[Finding]:
    """The database is at the head, and was brought there by the files that are here."""
    revisions = project_revisions()
    applied = MigrationContext.configure(connection).get_current_heads()
    name = f"database {connection.engine.url.database}"
    try:
        revisions.verify()
        checks.is_known(connection, revisions, applied)
        checks.is_at_head(connection, revisions, applied)
        checks.has_roles(connection)
        checks.has_extensions(connection, models.metadata)
        changed = history.verify(connection, revisions, next(iter(applied), None))
    except FleetSchemaError as error:
        text, _, fix = str(error).removeprefix(f"{name}: ").partition(": run: ")
        yield Finding("revision", name, text, fix or UPGRADE)
        return
    if changed:
        text, _, fix = changed.partition(": in development, run: ")
        yield Finding("revision", name, text, fix)
    if missed := checks.not_converted(connection):
        text, _, fix = missed.partition(": run: ")
        yield Finding("edition", name, text, fix)


MEND = "python -m operations mend"


def drift(connection: Connection) -> Iterator[Finding]:
    """What `alembic check` finds, in the models and in roles and settings."""
    # What `mend` cannot change may depend on what it drops.
    for one in sorted(ddl.found_by(differing(connection)), key=lambda one: not one.mend):
        by = OWNER if one.mend else ""
        yield Finding("schema", f"{one.kind} {one.name}", _text(one), one.mend or MEND, by)
    for one in security.differences(connection):
        if not kept(models.metadata, f"{one.kind} {one.name} {one.detail}"):
            by = SUPERUSER if one.kind == "role" else OWNER
            yield Finding("roles", f"{one.kind} {one.name}", _text(one), one.mend, by)


def differing(connection: Connection) -> MigrationScript:
    """The revision that would bring the database to the models."""
    script = produce_migrations(_context(connection), models.metadata)
    assert script.upgrade_ops is not None
    script.upgrade_ops.ops[:] = shorten(script.upgrade_ops.ops)
    return script


def losses(connection: Connection, script: MigrationScript) -> list[str]:
    """What `mend` would lose, each with the number of rows."""
    assert script.upgrade_ops is not None
    return [
        f"{effect.name}: {effect.counted(connection)}"
        for effect in effects(script.upgrade_ops.ops)
        if effect.risk.loses
    ]


def statements(script: MigrationScript, edition: str) -> str:
    """The SQL of `mend`."""
    assert script.upgrade_ops is not None
    buffer = io.StringIO()
    operations = Operations(script_context(buffer, edition))
    for operation in script.upgrade_ops.ops:
        operations.invoke(operation)
    return buffer.getvalue()


def mend(connection: Connection, script: MigrationScript) -> None:
    """Carry it out, in the transaction of the connection."""
    assert script.upgrade_ops is not None
    operations = Operations(_context(connection))
    for operation in script.upgrade_ops.ops:
        operations.invoke(operation)


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(
        connection,
        opts={
            "target_metadata": models.metadata,
            "autogenerate_plugins": ["ddl"],
            "include_name": is_ours,
            "edition": str(checks.edition_of(connection)),
        },
    )


def _text(one: Difference) -> str:
    return one.what().removesuffix(f"; run: {one.mend}") if one.mend else one.what()
