"""``operations up | down | destroy | reference``: the server and what is in it."""

from __future__ import annotations

import typer
from rich.console import Console

from database.settings import Settings, embedded_server
from operations import reference
from operations import setup as setup
from operations.owner import owner_engine

app = typer.Typer()
console = Console()


@app.command()
def up() -> None:
    """Set everything up: server, revisions, reference data; then print a summary."""
    setup.up(console)


@app.command("reference")
def apply_reference() -> None:
    """Apply the reference data and the database's privileges; a deploy's last step."""
    with owner_engine() as engine:
        setup.report_reference(console, reference.apply(engine, say=console.print))


@app.command()
def down() -> None:
    """Stop the embedded server; its data stays."""
    stopped = embedded_server().stop()
    console.print("Stopped the embedded PostgreSQL" if stopped else "It was not running")
    _mention_other_database()


@app.command()
def destroy(
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
) -> None:
    """Remove the embedded server with all its data."""
    server = embedded_server()
    if server.status().version is None:
        console.print("There is no embedded PostgreSQL here")
        _mention_other_database()
        return
    console.print(f"This removes {server.home} and all data in it.", soft_wrap=True)
    if not yes and not typer.confirm("Remove it?", default=False):
        console.print("Nothing was removed")
        raise typer.Exit(1)
    server.destroy()
    console.print("Removed the embedded PostgreSQL")


def _mention_other_database() -> None:
    settings = Settings()
    if settings.database_url or settings.migration_database_url:
        console.print("The database that DATABASE_URL names is left alone")
