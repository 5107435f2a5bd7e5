"""``operations docs``: the pages about the schema, from the database itself."""

from __future__ import annotations

import typer
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from database.errors import FleetSchemaError
from database.migration.revisions import Revisions
from database.settings import PROJECT_ROOT
from operations.console import write
from operations.documentation import pages
from operations.owner import owner_engine
from operations.revisions.project import project_revisions

FOLDER = PROJECT_ROOT / "docs" / "schema"
FIX = "make docs"

app = typer.Typer()


@app.command()
def docs(
    check: bool = typer.Option(False, "--check", help="Write nothing; fail if a page is stale."),
) -> None:
    """Write docs/schema from the catalog of the database, which must be at the head."""
    revisions = project_revisions()
    with owner_engine() as engine:
        _require_head(engine, revisions)
        target = pages.target_pages(engine, revisions)
    if not check:
        changes = pages.update(FOLDER, target)
        for line in [*changes, f"{len(target)} pages in docs/schema, {len(changes)} changed"]:
            write(line)
        return
    stale = pages.stale(FOLDER, target)
    for line in stale:
        write(f"docs/schema: {line}")
    if stale:
        raise FleetSchemaError(
            f"{len(stale)} of {len(target)} pages differ from the database; run: {FIX}"
        )
    write(f"{len(target)} pages in docs/schema agree with the database")


def _require_head(engine: Engine, revisions: Revisions) -> None:
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != revisions.head:
        raise FleetSchemaError(
            f"expected a database at revision {revisions.head}, found {current or 'none'}: pages "
            "are generated from the schema of the database; run: alembic upgrade head"
        )
