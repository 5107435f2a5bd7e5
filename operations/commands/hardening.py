"""``operations hardening``: what only a superuser can take from PUBLIC."""

from __future__ import annotations

import typer

from database import hardening as functions
from operations.console import write, write_lines
from operations.owner import owner_engine

app = typer.Typer()

_CHECK = typer.Option(False, "--check", help="Print what is missing instead; exit code 1 if any.")
_UNDO = typer.Option(False, "--undo", help="Print the script that gives all of it back.")


@app.command()
def hardening(check: bool = _CHECK, undo: bool = _UNDO) -> None:
    """Print the script by which a superuser takes functions from PUBLIC that disturb others.

    It also deletes statistics by which a login would see values of others.
    An upgrade by a superuser does the same. It holds for one database and can be repeated, after
    an update of an extension, say: operations hardening | psql -1 -v ON_ERROR_STOP=1 SUPERUSER_URL
    """
    if not check:
        write_lines(
            f"-- Run as a superuser, in the database itself.\n{functions.script(undo=undo)};"
        )
        return
    with owner_engine() as engine, engine.connect() as connection:
        found = functions.gaps(connection)
    for gap in found:
        write_lines(str(gap))
    if found:
        write(functions.asked_for(found))
        raise typer.Exit(1)
    write("Nothing is missing: no login may call what disturbs others")
