"""``operations up | down | destroy | reference``: the server and what is in it."""

from __future__ import annotations

import typer

from database.settings import Settings, embedded_server
from operations import reference, setup
from operations.console import write
from operations.owner import owner_engine

app = typer.Typer()


@app.command()
def up() -> None:
    """Set everything up: server, revisions, reference data; then print a summary."""
    setup.up()


@app.command("reference")
def apply_reference() -> None:
    """Apply the reference data and the privileges on the database: the last step of a deploy."""
    with owner_engine() as engine:
        setup.report_reference(reference.apply(engine))


@app.command()
def down() -> None:
    """Stop the embedded server; its data stays."""
    stopped = embedded_server().stop()
    write(f"{'Stopped' if stopped else 'Not running:'} the embedded PostgreSQL")
    _mention_other_database()


@app.command()
def destroy(
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
) -> None:
    """Remove the embedded server with all its data, after asking."""
    server = embedded_server()
    if server.status().version is None:
        write("There is no embedded PostgreSQL here")
        _mention_other_database()
        return
    write(f"This removes {server.home} and all data in it.")
    if not yes and not typer.confirm("Remove it?", default=False):
        write("Nothing was removed")
        raise typer.Exit(1)
    server.destroy()
    write("Removed the embedded PostgreSQL")


def _mention_other_database() -> None:
    settings = Settings()
    if settings.database_url or settings.migration_database_url:
        write("The database that DATABASE_URL names is left alone")
