"""``operations docs``: the pages about the schema, from the database itself."""

from __future__ import annotations

import typer
from alembic.migration import MigrationContext
from rich.console import Console
from sqlalchemy import Engine

from database.errors import FleetSchemaError
from database.migration.revisions import Revisions
from database.settings import PROJECT_ROOT
from operations.documentation import pages
from operations.owner import owner_engine
from operations.revisions.project import project_revisions

FOLDER = PROJECT_ROOT / "docs" / "schema"
MEND = "make docs"

app = typer.Typer()
console = Console()


@app.command()
def docs(
    check: bool = typer.Option(False, "--check", help="Change nothing; fail where pages differ."),
) -> None:
    """Write docs/schema from the catalog of the database, which must be at the head."""
    revisions = project_revisions()
    with owner_engine() as engine:
        _require_head(engine, revisions)
        wanted = pages.pages(engine, revisions)
    if not check:
        changes = pages.write(FOLDER, wanted)
        _say([*changes, f"{len(wanted)} pages in docs/schema, {len(changes)} changed"])
        return
    found = pages.stale(FOLDER, wanted)
    if found:
        _say([f"docs/schema: {line}" for line in found])
        raise FleetSchemaError(
            f"{len(found)} of {len(wanted)} pages do not say what the database is; run: {MEND}"
        )
    _say([f"{len(wanted)} pages in docs/schema say what the database is"])


def _require_head(engine: Engine, revisions: Revisions) -> None:
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != revisions.head:
        raise FleetSchemaError(
            f"expected a database at revision {revisions.head}, found {current or 'none'}: pages "
            "are made from the schema as it is; run: alembic upgrade head"
        )


def _say(lines: list[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
